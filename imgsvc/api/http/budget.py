"""Back-pressure: what uploads under way may hold together in memory."""

from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager

from imgsvc.api.http.errors import ProblemError


class Budget:
    """So many bytes, lent to uploads while they are received.

    `share` (0 to 1) is how much of them one holder, an owner or a client's address, may have: so there is always room
    for somebody else. It is never less than `largest`, what one upload may hold: or else that would never be taken.
    """

    def __init__(self, bytes_: int, share: float = 1.0, largest: int = 0) -> None:
        self._left = bytes_
        self._most_of_one = max(largest, int(bytes_ * share))
        self._held: Counter[str] = Counter()

    @contextmanager
    def allocate(self, expected: int, *holders: str) -> Generator["Allocation"]:
        """Raises ProblemError overloaded where there is not as much left as an upload is expected to hold.

        Nothing is taken for it yet: else a few clients who announce much and send nothing would have it all.
        """
        self._check(expected, holders, "Try again shortly.")
        allocation = Allocation(self, expected, holders)
        try:
            yield allocation
        finally:
            self.give_back(allocation.held, holders)

    def take(self, bytes_: int, holders: Iterable[str]) -> None:
        self._check(bytes_, holders, "This one came too late: try again shortly.")
        self._add(bytes_, holders)

    def give_back(self, bytes_: int, holders: Iterable[str]) -> None:
        self._add(-bytes_, holders)

    def _check(self, more: int, holders: Iterable[str], advice: str) -> None:
        if more > self._left:
            raise overloaded(f"Too many uploads are under way. {advice}")
        if any(self._held[holder] + more > self._most_of_one for holder in holders):
            raise overloaded(f"Too many uploads of yours are under way. {advice}")

    def _add(self, more: int, holders: Iterable[str]) -> None:
        self._left -= more
        for holder in holders:
            self._held[holder] += more
            if not self._held[holder]:
                del self._held[holder]


class Allocation:
    """What one upload holds now: what has come of it and is not stored yet, at most what it may ever hold at once."""

    def __init__(self, budget: Budget, most: int, holders: Iterable[str]) -> None:
        self._budget = budget
        self._most = most
        self._holders = tuple(holders)
        self.held = 0

    def take(self, bytes_: int) -> None:
        """Counts what came. Raises ProblemError overloaded where others, or its client, hold too much by now."""
        more = min(bytes_, self._most - self.held)
        self._budget.take(more, self._holders)
        self.held += more

    def give_back(self, bytes_: int) -> None:
        """Counts what is stored, and no longer held."""
        less = min(bytes_, self.held)
        self._budget.give_back(less, self._holders)
        self.held -= less


def overloaded(detail: str) -> ProblemError:
    return ProblemError("overloaded", detail)
