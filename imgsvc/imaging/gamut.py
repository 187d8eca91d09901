"""Colours beyond sRGB, for those who ask to keep them: in which space, and by which profile a viewer learns of it."""

from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

from PIL import Image, ImageCms

from imgsvc.domain.model import FileFormat
from imgsvc.imaging import icc, spaces
from imgsvc.imaging.colour import through, to_srgb, way

FORMATS: frozenset[FileFormat] = frozenset({"jpeg", "webp", "avif", "png"})
"""Those whose files can say which colours they mean."""

_ROUNDING = 0.02
"""How far primaries may be from sRGB's, as shares of its light, without being others."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The space in which colours are kept: its profile, the transform to it unless it is the pixels' own, and the one
    from sRGB.
    """

    profile: bytes
    transform: ImageCms.ImageCmsTransform | None
    from_srgb: ImageCms.ImageCmsTransform


def kept(pixels: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes | None]:
    """The pixels, as they are where their space is one of three primaries, and the profile to embed.

    Where it is another (of inks, of a table, of more light than white) they are converted to Display P3, and where
    sRGB holds them all, to sRGB, without a profile.
    """
    space = space_of(profile, pixels.mode)
    if space is None:
        return to_srgb(pixels, profile), None
    return (through(pixels, space.transform) if space.transform else pixels), space.profile


def is_reduced(profile: bytes | None, mode: str, fmt: FileFormat) -> bool:
    """Whether colours of an image of a mode are lost though they are to be kept, in a file of a format."""
    space = space_of(profile, mode if mode in {"CMYK", "L", "LA"} else "RGB")
    return space is not None and (fmt not in FORMATS or space.transform is not None)


def from_srgb(pixels: Image.Image, profile: bytes | None) -> Image.Image:
    """Pixels of sRGB in the space of a profile that `kept` gave; grey ones become RGB where there is one."""
    space = space_of(profile, "RGB")
    if space is None:
        return pixels
    grey = {"L": "RGB", "LA": "RGBA"}.get(pixels.mode)
    return through(pixels.convert(grey) if grey else pixels, space.from_srgb)


def colour_in(colour: str, profile: bytes | None) -> str:
    """A colour of sRGB (`#rrggbb`) in the space of a profile that `kept` gave."""
    if profile is None:
        return colour
    level = from_srgb(Image.new("RGB", (1, 1), colour), profile).getpixel((0, 0))
    assert isinstance(level, tuple)
    return "#" + bytes(int(value) for value in level).hex()


@lru_cache(maxsize=4)
def space_of(profile: bytes | None, mode: str) -> Kept | None:
    """The space to keep for pixels of a mode with this profile; None where sRGB holds all of their colours."""
    mode = mode.removesuffix("A")
    if profile is None or mode == "L" or way(profile, mode).transform is None:
        return None
    primaries = icc.colorants(profile) if mode == "RGB" else None
    if primaries is not None and _are_those_of_white(primaries):
        if _within_srgb(primaries):
            return None
        own = icc.rebuilt(profile)
        back = _transform(None, own, "RGB") if own is not None else None
        if own is not None and back is not None:
            return Kept(own, None, back)
    p3 = icc.rebuilt(spaces.display_p3())
    back, transform = _transform(None, p3, "RGB"), _transform(profile, p3, mode)
    return Kept(p3, transform, back) if p3 and back and transform else None


def _are_those_of_white(primaries: list[tuple[float, float, float]]) -> bool:
    """Whether they come to the white that they must come to; what does not is no space of its kind."""
    white = (sum(values) for values in zip(*primaries, strict=True))
    return all(abs(value - wanted) < _ROUNDING for value, wanted in zip(white, icc.D50, strict=True))


def _within_srgb(primaries: list[tuple[float, float, float]]) -> bool:
    return all(-_ROUNDING < light < 1 + _ROUNDING for column in primaries for light in spaces.in_linear_srgb(column))


def _transform(source: bytes | None, target: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile to another, each of them sRGB where it is None; None where one of them cannot be read."""
    try:
        one, other = (
            ImageCms.createProfile("sRGB") if profile is None else ImageCms.ImageCmsProfile(BytesIO(profile))
            for profile in (source, target)
        )
        return ImageCms.buildTransform(one, other, mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None
