"""The two clocks of one image: the CPU time it costs, and how long it is waited for."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

_LEAST_LOOK_S = 0.02
WALL_FACTOR = 5
"""What an image may take by the clock on the wall, in its CPU times, where each decoder has a core."""


class ImageClock:
    """Ends what runs within it when the image has used its CPU time, or has not come by its wall.

    Its own CPU time is what an image is judged by, since that does not grow with what else the machine is doing. The
    wall is for a decoder that does nothing, and far away.

    Args:
        cpu_s: reads the CPU seconds that the decoder has used in all its life.
        limit_s: CPU seconds that the image may cost.
        wall_s: seconds that it may take.

    Raises:
        TimeoutError: on leaving, when one of them ran out.
    """

    def __init__(self, cpu_s: Callable[[], float], limit_s: float, wall_s: float) -> None:
        self._cpu_s = cpu_s
        self._limit_s = limit_s
        self._wall_s = wall_s
        self._timeout = asyncio.timeout(wall_s)
        self._loop = asyncio.get_running_loop()
        self._begin_s = cpu_s()
        self._is_over = False

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        # it may use two cores at once; where it does, this looks too late by no more than the limit itself
        self._look = self._loop.call_later(self._limit_s, self._check)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._look.cancel()
        return await self._timeout.__aexit__(kind, error, trace)

    def pause_wall(self) -> None:
        """While the decoder waits for others."""
        self._timeout.reschedule(None)

    def restart_wall(self) -> None:
        if not self._is_over:
            self._timeout.reschedule(self._loop.time() + self._wall_s)

    def _check(self) -> None:
        left = self._limit_s - (self._cpu_s() - self._begin_s)
        if left > 0:
            self._look = self._loop.call_later(max(left, _LEAST_LOOK_S), self._check)
        elif not self._timeout.expired():
            self._is_over = True
            self._timeout.reschedule(self._loop.time())
