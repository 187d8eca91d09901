"""Memory that the fetches of a worker share, so that no owner's take all of it."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

OWNER_SHARE = 2
"""An owner holds at most so many times what is left after it; who holds nothing may take all that is left."""


class SharedMemory:
    """A number of bytes, of which each holder takes all that it may need at once: so none waits for another's rest."""

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self._free = total_bytes
        self._held = Counter[str]()
        self._waiting = dict[asyncio.Future[None], tuple[str, int]]()

    @property
    def held_bytes(self) -> int:
        return self.total_bytes - self._free

    def has_room(self, owner: str, size: int) -> bool:
        """Returns whether `size` bytes can be held now: nobody overtakes an owner who waits and holds nothing."""
        comes_first = any(not self._held[waiting] for waiting, _ in self._waiting.values())
        return not comes_first and self._fits(owner, self._bounded(size))

    @asynccontextmanager
    async def hold(self, owner: str, size: int) -> AsyncGenerator[None]:
        """Holds `size` bytes, or all that there are, for an owner; waits for them if need be."""
        size = self._bounded(size)
        if self.has_room(owner, size):
            self._take(owner, size)
        else:
            await self._wait(owner, size)
        try:
            yield
        finally:
            self._give_back(owner, size)

    async def _wait(self, owner: str, size: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = owner, size
        try:
            await turn
        except asyncio.CancelledError:
            if self._waiting.pop(turn, None) is None:  # it was granted in the same moment
                self._give_back(owner, size)
            self._grant()
            raise

    def _grant(self) -> None:
        """Gives those who wait what there is, in their order, but for what has_room says."""
        for turn, (owner, size) in list(self._waiting.items()):
            if turn.cancelled():
                continue
            if self._fits(owner, size):
                del self._waiting[turn]
                self._take(owner, size)
                turn.set_result(None)
            elif not self._held[owner]:
                return

    def _bounded(self, size: int) -> int:
        return min(size, self.total_bytes)

    def _fits(self, owner: str, size: int) -> bool:
        left, held = self._free - size, self._held[owner]
        return left >= 0 and (not held or held + size <= OWNER_SHARE * left)

    def _take(self, owner: str, size: int) -> None:
        self._free -= size
        self._held[owner] += size

    def _give_back(self, owner: str, size: int) -> None:
        self._free += size
        self._held[owner] -= size
        if not self._held[owner]:
            del self._held[owner]
        self._grant()
