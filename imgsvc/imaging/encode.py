"""From pixels to a file: one function a format, in a table; one picture, or the frames of an animation."""

import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from typing import Any

from PIL import Image, ImageFile

from imgsvc.domain.model import Chroma, FileFormat, OutputFormat, Variant
from imgsvc.domain.problems import JobError
from imgsvc.imaging import apng
from imgsvc.imaging.colour import WITH_ALPHA, stored_in_16_bits
from imgsvc.imaging.drawing import is_drawing
from imgsvc.imaging.palette import indexed
from imgsvc.imaging.webp import with_clear_canvas

ANIMATED: frozenset[FileFormat] = frozenset({"gif", "webp"})
"""The formats that an animation can be asked for in."""

KEPT_ANIMATED: frozenset[FileFormat] = frozenset({"png", "avif"})
"""Those that it is written in besides, where it came in them and its format is to be kept."""

_OPAQUE: FileFormat = "jpeg"  # the one format without transparency

HELD_JPEG_BYTES = 5
"""Bytes a pixel of the file of a JPEG that is written at its end, at most."""

_SLOW_PIXELS = 2 * 1024 * 1024
"""Beyond it the slowest ways to encode AVIF and PNG would take longer than a decoder has, for 2 % of the bytes."""

LARGE_WEBP_PIXELS = 16 * 1024 * 1024
"""From here on a WebP is written in one pass, in a third of the memory."""

Options = dict[str, Any]
"""The options of a format's encoder, as Pillow names them."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What is asked of an encoder; what is None is the encoder's own choice, and what a format lacks is ignored.

    `quality` is 1 to 100. `effort` is 0 (fast) to 10 (small).
    """

    quality: int | None = None
    progressive: bool | None = None
    chroma: Chroma = "auto"
    lossless: bool = False
    effort: int | None = None

    @classmethod
    def of(cls, variant: Variant) -> "Tuning":
        quality = None if variant.quality == "auto" else variant.quality
        return cls(quality, variant.progressive, variant.chroma, variant.lossless, variant.effort)


DEFAULT = Tuning()


@dataclass(frozen=True, slots=True)
class Encoder:
    """How a format is written: the quality it has by itself, and the options that make a picture of a quality.

    A format without qualities has none.
    """

    quality: int | None
    options: Callable[[Image.Image, int, Tuning], Options]


def _jpeg(pixels: Image.Image, quality: int, tuning: Tuning) -> Options:
    # `optimize` takes 5 % off a thumbnail for 0.1 ms and 9 % off a drawing for 2 ms, but 2 % off a photograph of 0.7
    # megapixels for 2.5 ms. `progressive` takes 6 % off for 8 ms. Half the colour resolution is not seen on photographs
    # below quality 90; on drawings it costs 8 points of SSIMULACRA2, and 28 where letters are coloured.
    drawing, area = is_drawing(pixels), pixels.width * pixels.height
    return {
        "quality": quality,
        "subsampling": _chroma(tuning, "4:4:4" if drawing or quality >= 90 else "4:2:0"),
        "progressive": (tuning.effort or 0) >= 7 if tuning.progressive is None else tuning.progressive,
        "optimize": may_hold_jpeg(area, tuning) and (tuning.effort is not None or drawing or area <= _SMALL_PIXELS),
    }


_SMALL_PIXELS = 512 * 512
_LARGE_JPEG_PIXELS = 4 * 1024 * 1024


def may_hold_jpeg(pixels: int, tuning: Tuning) -> bool:
    """Whether a JPEG of so many pixels may be held whole by its encoder, which writes it at the end."""
    if tuning.progressive:
        return True
    return pixels <= _LARGE_JPEG_PIXELS if tuning.effort is None else tuning.effort >= 3


def _webp(pixels: Image.Image, quality: int, tuning: Tuning) -> Options:
    # method 2 takes half of method 4's time, for 2 % more bytes
    method = 2 if tuning.effort is None else round(0.6 * tuning.effort)
    if pixels.width * pixels.height >= LARGE_WEBP_PIXELS:
        method = _ONE_PASS
    return {"quality": quality, "method": method, "lossless": tuning.lossless}


_WEBP_OUT_OF_MEMORY = "encoding error 1"
_ONE_PASS = 0  # all other methods hold the picture's codes in memory until the last pass


