"""Operators' searches over a million uploads (row A1)."""

from collections.abc import AsyncGenerator
from statistics import median
from time import perf_counter
from typing import cast

import pytest_asyncio
from redis.asyncio import Redis

from imgsvc.domain.states import Status
from imgsvc.jobs.bulk import Filter
from tests.support.service import Servers
from tests.support.world import World

MILLION = 1_000_000
MOST_MS = 20
"""What most scripts may take on a busy machine; on a quiet one, it is a tenth of that. Some are interrupted."""

SEED = """
for at = ARGV[1], ARGV[1] + ARGV[2] - 1 do
  local id = string.format('%08x-0000-4000-8000-%012x', at, at)
  redis.call('HSET', 'imgsvc:upload:' .. id, 'status', 'SUCCESS', 'filename', 'photo-' .. at .. '.jpg',
    'created_at', at, 'owner', 'owner-' .. at % 1000, 'success', ARGV[3])
  redis.call('ZADD', 'imgsvc:all', at, id)
end
"""


@pytest_asyncio.fixture
async def crowded(servers: Servers) -> AsyncGenerator[World]:
    async with World.open(servers, lease_s=60) as world:
        seed = world.redis.register_script(SEED)
        for at in range(0, MILLION, 10_000):
            await seed(args=[at, 10_000, '[2725,2225,1,[["resized","photo"]]]' * 4])
        yield world
        await world.redis.flushdb()


async def typical_ms(redis: Redis) -> float:
    """The median of all scripts since the last call."""
    entries = cast("list[dict[str, int | bytes]]", await redis.slowlog_get(10_000))
    await redis.slowlog_reset()
    found = [int(entry["duration"]) for entry in entries if bytes(cast("bytes", entry["command"])).startswith(b"EVAL")]
    return median(found) / 1000 if found else 0


async def test_a1_a_search_over_a_million_uploads_never_holds_redis_for_long(crowded: World) -> None:
    redis, administration = crowded.redis, crowded.queue.administration
    await redis.config_set("slowlog-log-slower-than", 0)
    await redis.config_set("slowlog-max-len", 10_000)
    await typical_ms(redis)
    for where in (
        Filter(text="nowhere"),
        Filter((Status.FAILURE,)),
        Filter((Status.PENDING,)),
        Filter(owner="owner-7"),
        Filter(created_before=500_000),
        Filter(text="PHOTO-999"),
    ):
        begin = perf_counter()
        matches = await administration.find(where, 50)
        took_ms, held_ms = (perf_counter() - begin) * 1000, await typical_ms(redis)
        print(f"{where}: {len(matches.found)} of {matches.seen} in {took_ms:.0f} ms, {held_ms} ms a script")
        assert matches.seen <= 10_000
        assert held_ms < MOST_MS
    begin, after, calls = perf_counter(), None, 0
    while calls == 0 or after is not None:
        after = (await administration.find(Filter(text="nowhere"), 50, after)).last
        calls += 1
    print(f"all of them: {calls} calls, {perf_counter() - begin:.1f} s, {await typical_ms(redis)} ms a script")
    assert calls >= MILLION / 10_000
    await administration.overview()
    print(f"the overview: {await typical_ms(redis)} ms")
