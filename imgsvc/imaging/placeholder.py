"""What stands in for an image until it is loaded: a ThumbHash and a main colour.

A ThumbHash (https://evanw.github.io/thumbhash/) holds the lowest frequencies of a cosine transform of lightness, two
colour differences and alpha, in some 25 bytes.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import cos, floor, pi
from operator import mul

from PIL import Image

from imgsvc.domain.model import Placeholder

_SIDE = 32  # the hash holds 7 frequencies a side: more pixels cost time and change nothing

Channel = Sequence[float]
"""A value a pixel, row by row."""


def shrunk(picture: Image.Image) -> Image.Image:
    """As few pixels as are looked at, in RGBA; the smaller the picture, the less it costs."""
    small = picture.copy()
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=1.0)
    return small.convert("RGBA")


def placeholder(small: Image.Image, color: str) -> Placeholder:
    """The placeholder of an upright picture in sRGB that is `shrunk`, and its main colour."""
    return Placeholder(b64encode(thumbhash(small.size, small.tobytes())).decode(), color)


def thumbhash(size: tuple[int, int], rgba: bytes) -> bytes:
    """The ThumbHash of an image of at most 100 pixels a side; `rgba` are its pixels row by row, not premultiplied."""
    width, height = size
    light, yellow_blue, red_green, alpha = _channels(rgba)
    has_alpha = min(alpha) < 1
    most = 5 if has_alpha else 7
    across, down = (max(1, _round(most * side / max(size))) for side in size)
    coded = [
        _Waves.of(light, size, max(3, across), max(3, down)),
        _Waves.of(yellow_blue, size, 3, 3),
        _Waves.of(red_green, size, 3, 3),
    ]
    lightness, yellow, red = coded
    landscape = width > height
    head = _round(63 * lightness.mean) | _round(31.5 + 31.5 * yellow.mean) << 6
    head |= _round(31.5 + 31.5 * red.mean) << 12 | _round(31 * lightness.scale) << 18 | has_alpha << 23
    tail = (down if landscape else across) | _round(63 * yellow.scale) << 3
    tail |= _round(63 * red.scale) << 9 | landscape << 15
    hashed = head.to_bytes(3, "little") + tail.to_bytes(2, "little")
    if has_alpha:
        coded.append(_Waves.of(alpha, size, 5, 5))
        hashed += bytes([_round(15 * coded[3].mean) | _round(15 * coded[3].scale) << 4])
    nibbles = [_round(15 * wave) for waves in coded for wave in waves.waves] + [0]
    return hashed + bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=False))


def _channels(rgba: bytes) -> tuple[Channel, Channel, Channel, Channel]:
    """Lightness, yellow against blue, red against green, and alpha; laid on the image's mean colour."""
    alpha = [value / 255 for value in rgba[3::4]]
    total = sum(alpha) or 1.0
    layers: list[Channel] = []
    for band in (rgba[0::4], rgba[1::4], rgba[2::4]):
        seen = [value / 255 * a for value, a in zip(band, alpha, strict=True)]
        mean = sum(seen) / total
        layers.append([value + mean * (1 - a) for value, a in zip(seen, alpha, strict=True)])
    pixels = list(zip(*layers, strict=True))
    return (
        [(r + g + b) / 3 for r, g, b in pixels],
        [(r + g) / 2 - b for r, g, b in pixels],
        [r - g for r, g, _ in pixels],
        alpha,
    )


@dataclass(frozen=True, slots=True)
class _Waves:
    """A channel's mean, and its lowest frequencies scaled to 0 … 1."""

    mean: float
    scale: float
    waves: tuple[float, ...]

    @classmethod
    def of(cls, channel: Channel, size: tuple[int, int], across: int, down: int) -> "_Waves":
        width, height = size
        rows = [channel[start : start + width] for start in range(0, width * height, width)]
        columns = [[_dot(row, wave) for row in rows] for wave in _cosines(width, across)]
        waves = [
            _dot(columns[x], wave) / (width * height)
            for y, wave in enumerate(_cosines(height, down))
            for x in range(across)
            if x * down < across * (down - y)
        ]
        scale = max(map(abs, waves[1:]))
        return cls(waves[0], scale, tuple(0.5 + 0.5 / scale * wave if scale else wave for wave in waves[1:]))


@cache
def _cosines(length: int, count: int) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(cos(pi / length * n * (at + 0.5)) for at in range(length)) for n in range(count))


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(map(mul, one, other))


def _round(value: float) -> int:
    return floor(value + 0.5)  # half upwards, as the format's own code does
