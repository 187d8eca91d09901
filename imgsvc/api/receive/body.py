"""The body of a request as it arrives: its minimum rate, and the memory that it occupies."""

import asyncio
from collections.abc import AsyncGenerator

from starlette.requests import Request

from imgsvc.api.http.budget import Allocation
from imgsvc.api.http.errors import ProblemError
from imgsvc.api.http.pace import Pace
from imgsvc.runtime.settings import Settings


async def paced(request: Request, settings: Settings, allocation: Allocation) -> AsyncGenerator[bytes]:
    """Yields the body; ends it if the client is silent or slow for too long.

    Only the time spent waiting for the client counts, not the time that storage takes.

    Raises:
        ProblemError: request_timeout, or overloaded if other uploads have taken the memory meanwhile.
    """
    stream = request.stream()
    loop = asyncio.get_running_loop()
    pace = Pace(settings.body_grace_s, settings.min_body_rate)
    while True:
        begin = loop.time()
        try:
            async with asyncio.timeout(min(settings.body_idle_timeout_s, pace.left_s)):
                chunk = await anext(stream, b"")
        except TimeoutError:
            raise ProblemError(
                "request_timeout", "The body arrived too slowly, or not at all. Send it again."
            ) from None
        if not chunk:  # the stream ends with an empty chunk
            return
        pace.record(len(chunk), loop.time() - begin)
        allocation.acquire(len(chunk))
        yield chunk
