"""Back-pressure: what uploads under way may hold together in memory."""

from collections.abc import Generator
from contextlib import contextmanager

from imgsvc.api.errors import ProblemError


class Budget:
    """So many bytes, lent to uploads while they are received."""

    def __init__(self, bytes_: int) -> None:
        self._left = bytes_

    @contextmanager
    def lend(self, expected: int) -> Generator["Loan"]:
        """Raises ProblemError overloaded where there is not as much left as an upload is expected to hold.

        Nothing is taken for it yet: else a few clients who announce much and send nothing would have it all.
        """
        if expected > self._left:
            raise overloaded("Too many uploads are under way. Try again shortly.")
        loan = Loan(self, expected)
        try:
            yield loan
        finally:
            self._left += loan.taken

    def take(self, bytes_: int) -> None:
        if bytes_ > self._left:
            raise overloaded("Too many uploads are under way, and this one came too late. Try again shortly.")
        self._left -= bytes_


class Loan:
    """What one upload holds: as much as has come of it, up to what it will ever hold at once."""

    def __init__(self, budget: Budget, most: int) -> None:
        self._budget = budget
        self._most = most
        self.taken = 0

    def take(self, bytes_: int) -> None:
        """Counts what came. Raises ProblemError overloaded where others hold too much by now."""
        more = min(bytes_, self._most - self.taken)
        self._budget.take(more)
        self.taken += more


def overloaded(detail: str) -> ProblemError:
    return ProblemError("overloaded", detail)
