"""A variant's file: encoded at the quality that it names, or at the one that its picture needs or its bytes allow."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO

from PIL import Image

from imgsvc.domain.model import FileFormat
from imgsvc.imaging import jxl
from imgsvc.imaging.drawing import is_drawing
from imgsvc.imaging.encode import OUTPUTS, Tuning, encode
from imgsvc.imaging.search import CURVES, Goal, Try, best
from imgsvc.imaging.similarity import Reference
from imgsvc.imaging.steps import Plan

MAX_TRIES = 4
"""Encodings that a search costs at most."""

_MAX_FILM_TRIES = 3
_MAX_LOOKS = 3
_TILE, _MAX_TILES = 128, 32
WHOLE_PIXELS = _MAX_TILES * _TILE**2
"""Larger pictures are judged by so much of them, or by a third if that is less."""

_HEADROOM = 0.93  # what a sample may weigh of its share of the bytes: the whole may weigh more
_COARSE_MARGIN: dict[FileFormat, float] = {"jpeg": 12, "avif": 6, "webp": 4}
"""How much better a picture must be that lost its colours' resolution alone, for that to be the cheaper way; for the
formats that can lose it.
"""

_FULL_COLOUR: frozenset[FileFormat] = frozenset({"jpeg", "avif"})
"""Those that need not lose it."""

_LOSSLESS: frozenset[FileFormat] = frozenset({"webp", "jxl"})

_MOST_EFFORT, _SOME_EFFORT = 10, 4
_QUICK_PIXELS = 4 * 1024 * 1024  # what is packed with most effort within seconds

Encode = Callable[[Tuning], bytes]


@dataclass(frozen=True, slots=True)
class Written:
    """A file, the quality that its encoder was given (None where it has none), and whether it is as small as asked."""

    data: bytes
    quality: int | None
    fits: bool = True


def write(plan: Plan, first_frame: Callable[[], Image.Image], encoded: Encode, target: float) -> Written:
    """The file of a variant.

    Args:
        first_frame: gives what it shows, or what an animation begins with.
        encoded: encodes all of it.
        target: the score (see similarity.py) that an automatic quality reaches.
    """
    variant, fmt, is_film = plan.variant, plan.format, plan.frames > 1
    tuning, usual = Tuning.of(variant), OUTPUTS[fmt].quality
    if usual is None or (tuning.lossless and fmt in _LOSSLESS):
        return _packed(plan, tuning, encoded)
    goal, tries = Goal(tuning.quality or usual, None, variant.max_bytes), MAX_TRIES
    if variant.quality == "auto":
        look = _Look(first_frame(), fmt, target, tuning)
        tuning = look.tuning
        if look.share == 1 and not is_film:
            return _searched(look.goal(variant.max_bytes), tries, fmt, tuning, encoded, look.reference)
        goal, tries = replace(goal, first=look.quality(variant.max_bytes)), tries - 1  # it has cost one, or less
    elif goal.max_bytes is None:
        return Written(encoded(tuning), goal.first)
    return _searched(goal, min(tries, _MAX_FILM_TRIES) if is_film else tries, fmt, tuning, encoded)


def _packed(plan: Plan, tuning: Tuning, encoded: Encode) -> Written:
    """A file without qualities, which more effort alone can make smaller, and a GIF nothing."""
    data, most = encoded(tuning), plan.variant.max_bytes
    if most is None:
        return Written(data, None)
    width, height = plan.place.canvas
    effort = _MOST_EFFORT if width * height * plan.frames <= _QUICK_PIXELS else _SOME_EFFORT
    if len(data) > most and plan.format != "gif" and tuning.effort is None:
        data = min(data, encoded(replace(tuning, effort=effort)), key=len)
    return Written(data, None, len(data) <= most)


def _searched(
    goal: Goal, tries: int, fmt: FileFormat, tuning: Tuning, encoded: Encode, reference: Reference | None = None
) -> Written:
    files: dict[int, bytes] = {}

    def run(quality: int) -> Try:
        data = files[quality] = encoded(replace(tuning, quality=quality))
        return Try(quality, len(data), reference.score(_decoded(data, fmt)) if reference else None)

    found = best(run, CURVES[fmt], goal, tries)
    return Written(files[found.quality], found.quality, goal.max_bytes is None or found.size <= goal.max_bytes)


def _decoded(data: bytes, fmt: FileFormat) -> Image.Image:
    if fmt == "jxl":
        image = jxl.opened(data)
        image.load()
        return image
    return Image.open(BytesIO(data), formats=[fmt.upper()])


class _Look:
    """What an automatic quality is chosen by: the picture, or tiles of it where it is large."""

    def __init__(self, picture: Image.Image, fmt: FileFormat, target: float, tuning: Tuning) -> None:
        self._fmt: FileFormat = fmt
        self._sample = _sample(picture)
        self.share = self._sample.width * self._sample.height / (picture.width * picture.height)
        self.reference = Reference(self._sample)
        self._target: float | None = target
        self._first = CURVES[fmt].first(target)
        self.tuning = tuning
        if fmt in _COARSE_MARGIN and self._sample.mode not in {"L", "LA"}:
            self._judge_coarse_colours(target, drawn=is_drawing(picture))

    def _judge_coarse_colours(self, target: float, *, drawn: bool) -> None:
        """Text and drawings in colours reach no target without all of the colours' resolution.

        Where a format lacks it, they get the quality of photographs.
        """
        if self._fmt in _FULL_COLOUR and (self.tuning.chroma == "4:4:4" or (self.tuning.chroma == "auto" and drawn)):
            self.tuning = replace(self.tuning, chroma="4:4:4")
            return
        most = self.reference.score(_with_coarse_colours(self._sample)) - _COARSE_MARGIN[self._fmt]
        if target > most and self._fmt in _FULL_COLOUR and self.tuning.chroma == "auto":
            self.tuning = replace(self.tuning, chroma="4:4:4")
        elif target > most and (self._fmt == "webp" or self.tuning.chroma == "4:2:0"):
            self._target = None

    def goal(self, max_bytes: float | None) -> Goal:
        return Goal(self._first, self._target, max_bytes)

    def quality(self, max_bytes: int | None) -> int:
        """The quality that the whole picture should have, of which this is a sample."""

        def run(quality: int) -> Try:
            data = encode(self._sample, self._fmt, replace(self.tuning, quality=quality))
            return Try(quality, len(data), self.reference.score(_decoded(data, self._fmt)))

        if self._target is None:
            return self._first
        goal = self.goal(max_bytes and max_bytes * self.share * _HEADROOM)
        return best(run, CURVES[self._fmt], goal, _MAX_LOOKS).quality


def _sample(picture: Image.Image) -> Image.Image:
    """The picture, or tiles from all over it, where that is much less to look at."""
    pixels = picture.width * picture.height
    if pixels <= WHOLE_PIXELS:
        return picture
    width, height = min(_TILE, picture.width), min(_TILE, picture.height)
    count = max(1, min(WHOLE_PIXELS, pixels // 3) // (width * height))
    across = max(1, round(count**0.5))
    count -= count % across
    sample = Image.new(picture.mode, (across * width, count // across * height))
    for number in range(count):
        # the golden ratio spreads them over all columns, whatever their number
        left = round((number * 0.6180339887498949 % 1) * (picture.width - width))
        top = round((number + 0.5) / count * (picture.height - height))
        tile = picture.crop((left, top, left + width, top + height))
        sample.paste(tile, (number % across * width, number // across * height))
    return sample


def _with_coarse_colours(picture: Image.Image) -> Image.Image:
    """The picture as it is once its colours have half their resolution, and nothing else is lost."""
    light, *colours = picture.convert("RGB").convert("YCbCr").split()
    by = min(2, picture.width), min(2, picture.height)
    coarse = [band.reduce(by).resize(picture.size, Image.Resampling.BILINEAR) for band in colours]
    rgb = Image.merge("YCbCr", (light, *coarse)).convert("RGB")
    if picture.mode == "RGBA":
        rgb.putalpha(picture.getchannel("A"))
    return rgb
