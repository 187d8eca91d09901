"""From bytes to pixels: what the file is, whether it may be decoded, and its pictures, decoded.

Nothing here trusts the file. Its format is judged by its first bytes, its limits by its header, and only then
are pixels decoded, at the smallest scale that still covers what is asked for.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from math import ceil

from PIL import Image, ImageFile

from imgsvc.domain.formats import JXL, SNIFF_BYTES, TIFF, sniff
from imgsvc.domain.model import Limits, Original
from imgsvc.domain.problems import JobError
from imgsvc.imaging import damage, metadata, tiff
from imgsvc.imaging.colour import eight_bits, is_readable, sixteen_bits
from imgsvc.imaging.exif import Exif
from imgsvc.imaging.geometry import WHOLE, Box, Size, turned
from imgsvc.imaging.readers import OPENERS, OUR_FAULT, PACKET, Notes, Opened, check_size

_BYTES_A_PIXEL = 4  # of Pillow's pixels in colour; less is used for other modes
_JPEG_COEFFICIENT_BYTES = 6  # a pixel, of a progressive file at 4:4:4: all of it is held until the last scan
_COPIES = 2  # the decoded picture, and one on its way to another mode
_CODEC_COPIES = {"webp": 1, "jxl": 5}  # their decoders have canvases of their own
_FILM_COPIES = 2  # the canvas, and what it was before


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels of 8 bits a channel (L, LA, RGB, RGBA, CMYK) or grey of 16 (F), and what is still to be done to them.

    They show the part `shows` of the original, whose size is `whole` as an upright viewer sees it, at whatever scale.
    It covers `extent` of them, in pixels: a JPEG decoded at half its odd width ends in the middle of its last column.
    """

    pixels: Image.Image
    whole: Size
    extent: tuple[float, float]
    orientation: int = 1
    profile: bytes | None = None
    shows: Box = WHOLE

    @property
    def scaled(self) -> tuple[float, float]:
        """The sides that the whole upright original has at this scale."""
        width, height = turned(self.pixels.size, self.orientation)
        left, top, right, bottom = self.shows
        return width / (right - left), height / (bottom - top)


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An opened image within its limits, not decoded yet: picture `number` of a file that may have several.

    `xmp` is its XMP packet, empty where there is none.
    """

    data: bytes
    opened: Opened
    original: Original
    exif: Exif
    xmp: bytes
    orientation: int
    limits: Limits
    number: int = 0
    progressive: bool = False
    overlays: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """The files of what may be laid over it, by their SHA-256."""

    @property
    def image(self) -> ImageFile.ImageFile:
        return self.opened.image

    @property
    def is_deep(self) -> bool:
        """Whether it is opaque grey of 16 bits, by no profile."""
        opened = self.opened
        is_plain = opened.profile is None and opened.film is None and not opened.transparent
        return is_plain and self.image.mode.startswith("I;16")

    @property
    def whole(self) -> Size:
        return self.original.width, self.original.height

    @property
    def notes(self) -> Notes:
        return self.opened.notes

    @property
    def is_animated(self) -> bool:
        return self.opened.film is not None and self.original.frames > 1

    @property
    def plays(self) -> int:
        """How often an animation is shown; 0 is for ever."""
        return self.opened.plays

    def decoding_bytes(self, need: Size) -> int:
        """About how much memory it takes to decode it with `need` pixels."""
        width, height = self.whole
        pixels = width * height
        held = 0
        copies = _COPIES + _CODEC_COPIES.get(self.original.format, 0) + (_FILM_COPIES if self.opened.film else 0)
        copies += self.is_deep  # floats on the way to 8 bits, or to be kept as 16
        if self.original.format == "jpeg":
            held = pixels * _JPEG_COEFFICIENT_BYTES if self.progressive else 0
            scale = min(8, max(1, min(width // max(1, need[0]), height // max(1, need[1]))))
            pixels //= (1 << (scale.bit_length() - 1)) ** 2
        return held + pixels * _BYTES_A_PIXEL * copies


@contextmanager
def damage_is_typed() -> Generator[None]:
    """Turn whatever Pillow raises on bad bytes into a JobError; our own errors and MemoryError pass."""
    try:
        yield
    except OUR_FAULT:
        raise
    except Image.DecompressionBombError as error:
        raise JobError("image_too_large") from error
    # damaged files make Pillow raise OSError, SyntaxError, ValueError, struct.error, KeyError, ZeroDivisionError, …
    except Exception as error:
        if damage.is_of_memory(error):
            raise MemoryError from error
        raise JobError("decode_failed") from error


def open_source(source: bytes, limits: Limits, number: int = 0) -> ImageSource:
    """Read the header of `source` and hold it against `limits`; no pixel is decoded.

    `number` is the page or frame wanted, from 0; where there are fewer, the last one is taken, and noted.

    Raises:
        JobError: unsupported_format, image_too_large or decode_failed.
    """
    fmt = sniff(source[:SNIFF_BYTES])
    if fmt is None:
        raise JobError("unsupported_format")
    with damage_is_typed():
        # Pillow refuses twice this figure, for WebP before it allocates the canvas; `check_size` is exact
        Image.MAX_IMAGE_PIXELS = limits.max_pixels
        found = True
        if fmt is TIFF:
            source, found = tiff.page(source, number)
            number = 0
        opened = OPENERS[fmt.name](source, limits)
        check_size(opened.size, limits)
        exif = metadata.read(source if fmt is TIFF else opened.image.info.get("exif") or b"")
        xmp = bytes(opened.image.info.get(PACKET) or b"")
        # turned by their decoders, which report the upright size
        orientation = 1 if fmt in {TIFF, JXL} else exif.orientation
    if not found or number >= opened.frames:
        opened.notes.add("frame_missing")
        number = opened.frames - 1
    width, height = turned(opened.size, orientation)
    original = Original(width, height, fmt.name, opened.frames)
    progressive = bool(opened.image.info.get("progressive"))  # decoding forgets it
    return ImageSource(source, opened, original, exif, xmp, orientation, limits, number, progressive)


def decode(source: ImageSource, need: Size, *, deep: bool = False) -> Picture:
    """Decode the picture with at least `need` pixels (upright), where the file has as many.

    One that `is_deep` can be had in floats of 0 to 65 535 (`deep`).

    Raises:
        JobError: decode_failed.
        MemoryError: the pixels do not fit in the memory that this process may use.
    """
    opened = source.opened
    with damage_is_typed():
        if opened.film is not None and source.number < opened.frames:
            for pixels, _ in islice(opened.film(), source.number, source.number + 1):
                return _picture(source, pixels, None)
        # a JPEG can be decoded at 1/2, 1/4 or 1/8 scale for a fraction of the work; others ignore this
        drafted = source.image.draft(None, turned(need, source.orientation))
        return _picture(source, opened.load(), drafted[1][2:] if drafted else None, deep=deep)


def frames(source: ImageSource, count: int) -> Generator[tuple[Picture, int]]:
    """Decode the first `count` pictures of an animation, one at a time, each with its duration in milliseconds.

    Raises:
        JobError: decode_failed, or image_too_large where a later frame is.
        MemoryError: as `decode`.
    """
    assert source.opened.film is not None
    film = islice(source.opened.film(), count)
    while True:
        with damage_is_typed():
            shown = next(film, None)
            if shown is None:
                return
            picture = _picture(source, shown[0], None)
        yield picture, shown[1]


def _picture(
    source: ImageSource, image: Image.Image, extent: tuple[float, float] | None, *, deep: bool = False
) -> Picture:
    width, height = extent or image.size
    canvas = ceil(width), ceil(height)
    shown = image if canvas == image.size else image.crop((0, 0, *canvas))
    pixels = (sixteen_bits if deep else eight_bits)(shown, source.opened.levels)
    profile = source.opened.profile
    if profile is not None and not is_readable(profile, pixels.mode):
        source.notes.add("profile_dropped")
        profile = None
    # what is left here would find its way into the output: Pillow copies a JPEG's comment
    pixels.info = {}
    return Picture(pixels, source.whole, (width, height), source.orientation, profile)
