"""Where the interesting part of a picture is: what people look at, or the crop whose pixels differ most."""

from collections.abc import Callable, Mapping, Sequence

from PIL import Image, ImageChops, ImageFilter, ImageStat

from imgsvc.domain.model import Point
from imgsvc.imaging.colour import flat
from imgsvc.imaging.geometry import Placement

_SIDE = 96  # enough to distinguish a face from a wall; each position costs a histogram
_STEPS = 24

_BEHIND = "#808080"  # transparent pixels, so that black things are seen there as white ones are

Part = tuple[float, float]
"""The shares (0 to 1) of a picture's sides that a crop has."""


def choose(gravity: object, pixels: Image.Image, place: Placement) -> Point:
    """The middle of the best crop of a placement's size, where `pixels` show its region; `gravity` is one of CHOSEN."""
    left, top, right, bottom = place.region
    width, height = right - left, bottom - top
    part = (place.box[2] - place.box[0]) / width, (place.box[3] - place.box[1]) / height
    x, y = CHOSEN[gravity](flat(pixels, _BEHIND), part)
    return Point(left + width * (x * (1 - part[0]) + part[0] / 2), top + height * (y * (1 - part[1]) + part[1] / 2))


def busiest(pixels: Image.Image, part: Part) -> tuple[float, float]:
    """Where a crop has the highest entropy.

    Returns how far it is moved to the right and down, as fractions of the space that it can move in.
    """
    small = pixels.convert("L")
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    width, height = (max(1, round(side * share)) for side, share in zip(small.size, part, strict=True))
    return (
        _best(small.width - width, lambda at: small.crop((at, 0, at + width, small.height))),
        _best(small.height - height, lambda at: small.crop((0, at, small.width, at + height))),
    )


def _best(room: int, crop: Callable[[int], Image.Image]) -> float:
    if room <= 0:
        return 0.5
    places = sorted({round(room * step / _STEPS) for step in range(_STEPS + 1)})
    # the middle of equals, so that a plain picture is cropped at its centre
    entropies = [crop(place).entropy() for place in places]
    enough = max(entropies) - 1e-9
    best = [place for place, entropy in zip(places, entropies, strict=True) if entropy > enough]
    return best[len(best) // 2] / room


# Attention. What follows was fitted to annotated photographs, and holds on others (`python -m tests.bench attention`).
# Nothing of it is critical: half as much again of anything changes the share that is kept by at most 2 %.
_LOOKED_AT = 64  # pixels of the longer side that are looked at
_EDGE, _SKIN, _CONTRAST, _RARITY = 2, 2, 2, 0.5
_SURROUNDINGS = 5  # the part of the longer side that a place is compared with
_AT_THE_EDGE = 0.7  # what lies at the edge of a crop counts for that much of what lies in its middle
_TO_THE_MIDDLE = 0.3  # of everything in the picture: what a crop at its edge must have more than one in its middle


def _table(level: Callable[[int], float]) -> list[int]:
    return [max(0, min(255, round(level(value)))) for value in range(256)]


def _plateau(begin: int, full: int, full_until: int, end: int) -> list[int]:
    return _table(lambda v: 255 * min(1, (v - begin) / (full - begin), (end - v) / (end - full_until)))


# skin of every tone lies within these chromaticities (YCbCr), unless it is nearly black or white
_SKIN_BLUE, _SKIN_RED = _plateau(70, 95, 118, 128), _plateau(132, 142, 165, 180)
_SKIN_LIGHT = _plateau(30, 70, 235, 256)
_TWICE = _table(lambda v: 2 * v)
_OUTER, _INNER = (ImageFilter.Kernel((3, 3), [sign] * 4 + [-8 * sign] + [sign] * 4, 1) for sign in (1, -1))


def striking(pixels: Image.Image, part: Part) -> tuple[float, float]:
    """Where a crop has most of what people look at: skin, edges, and colours that are not those of their surroundings.

    Returns how far it is moved to the right and down, as fractions of the space that it can move in.
    """
    small = pixels.convert("RGB")
    small.thumbnail((_LOOKED_AT, _LOOKED_AT), Image.Resampling.BOX)
    scores = _scores(small)
    columns = [sum(scores[at :: small.width]) for at in range(small.width)]
    rows = [sum(scores[at : at + small.width]) for at in range(0, len(scores), small.width)]
    return _fullest(columns, part[0]), _fullest(rows, part[1])


def _scores(small: Image.Image) -> Sequence[float]:
    """How much each pixel is looked at, row by row."""
    bands = small.convert("YCbCr").split()
    light, blue, red = bands
    edges = ImageChops.add(light.filter(_OUTER), light.filter(_INNER))
    skin = ImageChops.multiply(blue.point(_SKIN_BLUE), red.point(_SKIN_RED))
    skin = ImageChops.multiply(skin, light.point(_SKIN_LIGHT))
    smooth = [band.filter(ImageFilter.GaussianBlur(1)) for band in bands]
    radius = max(small.size) / _SURROUNDINGS
    around = [band.filter(ImageFilter.GaussianBlur(radius)) for band in bands]
    everywhere = [Image.new("L", small.size, round(mean)) for mean in ImageStat.Stat(small.convert("YCbCr")).mean]
    weighted = (
        *((edges, _EDGE), (skin, _SKIN)),
        *((_contrast(smooth, around), _CONTRAST), (_contrast(smooth, everywhere), _RARITY)),
    )
    maps = [_standing_out(feature, weight) for feature, weight in weighted]
    # the cube: what stands out counts for more than what is spread out
    return [value * value * value for value in map(sum, zip(*maps, strict=True))]


def _contrast(bands: Sequence[Image.Image], others: Sequence[Image.Image]) -> Image.Image:
    """How different colours are; chroma counts twice, as it is weaker than light in most pictures."""
    light, blue, red = (ImageChops.difference(*pair) for pair in zip(bands, others, strict=True))
    return ImageChops.add(ImageChops.add(light, blue.point(_TWICE)), red.point(_TWICE))


def _standing_out(feature: Image.Image, weight: float) -> list[float]:
    """A feature as shares of its peak. One that is everywhere says little, such as skin on a wooden table."""
    levels = feature.filter(ImageFilter.GaussianBlur(1)).tobytes()
    mean, peak = sum(levels) / len(levels), max(1, max(levels))
    scale = weight * (1 - mean / peak) ** 2 / peak
    return [scale * level for level in levels]


def _fullest(profile: Sequence[float], share: float) -> float:
    """Where a window of a share of the profile has most of its sum; what lies at its edges counts for less."""
    length = max(1, round(len(profile) * share))
    room, total = len(profile) - length, sum(profile)
    if room <= 0 or not total:
        return 0.5
    middle = (length - 1) / 2
    weights = [1 - (1 - _AT_THE_EDGE) * ((at - middle) / (length / 2)) ** 2 for at in range(length)]

    def value(start: int) -> float:
        held = sum(level * weight for level, weight in zip(profile[start : start + length], weights, strict=True))
        return held / total - _TO_THE_MIDDLE * (room / len(profile)) * (2 * start / room - 1) ** 2

    return max(range(room + 1), key=lambda start: (value(start), -abs(2 * start - room))) / room


CHOSEN: Mapping[object, Callable[[Image.Image, Part], tuple[float, float]]] = {
    "entropy": busiest,
    "attention": striking,
    "focus": striking,
}
"""By a variant's gravity. `focus` is what an upload without a focus of its own is left with."""
