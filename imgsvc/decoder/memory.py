"""Memory that several decoders share: whoever finds too little left waits its turn."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Room:
    """`size` bytes, lent in the order they are asked for, so that a large image is not overtaken for ever."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def guest(self) -> AsyncGenerator["Guest"]:
        """Someone who may take a part of the room once, and gives it back on leaving."""
        guest = Guest(self)
        try:
            yield guest
        finally:
            self._free += guest.held
            self._let_in()

    async def take(self, size: int) -> int:
        """Waits for `size` bytes, or for all there are where that is less. Returns what was taken."""
        size = min(size, self._size)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        self._let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # let in at the moment of leaving
                self._free += size
            self._let_in()
            raise
        return size

    def _let_in(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= size
                turn.set_result(None)


class Guest:
    def __init__(self, room: Room) -> None:
        self._room = room
        self.held = 0

    async def take(self, size: int) -> None:
        """Waits for `size` bytes of the room."""
        self.held += await self._room.take(size)
