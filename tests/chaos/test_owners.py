"""What owners are promised holds while workers and Redis are killed (rows F9 and F10)."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from imgsvc.local.servers import Valkey
from tests.support import heap
from tests.support.callers import ENVIRONMENT, SHOP, by, post
from tests.support.chaos_valkey import environment_of, killed, redis_of
from tests.support.crowd import FAILURE, Crowd, jain
from tests.support.service import Servers, Service

MOST = 2
OWNERS = f"[shop]\nmax_running = {MOST}\n"
LEASES = """\
local count = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'imgsvc:jobs', '(' .. ARGV[1], '+inf')) do
  local owner, status, lease = unpack(redis.call('HMGET', 'imgsvc:upload:' .. id, 'owner', 'status', 'lease'))
  if owner == 'shop' and status == 'PROGRESS' and lease then count = count + 1 end
end
return count
"""
"""Counts the leases that the shop has, from the jobs themselves."""


@asynccontextmanager
async def most_leased(environment: dict[str, str]) -> AsyncGenerator[list[int]]:
    """How many leases the shop has, looked at until the block is left."""
    seen: list[int] = []

    async def look() -> None:
        with redis_of(environment) as redis:
            while True:
                seconds, micros = redis.time()  # pyright: ignore[reportGeneralTypeIssues]
                seen.append(int(redis.eval(LEASES, 0, str(seconds * 1000 + micros // 1000))))  # pyright: ignore[reportArgumentType]
                await asyncio.sleep(0.005)

    task = asyncio.create_task(look())
    try:
        yield seen
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_f9_an_owner_runs_no_more_than_it_may_while_workers_are_killed(servers: Servers, tmp_path: Path) -> None:
    (tmp_path / "owners.toml").write_text(OWNERS)
    environment = servers.environment() | ENVIRONMENT | {"IMGSVC_OWNERS_FILE": str(tmp_path / "owners.toml")}
    async with Service.start(environment, workers=2, decoders=2, lease_s=1) as service:
        async with most_leased(environment) as seen:
            ids = [(await post(service, **by(SHOP))).json()["id"] for _ in range(60)]
            for _ in range(3):
                await asyncio.sleep(0.7)
                await service.workers.pop(0).kill()
                await service.start_worker()
            service.client.headers.update(by(SHOP))
            ended = [await service.ended(upload_id) for upload_id in ids]
        assert {status["status"] for status in ended} == {"SUCCESS"}
        assert max(seen) == MOST


async def test_f10_shares_are_what_they_were_after_redis_and_workers_were_killed(
    servers: Servers, valkey: Valkey
) -> None:
    owners = [f"owner{number}" for number in range(5)]
    async with Crowd.open(servers, environment=environment_of(servers, valkey)) as crowd:
        for number, owner in enumerate(owners):
            await crowd.submits(owner, 20 + 5 * number)
        shares = Counter(await crowd.done(20))
        lost = [await crowd.claimed("killed") for _ in range(3)]
        async with killed(valkey):
            pass
        for claim in lost:
            await crowd.redis.zadd("imgsvc:jobs", {claim.id: 0})
        shares.update(await crowd.done(60))
        assert jain([shares[owner] for owner in owners]) >= 0.95
        assert max(shares.values()) - min(shares.values()) <= 2


async def test_f11_a_job_is_next_though_another_owner_has_ten_thousand(servers: Servers) -> None:
    async with Crowd.open(servers) as crowd:
        waiting = await heap.submit(crowd.queue, crowd.redis, ["heap"] * 10_000)
        running = await crowd.queue.claim("w1", 4)
        (single,) = await crowd.submits("single")
        assert await crowd.queue.finish(running[0], FAILURE)
        taken = [claim.id for claim in await crowd.queue.claim("w1", 2)]
        assert single in taken
        assert (await crowd.queue.stats()).waiting == len(waiting) - 5
