"""Wrong keys by the thousand slow nobody down (row H17)."""

import asyncio
from statistics import median

import httpx
import psutil

from imgsvc.runtime.settings import MIB
from tests.support.callers import (
    PHOTO,
    SHOP,
    answered,
    assert_nothing_new,
    measured,
)
from tests.support.service import Service, leftovers


async def test_h17_wrong_keys_by_the_thousand_slow_no_valid_one_and_leave_nothing(
    keyed: Service, full_length: bool
) -> None:
    tries = 10_000 if full_length else 2_000
    mine = await keyed.upload(PHOTO)
    await keyed.ended(mine)
    kept, api = leftovers(keyed.environment), psutil.Process(keyed.api.pid)

    async def valid() -> httpx.Response:
        return await keyed.client.get(f"/upload/{mine}/status")

    await measured(valid, 50, 200)
    alone = await measured(valid, 300, 200)
    memory = api.memory_info().rss
    guessing = asyncio.create_task(guess(keyed, tries))
    during: list[float] = []
    while not guessing.done():
        during += await measured(valid, 10, 200)
    refused = await guessing
    after = await measured(valid, 300, 200)
    # the median, since any other process on the machine slows some calls down
    ms = [median(seconds) * 1000 for seconds in (alone, during, after)]
    print(f"a valid call took {ms[0]:.1f} ms before, {ms[1]:.1f} during, {ms[2]:.1f} after ({len(during)} during)")
    assert refused == tries
    assert max(ms[1:]) <= 4 * ms[0] + 50
    assert_nothing_new(keyed, kept)
    assert api.memory_info().rss - memory < 5 * MIB


async def guess(service: Service, count: int) -> int:
    """Tries so many wrong keys, one after the other, each near the right one; returns how many were refused."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    refused = 0
    for number in range(count):
        key = SHOP[: number % len(SHOP)] + f"{number:020d}"
        writer.write(f"GET /presets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
        refused += (await answered(reader))[0] == 401
    writer.close()
    return refused
