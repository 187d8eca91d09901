"""From pixels to a file: one function a format, in a table; one picture, or the frames of an animation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image, ImageFile

from imgsvc.imaging.colour import WITH_ALPHA
from imgsvc.model import FileFormat, OutputFormat

ANIMATED: frozenset[FileFormat] = frozenset({"gif", "webp"})
"""The formats that an animation can be written in."""

_OPAQUE: FileFormat = "jpeg"  # the one format without transparency

Options = dict[str, Any]
"""What a format's encoder is told, in Pillow's words."""


@dataclass(frozen=True, slots=True)
class Format:
    """How a format is written: the quality it has by itself, and the options that a quality gives."""

    quality: int
    options: Callable[[int], Options]


def _jpeg(quality: int) -> Options:
    # Baseline, with the standard Huffman tables: on a photo of 1024 x 836 at quality 85, 2.0 ms and 150 kB.
    # `optimize` costs 2.9 ms more for 0.7 % fewer bytes, `progressive` 10 ms more for 3.7 %.
    # Full colour resolution is for those who ask for quality that shows it.
    return {"quality": quality, "subsampling": "4:4:4" if quality >= 90 else "4:2:0"}


def _webp(quality: int) -> Options:
    return {"quality": quality, "method": 4}


def _avif(quality: int) -> Options:
    return {"quality": quality, "speed": 8, "max_threads": 1}


def _png(_quality: int) -> Options:
    return {"compress_level": 2}  # of a photograph: a fifth of level 6's time, for 14 % more bytes


def _gif(_quality: int) -> Options:
    return {}


OUTPUTS: dict[FileFormat, Format] = {
    "jpeg": Format(85, _jpeg),
    "webp": Format(80, _webp),
    "avif": Format(60, _avif),
    "png": Format(100, _png),
    "gif": Format(100, _gif),
}


def has_alpha(fmt: FileFormat) -> bool:
    """Whether pixels of the format may be transparent."""
    return fmt != _OPAQUE


def encode(pixels: Image.Image, fmt: FileFormat, quality: int | None, exif: bytes | None = None) -> bytes:
    """The file of `pixels` (L, RGB, or LA and RGBA where the format has alpha) in format `fmt`.

    `quality` is 1 to 100, or None for the format's own; `exif` is the only metadata in it.
    """
    return _saved(pixels, fmt, quality, {"exif": exif} if exif else {})


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of an animation, and how long it stays, in milliseconds."""

    pixels: Image.Image
    duration_ms: int


def encode_animation(
    frames: Iterator[Frame], count: int, plays: int, fmt: FileFormat, quality: int | None, exif: bytes | None = None
) -> bytes:
    """The file of an animation in one of ANIMATED, its frames taken one after the other as they are written.

    Args:
        frames: `count` of them, all of one size.
        plays: how often it is shown; 0 is for ever.
    """
    film = _Film(frames, count)
    options: Options = {"save_all": True, "duration": film.durations}
    if fmt == "webp":
        options["method"] = 2  # two thirds of method 4's time, for 5 % more bytes
    if exif:
        options["exif"] = exif
    if fmt == "gif":
        if plays != 1:  # a GIF's number counts the repeats
            options["loop"] = max(0, plays - 1)
        if film.mode in WITH_ALPHA:
            options["disposal"] = 2  # or what was shown before would shine through
    else:
        options["loop"] = plays
    return _saved(film, fmt, quality, options)


class _Film(Image.Image):
    """Frames as Pillow's writers take them without holding all of them: an image that changes as it is sought.

    Each frame can be visited only while it is the newest, and the durations are known as far as it has been sought.
    """

    def __init__(self, frames: Iterator[Frame], count: int) -> None:
        super().__init__()
        self.n_frames = count
        self.is_animated = True
        self.durations: list[int] = []
        self._frames = frames
        self.seek(0)

    def seek(self, frame: int) -> None:
        if frame >= self.n_frames:
            raise EOFError
        while len(self.durations) <= frame:
            shown = next(self._frames)
            pixels = shown.pixels
            self._im, self._mode, self._size = pixels.im, pixels.mode, pixels.size
            self.durations.append(shown.duration_ms)

    def tell(self) -> int:
        return 0  # where writers seek back to when they are done


def _saved(pixels: Image.Image, fmt: FileFormat, quality: int | None, options: Options) -> bytes:
    if isinstance(pixels, ImageFile.ImageFile):
        # As it was opened: save() would look up the working directory to see that it is not its own file,
        # and that is denied to a locked decoder.
        pixels = pixels.copy()
    how = OUTPUTS[fmt]
    file = BytesIO()
    pixels.save(file, fmt.upper(), **(how.options(quality or how.quality) | options))
    return file.getvalue()


def actual_format(asked: OutputFormat, source: str, *, transparent: bool) -> FileFormat:
    """The format that a variant comes in: the one asked for, or for "keep" the source's where it can be written."""
    if asked != "keep":
        return asked
    for fmt in OUTPUTS:
        if fmt == source:
            return fmt
    return "png" if transparent else "jpeg"
