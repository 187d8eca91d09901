"""A request's body as it comes in: how slowly that may be, and what it takes up meanwhile."""

import asyncio
from collections.abc import AsyncGenerator

from starlette.requests import Request

from imgsvc.api.http.budget import Allocation
from imgsvc.api.http.errors import ProblemError
from imgsvc.api.http.pace import Pace
from imgsvc.runtime.settings import Settings


async def paced(request: Request, settings: Settings, allocation: Allocation) -> AsyncGenerator[bytes]:
    """The body's bytes, as long as its client is neither silent nor slow for too long.

    Only the time spent waiting for it counts: it is not to blame for what storage takes.

    Raises:
        ProblemError: request_timeout, or overloaded where other uploads hold too much memory by now.
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
            raise ProblemError("request_timeout", "The body comes too slowly, or not at all. Try again.") from None
        if not chunk:  # the stream ends with an empty chunk
            return
        pace.record(len(chunk), loop.time() - begin)
        allocation.acquire(len(chunk))
        yield chunk