def _avif(pixels: Image.Image, quality: int, tuning: Tuning) -> Options:
    # Speed 9 takes a quarter of speed 8's time, for 6 % more bytes of photographs, but 35 % of drawings. On drawings
    # half the colour resolution costs as much as in a JPEG, and all of it takes 5 % more bytes.
    drawing = is_drawing(pixels)
    speed = (8 if drawing else 9) if tuning.effort is None else 10 - round(0.6 * tuning.effort)
    if pixels.width * pixels.height > _SLOW_PIXELS:
        speed = max(6, speed)
    options: Options = {"quality": quality, "speed": speed, "max_threads": 1}
    if pixels.mode == "L":
        return options
    return options | {"subsampling": _chroma(tuning, "4:4:4" if drawing else "4:2:0")}


def _png(pixels: Image.Image, _quality: int, tuning: Tuning) -> Options:
    # Of a photograph's filtered pixels zlib finds hardly more than runs: looking for no others takes 3/4 of the time,
    # for 3 % less bytes. In drawings it finds whole letters and lines.
    runs_only = tuning.effort is None and not is_drawing(pixels)
    level = _png_level(tuning, pixels.width * pixels.height)
    return {"compress_level": level, "compress_type": zlib.Z_RLE if runs_only else zlib.Z_DEFAULT_STRATEGY}


def _png_level(tuning: Tuning, pixels: int) -> int:
    if tuning.effort is None:
        return 2  # of a photograph, it takes a fifth of level 6's time, for 14 % more bytes
    return max(1, min(round(0.9 * tuning.effort), 9 if pixels <= _SLOW_PIXELS else 6))


def _gif(_pixels: Image.Image, _quality: int, _tuning: Tuning) -> Options:
    return {}


def _chroma(tuning: Tuning, usual: str) -> str:
    return usual if tuning.chroma == "auto" else tuning.chroma


def _jxl(_pixels: Image.Image, quality: int, tuning: Tuning) -> Options:
    effort = _JXL_EFFORT if tuning.effort is None else 1 + round(0.6 * tuning.effort)  # the two slowest take minutes
    # 100 would be without loss, which its writer refuses in the space that it makes of losses
    return {"quality": min(quality, 99), "effort": effort, "lossless": tuning.lossless, "num_threads": 0}


_JXL_EFFORT = 4


OUTPUTS: dict[FileFormat, Encoder] = {
    "jpeg": Encoder(85, _jpeg),
    "webp": Encoder(80, _webp),
    "avif": Encoder(60, _avif),
    "png": Encoder(None, _png),
    "gif": Encoder(None, _gif),
    "jxl": Encoder(80, _jxl),
}

_MOST_PLAYS = 65_535  # GIF and WebP count them in 16 bits
_MOST_MS: dict[FileFormat, int] = {"gif": 655_350, "webp": (1 << 24) - 1, "avif": (1 << 31) - 1}
"""How long a frame can stay, by the room that the format has for it."""


def has_alpha(fmt: FileFormat) -> bool:
    """Whether pixels of the format may be transparent."""
    return fmt != _OPAQUE


