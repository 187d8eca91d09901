"""Colour: from whatever a file holds to 8 bits a channel, from there to sRGB, and onto a background."""

from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any

from PIL import Image, ImageCms, ImageMath

WITH_ALPHA = frozenset({"LA", "RGBA"})
_KEPT_MODES = frozenset({"L", "RGB", "CMYK"}) | WITH_ALPHA
# The descriptions under which cameras, phones and editors embed sRGB itself: 12 ms a megapixel saved
_SRGB_NAMES = frozenset({"sRGB", "sRGB IEC61966-2.1", "sRGB built-in"})


def eight_bits(image: Image.Image, levels: tuple[float, float] | None = None) -> Image.Image:
    """`image` as L, LA, RGB, RGBA or CMYK of 8 bits a channel; `levels` are its black and its white, where known."""
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return _scaled(image, levels)
    if image.has_transparency_data:
        return image if image.mode in WITH_ALPHA else image.convert("LA" if image.mode in {"L", "La"} else "RGBA")
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in _KEPT_MODES else image.convert("RGB")


def sixteen_bits(image: Image.Image, levels: tuple[float, float] | None = None) -> Image.Image:
    """Grey of 16 bits in floats of 0 to 65 535, which can be scaled and turned; `levels` as for `eight_bits`."""
    return _floats(image, levels, 65_535.0)


def stored_in_16_bits(pixels: Image.Image) -> Image.Image:
    """What `sixteen_bits` gave as I;16, which a PNG holds."""
    return ImageMath.lambda_eval(_rounded, x=pixels).convert("I;16")


def _rounded(operands: dict[str, Any]) -> Any:
    within = operands["min"](operands["max"](operands["x"], 0), 65_535)
    return operands["convert"](within + 0.5, "I")


def to_srgb(pixels: Image.Image, profile: bytes | None) -> Image.Image:
    """Pixels in sRGB (L, LA, RGB or RGBA), read through the ICC `profile` where that works.

    A broken profile, or one of another colour model than the pixels', counts as none.
    """
    transform = way(profile, pixels.mode.removesuffix("A")).transform if profile else None
    if transform is not None:
        return through(pixels, transform)
    return pixels.convert("RGB") if pixels.mode == "CMYK" else pixels


def through(pixels: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    """Pixels converted by a transform, with the alpha channel that they have; grey stays grey."""
    if pixels.mode in WITH_ALPHA:
        converted = through(pixels.convert(pixels.mode.removesuffix("A")), transform)
        converted.putalpha(pixels.getchannel("A"))
        return converted
    converted = ImageCms.applyTransform(pixels, transform)
    assert converted is not None  # None only when it converts in place
    converted.info.clear()  # holds the profile that it was converted to
    return converted.convert("L") if pixels.mode == "L" else converted


def flat(pixels: Image.Image, background: str) -> Image.Image:
    """`pixels` laid on a background colour (`#rrggbb`), without alpha."""
    if pixels.mode not in WITH_ALPHA:
        return pixels
    grey = pixels.mode == "LA" and len({background[1:3], background[3:5], background[5:7]}) == 1
    canvas = Image.new("L" if grey else "RGB", pixels.size, background)
    canvas.paste(pixels if grey else pixels.convert("RGBA"), mask=pixels.getchannel("A"))
    return canvas


def is_readable(profile: bytes, mode: str) -> bool:
    """Whether an ICC profile is whole, and of the colour model of pixels of this mode."""
    return way(profile, mode.removesuffix("A")).works


def is_srgb(profile: bytes, mode: str) -> bool:
    """Whether an ICC profile says of pixels of this mode what viewers assume of them without it."""
    found = way(profile, mode.removesuffix("A"))
    return found.works and found.transform is None


@dataclass(frozen=True, slots=True)
class Way:
    """From a profile to sRGB. One that works without a transform is sRGB already."""

    works: bool
    transform: ImageCms.ImageCmsTransform | None = None


@lru_cache(maxsize=2)  # an animation asks again for each frame, and making one takes milliseconds
def way(profile: bytes, mode: str) -> Way:
    """The way from an ICC profile to sRGB, for pixels of this mode (without alpha)."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if mode == "RGB" and ImageCms.getProfileDescription(source).strip() in _SRGB_NAMES:
            return Way(works=True)
        return Way(True, ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB"))
    except (ImageCms.PyCMSError, OSError):
        return Way(works=False)


def _scaled(image: Image.Image, levels: tuple[float, float] | None) -> Image.Image:
    """Grey of 16 or more bits as L. Pillow's own conversion clips at 255 where this scales."""
    return _floats(image, levels, 255.0, 0.5).convert("L")  # half a step for rounding: the conversion to L cuts off


def _floats(image: Image.Image, levels: tuple[float, float] | None, top: float, more: float = 0.0) -> Image.Image:
    """Grey as floats from 0 (and `more`) to `top`."""
    if levels is not None:
        black, white = levels
    elif image.mode.startswith("I;16"):
        black, white = 0.0, 65535.0
    else:  # integers and floats of no agreed range: from the darkest to the brightest pixel
        black, white = _extrema(image)
    scale = top / ((white - black) or 1.0)

    def level(value: float) -> float:
        return value * scale + (more - black * scale)

    return image.convert("F").point(level)


def _extrema(image: Image.Image) -> tuple[float, float]:
    low, high = image.getextrema()
    assert not isinstance(low, tuple)
    assert not isinstance(high, tuple)
    return float(low), float(high)
