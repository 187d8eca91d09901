"""Clients that send and read slowly, and what that costs others."""

import asyncio
from contextlib import AsyncExitStack
from itertools import cycle, islice
from statistics import median
from time import monotonic

from imgsvc.runtime.settings import MIB
from tests.support import images
from tests.support.service import Service
from tests.support.wire import Connection, request

PHOTO = images.photo()
POST = "POST /upload HTTP/1.1\nContent-Type: image/jpeg"
PATIENCE_S = 1.0
"""What the impatient service gives in place of 8, 20 and 30 seconds."""


async def latencies(service: Service, seconds: float) -> list[float]:
    """Of a good client that asks and uploads by turns."""
    found: list[float] = []
    end = monotonic() + seconds
    while monotonic() < end:
        begin = monotonic()
        answer = await service.post(PHOTO)
        assert answer.status_code == 202, answer.text
        found.append(monotonic() - begin)
    return found


async def beside_five_hundred(service: Service, patience_s: float) -> dict[str, float]:
    """Seconds until the last slow client of each kind is freed, while a good one is served as well as alone."""
    sent = {
        "silent": b"",
        "slow head": b"GET /healthz HTTP/1.1\r\nX-Slow: ",
        "stalled body": request(f"{POST}\nContent-Length: {MIB}", PHOTO[:5000]),
    }
    alone = await latencies(service, PATIENCE_S)
    async with AsyncExitStack() as stack:
        freed: dict[str, list[asyncio.Task[float]]] = {}
        for kind in islice(cycle(sent), 500):
            slow = await stack.enter_async_context(Connection.to(service.port))
            freed.setdefault(kind, []).append(asyncio.create_task(slow.until_closed(60)))
            await slow.send(sent[kind])
        beside = await latencies(service, patience_s * 0.7)
        longest = {kind: max(await asyncio.gather(*closing)) for kind, closing in freed.items()}
    # the median, since any other process on the machine slows some uploads down
    ms = median(alone) * 1000, median(beside) * 1000
    print(f"an upload took {ms[0]:.0f} ms alone, {ms[1]:.0f} ms beside 500 slow clients; freed after ", end="")
    print(", ".join(f"{seconds:.2f} s ({kind})" for kind, seconds in longest.items()))
    assert ms[1] < 4 * max(ms[0], 50)
    return longest


async def seconds_of_a_trickle(service: Service, pause_s: float) -> float:
    begin = monotonic()
    async with Connection.to(service.port) as connection:
        await connection.send(request(f"{POST}\nContent-Length: {len(PHOTO)}"))
        sending = asyncio.create_task(connection.trickle((PHOTO[at : at + 1] for at in range(1000)), pause_s))
        answer = await connection.answer(90)
        seconds = monotonic() - begin
        sending.cancel()
    print(f"408 after {seconds:.2f} s")
    answer.assert_problem(408, "request_timeout")
    return seconds