def encode(
    pixels: Image.Image,
    fmt: FileFormat,
    tuning: Tuning = DEFAULT,
    exif: bytes | None = None,
    profile: bytes | None = None,
) -> bytes:
    """The file of `pixels` (L, RGB, or LA and RGBA where the format has alpha) in format `fmt`.

    `exif` and the colour `profile` (ICC) are the only metadata in it.
    """
    return _saved(_fit_for(fmt, pixels, dithered=True), fmt, tuning, _metadata(fmt, exif, profile))


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of an animation, and how long it stays, in milliseconds. All of them have the same `profile`."""

    pixels: Image.Image
    duration_ms: int
    profile: bytes | None = None


def encode_animation(
    frames: Iterator[Frame],
    count: int,
    plays: int,
    fmt: FileFormat,
    tuning: Tuning = DEFAULT,
    exif: bytes | None = None,
) -> bytes:
    """The file of an animation in one of ANIMATED, its frames taken one after the other as they are written.

    Args:
        frames: `count` of them, all of one size.
        plays: how often it is shown; 0 is for ever.
    """
    first = next(frames)
    frames = chain((first,), frames)
    if fmt == "png":
        shown = ((frame.pixels, frame.duration_ms) for frame in frames)
        with _failures_are_typed():
            return apng.written(shown, plays, _png_level(tuning, _SLOW_PIXELS + 1), exif, first.profile)
    film = _Film(frames, count, fmt)
    options: Options = {"save_all": True, "duration": film.durations, **_metadata(fmt, exif, first.profile)}
    if fmt == "gif":
        if plays != 1:  # a GIF's number counts the repeats
            options["loop"] = min(_MOST_PLAYS, max(0, plays - 1))
        if film.transparent:
            options["disposal"] = 2  # or what was shown before would shine through
    elif fmt == "webp":
        options["loop"] = min(_MOST_PLAYS, plays)
    data = _saved(film, fmt, tuning, options)
    return with_clear_canvas(data) if fmt == "webp" and film.transparent else data


def _metadata(fmt: FileFormat, exif: bytes | None, profile: bytes | None) -> Options:
    if fmt == "jxl" and exif:  # its box begins with where the block begins, which its writer leaves out
        exif = bytes(4) + exif.removeprefix(b"Exif\x00\x00")
    return {name: value for name, value in (("exif", exif), ("icc_profile", profile)) if value}


class _Film(Image.Image):
    """Frames as Pillow's writers take them without holding all of them: an image that changes as it is sought.

    Each frame can be visited only while it is the newest, and the durations are known as far as it has been sought.
    """

    def __init__(self, frames: Iterator[Frame], count: int, fmt: FileFormat) -> None:
        super().__init__()
        self._fmt: FileFormat = fmt
        self.n_frames = count
        self.is_animated = True
        self.durations: list[int] = []
        self._frames = frames
        self.transparent = False
        self.seek(0)

    def seek(self, frame: int) -> None:
        if frame >= self.n_frames:
            raise EOFError
        while len(self.durations) <= frame:
            shown = next(self._frames)
            self.transparent |= shown.pixels.mode in WITH_ALPHA
            pixels = _fit_for(self._fmt, shown.pixels, dithered=False)
            if self._fmt == "avif" and pixels.mode == "L":  # Pillow would look at all frames twice
                pixels = pixels.convert("RGB")
            self._im, self._mode, self._size = pixels.im, pixels.mode, pixels.size
            self.palette, self.info = pixels.palette, pixels.info
            self.durations.append(min(_MOST_MS[self._fmt], max(0, shown.duration_ms)))

    def tell(self) -> int:
        return 0  # where writers seek back to when they are done


def _saved(pixels: Image.Image, fmt: FileFormat, tuning: Tuning, options: Options) -> bytes:
    if isinstance(pixels, ImageFile.ImageFile):
        # As it was opened: save() would look up the working directory to see that it is not its own file,
        # and that is denied to a locked decoder.
        pixels = pixels.copy()
    how = OUTPUTS[fmt]
    usual = how.options(pixels, tuning.quality or how.quality or 0, tuning)
    file = BytesIO()
    with _failures_are_typed(), _room_for(pixels, usual):
        pixels.save(file, fmt.upper(), **(usual | options))
    return file.getvalue()


@contextmanager
def _room_for(pixels: Image.Image, options: Options) -> Generator[None]:
    """Let Pillow take a JPEG that is written at its end: it has room for a byte a pixel, and noise takes up to 4.8."""
    usual = ImageFile.MAXBLOCK
    if options.get("optimize") or options.get("progressive"):
        ImageFile.MAXBLOCK = usual + HELD_JPEG_BYTES * pixels.width * pixels.height
    try:
        yield
    finally:
        ImageFile.MAXBLOCK = usual


def _fit_for(fmt: FileFormat, pixels: Image.Image, *, dithered: bool) -> Image.Image:
    """`pixels` in a mode that the format's encoder takes as it is."""
    if fmt == "gif":
        return indexed(pixels, dithered=dithered)
    if fmt in {"webp", "avif"} and pixels.mode == "LA":
        return pixels.convert("RGBA")
    return stored_in_16_bits(pixels) if pixels.mode == "F" else pixels


@contextmanager
def _failures_are_typed() -> Generator[None]:
    """Turn whatever an encoder raises into a JobError; what the frames of an animation raise passes."""
    try:
        yield
    except (JobError, MemoryError):
        raise
    except Exception as error:  # struct.error, ValueError, OSError, OverflowError, RuntimeError, …
        if "memory" in str(error).lower() or str(error).startswith(_WEBP_OUT_OF_MEMORY):
            raise MemoryError from error
        raise JobError("encode_failed") from error


def actual_format(asked: OutputFormat, source: str, *, transparent: bool) -> FileFormat:
    """The format that a variant comes in: the one asked for, or for "keep" the source's where it can be written."""
    if asked != "keep":
        return asked
    for fmt in OUTPUTS:
        if fmt == source:
            return fmt
    return "png" if transparent else "jpeg"
