"""Colour spaces that are given as numbers, made into ICC profiles: gamma and chromaticities, or the code points of
ITU-T H.273, which PNG (cICP), AVIF and HEIF (nclx) carry.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product
from operator import mul

from imgsvc.imaging import icc

Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""x and y of white, red, green and blue."""

Curve = Callable[[float], float]
"""From a level to light, both 0 to 1."""

_Matrix = list[list[float]]

_D65, _DCI, _C = (0.3127, 0.3290), (0.314, 0.351), (0.310, 0.316)
SRGB: Chromaticities = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_PRIMARIES: dict[int, Chromaticities] = {
    1: SRGB,
    4: (*_C, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    8: (*_C, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (*_DCI, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
_BRADFORD: _Matrix = [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
_STEPS = 1024
_GRID = 33
_WIDE = 9  # BT.2020
_SRGB_GAMMA = 45_455
_UNSAID = 2

_PQ_PEAK, _HLG_PEAK = 10_000 / 203, 1_000 / 203  # in terms of the white of text (ITU-R BT.2408)


@dataclass(frozen=True, slots=True)
class Space:
    """A space as an ICC profile; `exact` unless it holds more light than a profile can describe."""

    profile: bytes
    exact: bool = True


def _srgb(level: float) -> float:
    return level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4


def _smpte240(level: float) -> float:
    return level / 4 if level < 0.0913 else ((level + 0.1115) / 1.1115) ** (1 / 0.45)


def _log(range_: float) -> Curve:
    return lambda level: 0.0 if level <= 0 else 10 ** (range_ * (level - 1))


def _gamma(exponent: float) -> Curve:
    return lambda level: level**exponent


def _pq(level: float) -> float:
    power = level ** (1 / 78.84375)
    light = (max(0.0, power - 0.8359375) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
    return light * _PQ_PEAK


def _hlg(level: float) -> float:
    return level**2 / 3 if level <= 0.5 else (2.718281828 ** ((level - 0.55991073) / 0.17883277) + 0.28466892) / 12


def _rolled_off(light: float) -> float:
    """Light, of which 1 is the white of text, as a screen without HDR shows it: half as bright, so that there is room
    for what is brighter, and bent from there on. The knots are what Chromium shows of greys.
    """
    for (x0, y0), (x1, y1) in pairwise(_ROLL_OFF):
        if light < x1:
            return y0 + (y1 - y0) * (light - x0) / (x1 - x0)
    return 1.0


_ROLL_OFF = (
    *((0.0, 0.0), (1.0, 0.4975), (1.0747, 0.533), (1.2946, 0.604), (1.5576, 0.665), (1.8717, 0.723)),
    *((2.2465, 0.7835), (2.6938, 0.831), (3.2290, 0.888), (3.8684, 0.939), (4.6312, 0.982), (4.9261, 1.0)),
)

_CURVES: dict[int, Curve] = {
    1: _gamma(2.4),
    4: _gamma(2.2),
    5: _gamma(2.8),
    6: _gamma(2.4),
    7: _smpte240,
    8: _gamma(1.0),
    9: _log(2.0),
    10: _log(2.5),
    11: _gamma(2.4),
    13: _srgb,
    14: _gamma(2.4),
    15: _gamma(2.4),
    16: _pq,
    17: lambda level: min(1.0, 52.37 / 48 * level**2.6),
    18: _hlg,
}
_HLG = 18
_HDR = frozenset({16, _HLG})
_CAMERAS = frozenset({1, 6, 14, 15})  # what cameras of television write, meant for a screen of gamma 2.4


def _shown(light: Sequence[float], luminance: Sequence[float], transfer: int) -> list[float]:
    """What a screen without HDR shows of light in red, green and blue, in the white of text: all three are bent alike.

    HLG is light of the scene, which its screen makes brighter by its luminance (ITU-R BT.2100).
    """
    if transfer == _HLG:
        gain = sum(map(mul, luminance, light)) ** 0.2 * _HLG_PEAK
        light = [value * gain for value in light]
    brightest = max(light)
    if not brightest:
        return [0.0, 0.0, 0.0]
    scale = _rolled_off(brightest) / brightest
    return [value * scale for value in light]


@lru_cache(maxsize=8)
def of_code_points(primaries: int, transfer: int, *, grey: bool) -> Space | None:
    """The space of H.273's code points; None for sRGB, and for what is left unsaid."""
    if transfer not in _CURVES or primaries not in _PRIMARIES:
        return None
    curve = _CURVES[transfer]
    chromaticities = _PRIMARIES[primaries]
    if chromaticities == SRGB and curve is _srgb:
        return None
    if transfer in _HDR:
        return Space(_hdr_profile(chromaticities, transfer, grey=grey), exact=False)
    return Space(_profile(chromaticities, curve, grey=grey))


def of_video(primaries: int, transfer: int, *, grey: bool) -> Space | None:
    """The same as AVIF and HEIF mean it: what is left unsaid is sRGB, and so is television, as browsers have it."""
    primaries = 1 if primaries == _UNSAID else primaries
    return of_code_points(primaries, 13 if transfer == _UNSAID or transfer in _CAMERAS else transfer, grey=grey)


def display_p3() -> bytes:
    """The profile of the space that screens of a wide gamut have."""
    space = of_code_points(12, 13, grey=False)
    assert space is not None
    return space.profile


def in_linear_srgb(column: Sequence[float]) -> list[float]:
    """Red, green and blue of sRGB's primaries, as light, of a colour in XYZ of D50."""
    return [sum(map(mul, row, column)) for row in _inverse(_to_xyz(SRGB))]


@lru_cache(maxsize=8)
def of_gamma(gamma: int | None, chromaticities: tuple[int, ...] | None, *, grey: bool) -> Space | None:
    """The space of a PNG's gAMA and cHRM, in their units of 1/100 000; None for sRGB, and for what makes no sense."""
    if gamma is None or not 1_000 <= gamma <= 1_000_000:
        return None  # chromaticities alone mean nothing, to browsers neither
    space = SRGB
    if chromaticities is not None and not grey:
        values = [value / 100_000 for value in chromaticities]
        if any(abs(value - known) > 0.003 for value, known in zip(values, SRGB, strict=True)):
            space = (values[0], values[1], values[2], values[3], values[4], values[5], values[6], values[7])
    if space == SRGB and abs(gamma - _SRGB_GAMMA) <= 500:
        return None
    curve = _gamma(100_000 / gamma)
    try:
        return Space(_profile(space, curve, grey=grey))
    except (ZeroDivisionError, struct.error):  # chromaticities of no colours
        return None


def _profile(chromaticities: Chromaticities, curve: Curve, *, grey: bool) -> bytes:
    """An ICC profile (version 2) of a matrix and a curve, or of a curve alone for grey."""
    levels = [min(65_535, max(0, round(65_535 * curve(step / (_STEPS - 1))))) for step in range(_STEPS)]
    trc = icc.curve(levels)
    if grey:
        return icc.assembled({b"kTRC": trc}, b"GRAY")
    columns = zip(*_to_xyz(chromaticities), strict=True)
    tags = {name: icc.xyz(column) for name, column in zip(icc.COLORANTS, columns, strict=True)}
    return icc.assembled(tags | dict.fromkeys(icc.CURVES, trc), b"RGB ")


def _hdr_profile(chromaticities: Chromaticities, transfer: int, *, grey: bool) -> bytes:
    """An ICC profile (version 2) of a table, since no curve of a single colour can describe it."""
    curve = _CURVES[transfer]
    if grey:
        return _profile(SRGB, lambda level: _shown([curve(level)] * 3, (0, 1, 0), transfer)[0], grey=True)
    matrix = _to_xyz(_PRIMARIES[_WIDE])  # the space in which browsers bend light, whatever it comes in
    widened = _times(_inverse(matrix), _to_xyz(chromaticities))
    levels = [curve(step / (_GRID - 1)) for step in range(_GRID)]
    nodes: list[int] = []
    for given in product(levels, repeat=3):
        light = [max(0.0, sum(map(mul, row, given))) for row in widened]
        shown = _shown(light, matrix[1], transfer)
        nodes += _lab([sum(map(mul, row, shown)) for row in matrix])
    head = struct.pack("!4BB3x9i2H", 0, 0, 0, 0, 0, *[65_536 if at % 4 == 0 else 0 for at in range(9)], 2, 2)
    head = b"mft2" + bytes(4) + bytes((3, 3, _GRID, 0)) + head[8:]
    straight = struct.pack("!6H", *(0, 65_535) * 3)
    table = head + straight + struct.pack(f"!{len(nodes)}H", *nodes) + straight
    return icc.assembled({b"A2B0": table}, b"RGB ", b"Lab ")


def _lab(xyz: Sequence[float]) -> tuple[int, int, int]:
    """L*a*b* in the 16 bits of ICC's version 2."""
    x, y, z = (_cube_root(max(0.0, value / white)) for value, white in zip(xyz, icc.D50, strict=True))
    values = ((116 * y - 16) * 652.8, (500 * (x - y) + 128) * 256, (200 * (y - z) + 128) * 256)
    light, red_green, yellow_blue = (min(65_535, max(0, round(value))) for value in values)
    return light, red_green, yellow_blue


def _cube_root(value: float) -> float:
    return value ** (1 / 3) if value > 216 / 24_389 else (24_389 / 27 * value + 16) / 116


def _to_xyz(chromaticities: Chromaticities) -> _Matrix:
    """From linear RGB to XYZ of D50."""
    white, *primaries = (
        (x / y, 1.0, (1 - x - y) / y) for x, y in zip(chromaticities[::2], chromaticities[1::2], strict=True)
    )
    columns: _Matrix = [list(row) for row in zip(*primaries, strict=True)]
    scale = _times(_inverse(columns), [[value] for value in white])
    matrix = [[value * scale[at][0] for at, value in enumerate(row)] for row in columns]
    seen, wanted = (_times(_BRADFORD, [[value] for value in point]) for point in (white, icc.D50))
    adapt = [[wanted[i][0] / seen[i][0] if i == j else 0.0 for j in range(3)] for i in range(3)]
    return _times(_times(_inverse(_BRADFORD), _times(adapt, _BRADFORD)), matrix)


def _times(one: _Matrix, other: _Matrix) -> _Matrix:
    return [
        [sum(a * b for a, b in zip(row, column, strict=True)) for column in zip(*other, strict=True)] for row in one
    ]


def _inverse(m: _Matrix) -> _Matrix:
    def minor(i: int, j: int) -> float:
        a, b = (k for k in range(3) if k != i)
        c, d = (k for k in range(3) if k != j)
        return (-1) ** (i + j) * (m[a][c] * m[b][d] - m[a][d] * m[b][c])

    determinant = sum(m[0][j] * minor(0, j) for j in range(3))
    return [[minor(j, i) / determinant for j in range(3)] for i in range(3)]
