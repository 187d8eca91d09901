"""From bytes to pixels: what the file is, whether it may be decoded, and its first picture, decoded.

Nothing here trusts the file. Its format is judged by its first bytes, its limits by its header, and only then
are pixels decoded, at the smallest scale that still covers what is asked for.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

from PIL import ExifTags, Image, ImageFile

from imgsvc.formats import SNIFF_BYTES, sniff
from imgsvc.imaging.colour import opaque
from imgsvc.model import Limits, Original
from imgsvc.problems import JobError

Size = tuple[int, int]

SIDEWAYS = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""

_OUR_FAULT = (JobError, MemoryError, ImportError)


@dataclass(frozen=True, slots=True)
class Picture:
    """Opaque pixels of 8 bits a channel (L, RGB or CMYK), and what is still to be done to them.

    `whole` is the size of the original as an upright viewer sees it, whatever size `pixels` has by now.
    """

    pixels: Image.Image
    whole: Size
    orientation: int = 1
    profile: bytes | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """An opened image within its limits, not decoded yet."""

    image: ImageFile.ImageFile
    original: Original
    orientation: int


@contextmanager
def damage_is_typed() -> Generator[None]:
    """Turn whatever Pillow raises on bad bytes into a JobError; our own errors and MemoryError pass."""
    try:
        yield
    except _OUR_FAULT:
        raise
    except Image.DecompressionBombError as error:
        raise JobError("image_too_large") from error
    # damaged files make Pillow raise OSError, SyntaxError, ValueError, struct.error, KeyError, ZeroDivisionError, …
    except Exception as error:
        if "out of memory" in str(error):  # how Pillow's codecs report a failed malloc
            raise MemoryError from error
        raise JobError("decode_failed") from error


def open_source(source: bytes, limits: Limits) -> Source:
    """Read the header of `source` and hold it against `limits`; no pixel is decoded.

    Raises:
        JobError: unsupported_format, image_too_large, too_many_frames or decode_failed.
    """
    fmt = sniff(source[:SNIFF_BYTES])
    if fmt is None:
        raise JobError("unsupported_format")
    with damage_is_typed():
        # Pillow refuses twice this figure, for WebP before it allocates the canvas; `_check_size` is exact
        Image.MAX_IMAGE_PIXELS = limits.max_pixels
        image = Image.open(BytesIO(source), formats=[fmt.name.upper()])
        _check_size(image.size, limits)
        frames = _count_frames(image, limits)
        orientation = _orientation(image)
    width, height = turned(image.size, orientation)
    return Source(image, Original(width, height, fmt.name, frames), orientation)


def decode(source: Source, need: Size) -> Picture:
    """Decode the first picture with at least `need` pixels (upright), where the file has as many.

    Raises:
        JobError: decode_failed.
        MemoryError: the pixels do not fit in the memory that this process may use.
    """
    image = source.image
    with damage_is_typed():
        # a JPEG can be decoded at 1/2, 1/4 or 1/8 scale for a fraction of the work; others ignore this
        image.draft(None, turned(need, source.orientation))
        image.load()
        profile = image.info.get("icc_profile")
        pixels = opaque(image)
    # what is left here would find its way into the output: Pillow copies a JPEG's comment
    pixels.info.clear()
    return Picture(pixels, (source.original.width, source.original.height), source.orientation, profile)


def turned(size: Size, orientation: int) -> Size:
    """`size` as it is before or after turning it upright."""
    width, height = size
    return (height, width) if orientation in SIDEWAYS else (width, height)


def _check_size(size: Size, limits: Limits) -> None:
    width, height = size
    if width * height > limits.max_pixels or max(size) > limits.max_side:
        raise JobError("image_too_large")


def _count_frames(image: ImageFile.ImageFile, limits: Limits) -> int:
    # the further pictures of an MPO are previews and other eyes, not frames
    frames = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
    if frames > limits.max_frames:
        raise JobError("too_many_frames")
    return frames


def _orientation(image: ImageFile.ImageFile) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or it makes no sense."""
    if image.format == "TIFF":
        return 1  # Pillow turns TIFF itself when it decodes, and tells the upright size
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _OUR_FAULT:
        raise
    except Exception:
        return 1  # broken EXIF is no reason to refuse a whole picture
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
