"""Colour: from whatever a file holds to opaque 8-bit pixels, and from there to sRGB."""

from io import BytesIO

from PIL import Image, ImageCms

_WHITE = "white"
_KEPT_MODES = frozenset({"L", "RGB", "CMYK"})
_GREY_ALPHA_MODES = frozenset({"LA", "La"})
# The descriptions under which cameras, phones and editors embed sRGB itself: 12 ms a megapixel saved
_SRGB_NAMES = frozenset({"sRGB", "sRGB IEC61966-2.1", "sRGB built-in"})


def opaque(image: Image.Image) -> Image.Image:
    """`image` as L, RGB or CMYK of 8 bits a channel; transparency is laid on white."""
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return _eight_bits(image)
    if image.has_transparency_data:
        return _on_white(image)
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in _KEPT_MODES else image.convert("RGB")


def to_srgb(pixels: Image.Image, profile: bytes | None) -> Image.Image:
    """Pixels in sRGB (RGB, or L as it is), read through the ICC `profile` where that works.

    A broken profile, or one of another colour model than the pixels', counts as none.
    """
    if profile:
        try:
            return _through_profile(pixels, profile)
        except (ImageCms.PyCMSError, OSError):
            pass  # counts as none
    return pixels.convert("RGB") if pixels.mode == "CMYK" else pixels


def _through_profile(pixels: Image.Image, profile: bytes) -> Image.Image:
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    if pixels.mode == "RGB" and ImageCms.getProfileDescription(source).strip() in _SRGB_NAMES:
        return pixels
    converted = ImageCms.profileToProfile(pixels, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert converted is not None  # None only when it converts in place
    converted.info.clear()  # holds the sRGB profile, which a browser assumes anyway
    return converted


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or more bits as L. Pillow's own conversion clips at 255 where this scales."""
    if image.mode.startswith("I;16"):
        low, high = 0.0, 65535.0
    else:  # integers and floats of no agreed range: from the darkest to the brightest pixel
        low, high = _extrema(image)
    scale = 255.0 / ((high - low) or 1.0)

    def level(value: float) -> float:
        return value * scale + (0.5 - low * scale)  # half a step for rounding: the conversion to L cuts off

    return image.convert("F").point(level).convert("L")


def _extrema(image: Image.Image) -> tuple[float, float]:
    low, high = image.getextrema()
    assert not isinstance(low, tuple)
    assert not isinstance(high, tuple)
    return float(low), float(high)


def _on_white(image: Image.Image) -> Image.Image:
    """Composited before any resize: the colours under transparent pixels must not bleed into opaque ones."""
    grey = image.mode in _GREY_ALPHA_MODES
    layer = image if image.mode in {"LA", "RGBA"} else image.convert("LA" if grey else "RGBA")
    canvas = Image.new("L" if grey else "RGB", image.size, _WHITE)
    canvas.paste(layer, mask=layer)
    return canvas
