"""An original's own pixels without all else that its file holds: what a variant is that would only lose by coding anew.

Whatever is not pixels stays out, known or unknown, since the file is put together from what a decoder needs. What could
hide behind the last pixel is found by leaving out the last bytes: a decoder has to miss them. The few of a WebP that it
does not miss are replaced by zeros.
"""

import struct
from collections.abc import Callable, Iterable
from io import BytesIO

from PIL import Image, ImageChops

from imgsvc.domain.model import DEFAULTS
from imgsvc.imaging import gif, jpeg, png, webp
from imgsvc.imaging.colour import is_srgb
from imgsvc.imaging.geometry import WHOLE
from imgsvc.imaging.readers import OUR_FAULT
from imgsvc.imaging.source import ImageSource, Picture
from imgsvc.imaging.steps import Plan
from imgsvc.imaging.write import Written

_TAIL_BYTES = 16
"""What no decoder misses is shorter than this."""

_BROKEN = (ValueError, IndexError, struct.error)


_SHOWS_THE_SAME = frozenset(
    {
        *("width", "height", "widths", "fit", "gravity", "crop", "gamut", "enlarge"),
        *("page", "frame", "frames", "format", "formats"),
        *("quality", "max_bytes", "progressive", "chroma", "lossless", "effort", "strip"),
    }
)
"""Fields that change no pixel of a variant that is as large as its original."""

_HARMLESS = frozenset({"profile_dropped", "animation_dropped", "crop_clipped", "max_bytes_exceeded"})
"""Notes on an original that is read as anybody would read it."""

_STRIP = 256
_CHECKED_BYTES = 10  # a pixel: a second picture, and the coefficients of a progressive JPEG


def smaller(source: ImageSource, plan: Plan, decoded: Picture, exif: bytes | None, written: Written) -> Written:
    """A variant's file, or the original's own pixels where that is less; noted if neither is as small as asked."""
    own = own_file(source, plan, decoded, exif, len(written.data))
    if own is not None:
        most = plan.variant.max_bytes
        written = Written(own, None, most is None or len(own) <= most)
    if not written.fits:
        source.notes.add("max_bytes_exceeded")
    return written


def own_file(source: ImageSource, plan: Plan, decoded: Picture, exif: bytes | None, most: int) -> bytes | None:
    """The original's own pixels as a file with nothing beside them but `exif`, where a variant shows just these.

    None where it does not, where the file has more than `most` bytes, or cannot be told apart from what it may hide.
    `decoded` is the original; of an animation, its first frame.
    """
    if not _shows_original(source, plan) or not _is_plain(source, plan, decoded):
        return None
    try:
        file = _STRIPPERS[plan.format](source.data, exif)
        if len(file) <= most:
            return _bare(file, plan.format, decoded.pixels if plan.frames == 1 else None)
    except _BROKEN:
        pass
    return None


def checking_bytes(source: ImageSource, plan: Plan) -> int:
    """About how much memory it takes to find that the original's own file is the one to give away."""
    if not _shows_original(source, plan) or plan.format not in {"jpeg", "webp"}:
        return 0
    return source.whole[0] * source.whole[1] * _CHECKED_BYTES + 2 * len(source.data)


def _shows_original(source: ImageSource, plan: Plan) -> bool:
    """Whether a variant is to show the original as it is, of its size and in its format."""
    variant, place = plan.variant, plan.place
    return (
        plan.format in _STRIPPERS
        and plan.format == source.original.format
        and plan.frames == source.original.frames
        and source.number == 0
        and place.box == WHOLE
        and place.size == place.canvas == source.whole
        and all(getattr(variant, name) == value for name, value in _CHANGES.items())
        and (variant.background is None or not source.opened.transparent)
        and variant.progressive in {None, source.progressive}
    )


_CHANGES = {name: value for name, value in DEFAULTS.items() if name not in _SHOWS_THE_SAME | {"background"}}


def _is_plain(source: ImageSource, plan: Plan, decoded: Picture) -> bool:
    """Whether every viewer sees the original as it is decoded here, without its metadata too."""
    mode, profile = decoded.pixels.mode, decoded.profile
    return (
        source.orientation == 1
        and mode != "CMYK"
        and (profile is None or is_srgb(profile, mode))
        and source.notes <= _HARMLESS
    )


_STRIPPERS: dict[str, Callable[[bytes, bytes | None], bytes]] = {
    "jpeg": jpeg.bare,
    "png": png.bare,
    "webp": webp.bare,
    "gif": lambda data, _exif: gif.bare(data),
}


def _bare(file: bytes, fmt: str, pixels: Image.Image | None) -> bytes | None:
    """The file, if it shows the very `pixels` (None for those of an animation) and holds nothing more."""
    match fmt:
        case "jpeg":
            short = jpeg.without_tail(file, _TAIL_BYTES)
            whole = pixels is not None and _shows(file, "JPEG", pixels) and not _shows(short, "JPEG", pixels)
        case "png":
            whole = png.is_exact(file)
        case "webp":
            return _without_tails(file) if pixels is None or _shows(file, "WEBP", pixels) else None
        case "gif":
            whole = _are_missed(gif.without_tails(file, _TAIL_BYTES), "GIF")
        case _:
            whole = False
    return file if whole else None


def _without_tails(file: bytes) -> bytes | None:
    """A WebP with zeros behind the last code of each picture; None where more than a few bytes are there."""
    buffer = bytearray(file)
    for body, without in webp.pictures(buffer):
        unused = 0
        whole = _decoded(without(0), "WEBP")
        while whole is not None and _shows(without(unused + 1), "WEBP", whole):
            unused += 1
            if unused == min(_TAIL_BYTES, len(body) - 1):
                return None
        body[len(body) - unused :] = bytes(unused)
    return bytes(buffer)


def _shows(file: bytes, fmt: str, pixels: Image.Image) -> bool:
    shown = _decoded(file, fmt)
    if shown is None or shown.mode != pixels.mode or shown.size != pixels.size:
        return False
    parts = ((0, top, pixels.width, min(pixels.height, top + _STRIP)) for top in range(0, pixels.height, _STRIP))
    return not any(
        ImageChops.difference(shown.crop(part), pixels.crop(part)).getbbox(alpha_only=False) for part in parts
    )


def _are_missed(files: Iterable[bytes], fmt: str) -> bool:
    return all(_decoded(file, fmt) is None for file in files)


def _decoded(file: bytes, fmt: str) -> Image.Image | None:
    try:
        image = Image.open(BytesIO(file), formats=[fmt])
        image.load()
    except OUR_FAULT:
        raise
    except Exception:  # whatever Pillow raises on a file that ends too early
        return None
    return image
