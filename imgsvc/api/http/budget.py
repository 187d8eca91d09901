"""Memory for what is received: uploads under way, and what waits on connections."""

from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager

from imgsvc.api.http.errors import RETRY_ADVICE, ProblemError
from imgsvc.api.http.peer import client_network


class Budget:
    """`size` bytes, acquired as they are received and released once they are stored.

    `share` (0 to 1) is how much of them one holder, an owner or a client's address, may have, so that there is always
    some left for others. It is never less than `largest`, what one upload may hold: or else that would never be taken.
    """

    def __init__(self, size: int, share: float = 1.0, largest: int = 0) -> None:
        self._free = size
        self._max_held = max(largest, int(size * share))
        self._held: Counter[str] = Counter()

    @contextmanager
    def allocate(self, expected: int, *holders: str) -> Generator["Allocation"]:
        """Memory for an upload that may hold `expected` bytes at once.

        None of it is acquired yet: else a few clients who announce much and send nothing would have it all.

        Raises:
            ProblemError: overloaded, where less than that is free.
        """
        self._check(expected, holders)
        allocation = Allocation(self, holders, expected)
        try:
            yield allocation
        finally:
            allocation.hold(0)

    def acquire(self, size: int, holders: Iterable[str]) -> None:
        """Raises ProblemError overloaded where less than `size` is free, or free for one of the holders."""
        self._check(size, holders)
        self._add(size, holders)

    def release(self, size: int, holders: Iterable[str]) -> None:
        self._add(-size, holders)

    def _check(self, size: int, holders: Iterable[str]) -> None:
        if size > self._free:
            raise overloaded(f"Too many uploads are in progress. {RETRY_ADVICE}")
        if any(self._held[holder] + size > self._max_held for holder in holders):
            raise overloaded(f"Too many of your uploads are in progress. {RETRY_ADVICE}")

    def _add(self, size: int, holders: Iterable[str]) -> None:
        self._free -= size
        for holder in holders:
            self._held[holder] += size
            if not self._held[holder]:
                del self._held[holder]


class Allocation:
    """What one upload, or one connection, holds now. `most` is what is counted of it at most, in bytes."""

    def __init__(self, budget: Budget, holders: Iterable[str], most: int | None = None) -> None:
        self._budget = budget
        self._holders = tuple(holders)
        self._most = most
        self.held = 0

    def acquire(self, size: int) -> None:
        """Counts what was received. Raises ProblemError overloaded where others, or its holder, hold too much."""
        self.hold(self.held + size)

    def release(self, size: int) -> None:
        """Counts what is stored, and no longer held."""
        self.hold(max(0, self.held - size))

    def hold(self, size: int) -> None:
        """Acquires or releases so much that it holds `size` bytes. Raises as `acquire` does."""
        size = size if self._most is None else min(size, self._most)
        if size > self.held:
            self._budget.acquire(size - self.held, self._holders)
        elif size < self.held:
            self._budget.release(self.held - size, self._holders)
        self.held = size


def client_holder(address: str) -> str:
    """The holder that a client counts as."""
    return f"client {client_network(address)}"


def overloaded(detail: str) -> ProblemError:
    return ProblemError("overloaded", detail)
