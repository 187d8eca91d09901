"""Memory that the decoders share: an image for which too little is left waits its turn."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class MemoryLimiter:
    """`size` bytes, granted in the order of the requests, so that a large image is not overtaken for ever."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def share(self) -> AsyncGenerator["MemoryShare"]:
        """A share of the memory that grows as it is acquired, and is released at the end."""
        share = MemoryShare(self)
        try:
            yield share
        finally:
            self._free += share.held
            self._grant()

    async def acquire(self, size: int) -> int:
        """Waits for `size` bytes, or for all there are where that is less. Returns what was taken."""
        size = min(size, self._size)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        self._grant()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # granted in the moment of cancellation
                self._free += size
            self._grant()
            raise
        return size

    def _grant(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= size
                turn.set_result(None)


class MemoryShare:
    def __init__(self, limiter: MemoryLimiter) -> None:
        self._limiter = limiter
        self.held = 0

    async def acquire(self, size: int) -> None:
        """Waits for `size` more bytes."""
        self.held += await self._limiter.acquire(size)
