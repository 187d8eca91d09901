"""From bytes to pixels: what the file is, whether it may be decoded, and its pictures, decoded.

Nothing here trusts the file. Its format is judged by its first bytes, its limits by its header, and only then
are pixels decoded, at the smallest scale that still covers what is asked for.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from math import ceil

from PIL import ExifTags, Image, ImageFile

from imgsvc.formats import SNIFF_BYTES, sniff
from imgsvc.imaging.colour import eight_bits
from imgsvc.imaging.geometry import Size, turned
from imgsvc.model import Limits, Original
from imgsvc.problems import JobError

_OUR_FAULT = (JobError, MemoryError, ImportError)
_ANIMATED = frozenset({"gif", "webp", "png", "avif"})

_BYTES_A_PIXEL = 4  # of Pillow's pixels in colour; less is used for other modes
_JPEG_COEFFICIENT_BYTES = 6  # a pixel, of a progressive file at 4:4:4: all of it is held until the last scan
_COPIES = 2  # the decoded picture, and one on its way to another mode
_CODEC_COPIES = {"webp": 1}  # its decoder has a canvas of its own


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels of 8 bits a channel (L, LA, RGB, RGBA or CMYK), and what is still to be done to them.

    They show all of the original, whose size is `whole` as an upright viewer sees it, at whatever scale. It covers
    `extent` of them, in pixels: a JPEG decoded at half its odd width ends in the middle of its last column.
    """

    pixels: Image.Image
    whole: Size
    extent: tuple[float, float]
    orientation: int = 1
    profile: bytes | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """An opened image within its limits, not decoded yet."""

    image: ImageFile.ImageFile
    original: Original
    orientation: int
    limits: Limits

    @property
    def whole(self) -> Size:
        return self.original.width, self.original.height

    @property
    def is_animated(self) -> bool:
        return self.original.frames > 1 and self.original.format in _ANIMATED

    @property
    def plays(self) -> int:
        """How often an animation is shown; 0 is for ever."""
        loop = self.image.info.get("loop")
        if self.original.format == "gif":  # whose number counts the repeats, and is absent for none
            return 1 if loop is None else loop + 1 if loop else 0
        return int(loop or 0)

    def decoding_bytes(self, need: Size) -> int:
        """About how much memory it takes to decode it with `need` pixels."""
        width, height = self.whole
        pixels = width * height
        held = 0
        if self.original.format == "jpeg":
            held = pixels * _JPEG_COEFFICIENT_BYTES if self.image.info.get("progressive") else 0
            scale = min(8, max(1, min(width // max(1, need[0]), height // max(1, need[1]))))
            pixels //= (1 << (scale.bit_length() - 1)) ** 2
        return held + pixels * _BYTES_A_PIXEL * (_COPIES + _CODEC_COPIES.get(self.original.format, 0))


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
        # Pillow refuses twice this figure, for WebP before it allocates the canvas; `check_size` is exact
        Image.MAX_IMAGE_PIXELS = limits.max_pixels
        image = Image.open(BytesIO(source), formats=[fmt.name.upper()])
        check_size(image.size, limits)
        frames = _count_frames(image, limits)
        orientation = _orientation(image)
    width, height = turned(image.size, orientation)
    return Source(image, Original(width, height, fmt.name, frames), orientation, limits)


def decode(source: Source, need: Size) -> Picture:
    """Decode the first picture with at least `need` pixels (upright), where the file has as many.

    Raises:
        JobError: decode_failed.
        MemoryError: the pixels do not fit in the memory that this process may use.
    """
    with damage_is_typed():
        # a JPEG can be decoded at 1/2, 1/4 or 1/8 scale for a fraction of the work; others ignore this
        drafted = source.image.draft(None, turned(need, source.orientation))
        source.image.load()
        return _picture(source, drafted[1][2:] if drafted else None)


def frames(source: Source) -> Generator[tuple[Picture, int]]:
    """Decode all pictures of an animation, one at a time, each with its duration in milliseconds.

    Raises:
        JobError: decode_failed, or image_too_large where a later frame is.
        MemoryError: as `decode`.
    """
    image, canvas = source.image, turned(source.whole, source.orientation)
    for number in range(source.original.frames):
        with damage_is_typed():
            image.seek(number)
            check_size(image.size, source.limits)
            image.load()
            picture = _picture(source, canvas)
            duration = round(image.info.get("duration", 0))
        yield picture, duration


def check_size(size: Size, limits: Limits) -> None:
    """Hold an image's size against the limits.

    Raises:
        JobError: image_too_large.
    """
    width, height = size
    if width * height > limits.max_pixels or max(size) > limits.max_side:
        raise JobError("image_too_large")


def _picture(source: Source, extent: tuple[float, float] | None) -> Picture:
    image = source.image
    width, height = extent or image.size
    canvas = ceil(width), ceil(height)
    # a GIF's later frames may be larger than its first
    shown = image if canvas == image.size else image.crop((0, 0, *canvas))
    profile = image.info.get("icc_profile")
    pixels = eight_bits(shown)
    if pixels is image and source.is_animated:
        pixels = image.copy()  # the next frame is decoded into the same image
    # what is left here would find its way into the output: Pillow copies a JPEG's comment
    pixels.info = {}
    return Picture(pixels, source.whole, (width, height), source.orientation, profile)


def _count_frames(image: ImageFile.ImageFile, limits: Limits) -> int:
    # the further pictures of an MPO are previews and other eyes, not frames
    count = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
    if count > limits.max_frames or (count > 1 and count * image.width * image.height > limits.max_animation_pixels):
        raise JobError("too_many_frames")
    return count


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
