"""The quality that a file should have: as low as a target allows, or as high as a number of bytes does.

Each try costs an encoder's time, so tries are few. They begin where pictures usually have to be, and go on along the
curves that quality, score and size usually follow.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, exp, floor, log

from imgsvc.domain.model import FileFormat

LOWEST, HIGHEST = 1, 100

_TOLERANCE = 1.0
"""How far above its target a score may be."""

_MARGIN = 0.3  # what a guess aims above its target
_NEAR = 0.94  # from this share of the allowed bytes on, looking for more is not worth a try
_AIM = 0.975  # the share of them that a guess aims for


@dataclass(frozen=True, slots=True)
class Try:
    """What came of a quality; `score` is None where nobody asked for it."""

    quality: int
    size: int
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Goal:
    """The score to reach, and the bytes not to exceed, which count more. `first` is the quality to begin with.

    Without a target, nothing above `first` is tried.
    """

    first: int
    target: float | None = None
    max_bytes: float | None = None


_Line = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Curves:
    """What photographs score and weigh at each quality of an encoder: medians of 19, sizes as natural logarithms."""

    qualities: tuple[float, ...]
    scores: tuple[float, ...]
    sizes: tuple[float, ...]

    def first(self, target: float) -> int:
        """The quality at which a photograph usually reaches a score."""
        return _quality(ceil(_at(self.scores, self.qualities, target)))

    def for_score(self, tries: list[Try], target: float) -> int:
        """The quality to try next, or one that was tried and is good enough."""
        scored = [(each.quality, each.score) for each in tries if each.score is not None]
        reached = min((each for each in scored if each[1] >= target), default=None)
        missed = max((each for each in scored if each[1] < target and (not reached or each < reached)), default=None)
        if reached and (reached[1] <= target + _TOLERANCE or reached[0] == LOWEST):
            return reached[0]
        aim = target + _MARGIN
        if reached and missed:
            return _between(missed[0], reached[0], self._guess(self.scores, missed, reached, aim))
        known = reached or missed
        assert known
        guess = _quality(ceil(self._along(self.scores, known, aim)))
        return max(guess, known[0] + 1) if missed and known[0] < HIGHEST else guess

    def for_size(self, tries: list[Try], max_bytes: float, at_most: int) -> int:
        """The highest quality that should fit, or one that was tried and is near enough."""
        sized = [(each.quality, log(each.size)) for each in tries]
        most = log(max_bytes)
        fitting = max((each for each in sized if each[1] <= most), default=None)
        beyond = min((each for each in sized if each[1] > most and (not fitting or each > fitting)), default=None)
        if beyond is None:
            return at_most
        if fitting and exp(fitting[1] - most) >= _NEAR:
            return fitting[0]
        aim = most + log(_AIM)
        if fitting:
            return _between(fitting[0], beyond[0], self._guess(self.sizes, fitting, beyond, aim), down=True)
        return max(LOWEST, min(beyond[0] - 1, floor(self._along(self.sizes, beyond, aim))))

    def _along(self, line: tuple[float, ...], known: tuple[int, float], aim: float) -> float:
        """Where the usual curve, shifted to what is known, has the value `aim`."""
        shift = known[1] - _at(self.qualities, line, known[0])
        return _at(line, self.qualities, aim - shift)

    def _guess(self, line: tuple[float, ...], low: tuple[int, float], high: tuple[int, float], aim: float) -> float:
        """Where the usual curve, bent to go through what is known, has the value `aim`."""
        below, above = (_at(self.qualities, line, known[0]) for known in (low, high))
        share = (aim - low[1]) / (high[1] - low[1]) if high[1] > low[1] else 0.5
        return _at(line, self.qualities, below + share * (above - below))


CURVES: Mapping[FileFormat, Curves] = {
    "jpeg": Curves(
        (1, 5, 10, 20, 35, 50, 65, 75, 82, 89, 90, 94, 97, 100),
        (-194, -108, -17, 34.5, 57, 66, 72.5, 76.5, 81, 85, 90.5, 93.5, 95.5, 98),
        (-1.65, -1.44, -1.1, -0.73, -0.42, -0.22, 0, 0.19, 0.39, 0.66, 0.92, 1.19, 1.54, 2.13),
    ),
    "webp": Curves(
        (1, 5, 10, 20, 35, 50, 65, 75, 80, 86, 91, 95, 98, 100),
        (-3, 17, 28, 43.5, 55, 62.5, 67, 71.5, 77, 82.5, 86, 90, 91.5, 92),
        (-1.42, -1.12, -0.92, -0.7, -0.41, -0.18, 0, 0.13, 0.34, 0.61, 0.9, 1.25, 1.5, 1.58),
    ),
    "avif": Curves(
        (1, 5, 10, 20, 30, 40, 50, 56, 62, 68, 75, 82, 90, 100),
        (-25, -19, 2, 24, 41, 55, 68, 73.5, 78, 82, 85, 87.5, 90, 94.5),
        (-1.53, -1.48, -1.33, -1.02, -0.71, -0.38, 0, 0.2, 0.36, 0.59, 0.78, 0.97, 1.26, 2.14),
    ),
    "jxl": Curves(
        (1, 5, 10, 20, 35, 50, 60, 70, 76, 82, 88, 92, 96, 100),
        (9, 20, 30, 47, 60, 65, 70, 75.5, 78, 81.5, 87.5, 90, 94, 96.5),
        (-1.19, -1.04, -0.84, -0.66, -0.34, -0.16, 0, 0.21, 0.33, 0.48, 0.8, 0.99, 1.34, 1.84),
    ),
}


def best(run: Callable[[int], Try], curves: Curves, goal: Goal, most_tries: int) -> Try:
    """The try that meets the goal with the fewest bytes, or comes nearest to it: of those that fit, the best one.

    If none fits, it is the smallest, and the lowest quality is among the tries.
    """
    tries: list[Try] = []
    quality = goal.first
    for left in range(most_tries, 0, -1):
        if left == 1 and tries and goal.max_bytes is not None and all(each.size > goal.max_bytes for each in tries):
            quality = LOWEST
        if any(each.quality == quality for each in tries):
            break
        tries.append(run(quality))
        wanted = goal.first if goal.target is None else curves.for_score(tries, goal.target)
        quality = wanted if goal.max_bytes is None else min(wanted, curves.for_size(tries, goal.max_bytes, wanted))
    return _chosen(tries, goal)


def _chosen(tries: list[Try], goal: Goal) -> Try:
    fitting = [each for each in tries if goal.max_bytes is None or each.size <= goal.max_bytes]
    if not fitting:
        return min(tries, key=lambda each: each.size)
    reaching = [each for each in fitting if goal.target is None or (each.score or 0) >= goal.target]
    if reaching and goal.target is not None:
        return min(reaching, key=lambda each: each.quality)
    return max(fitting, key=lambda each: each.quality)


def _between(low: int, high: int, guess: float, *, down: bool = False) -> int:
    """A whole number between two, or the one of them that is known to be right where there is none."""
    if high - low <= 1:
        return low if down else high
    return min(high - 1, max(low + 1, floor(guess) if down else ceil(guess)))


def _quality(value: int) -> int:
    return min(HIGHEST, max(LOWEST, value))


def _at(xs: tuple[float, ...], ys: tuple[float, ...], x: float) -> float:
    """y at x on the line through the points, whose xs grow; beyond them, that of the nearest."""
    if x <= xs[0]:
        return ys[0]
    if x >= xs[-1]:
        return ys[-1]
    at = bisect_left(xs, x)
    share = (x - xs[at - 1]) / (xs[at] - xs[at - 1])
    return ys[at - 1] + share * (ys[at] - ys[at - 1])
