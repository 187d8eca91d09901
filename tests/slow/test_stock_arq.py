"""What arq's own worker does where ours keeps its promises (row C5): why worker/lease.py is there at all."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, monotonic_ns
from urllib.parse import urlsplit

import pytest_asyncio
from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.constants import default_queue_name, in_progress_key_prefix
from arq.jobs import Job

from imgsvc.local.servers import Valkey
from tests.support.fault_proxy import NONE, Fault, Proxy
from tests.support.hooks.watched import Watched
from tests.support.service import Servers, until

MAX_JOBS = 10  # arq's default
MAX_TRIES = 5  # likewise
READ_LIMIT = 100  # so many jobs does a worker look at
BUSY_S = 8.0
LONG_S = 250.0  # shorter than arq lets a job run


@asynccontextmanager
async def redis_at(url: str) -> AsyncGenerator[ArqRedis]:
    redis = await create_pool(RedisSettings.from_dsn(url))
    try:
        yield redis
    finally:
        await redis.aclose()


def worker_at(url: str, *hooks: str, max_jobs: int = MAX_JOBS) -> AbstractAsyncContextManager[Watched]:
    return Watched.start("tests.support.hooks.stock", str(max_jobs), *hooks, env={"IMGSVC_REDIS_URL": url})


async def enqueued(redis: ArqRedis, name: str, *args: float) -> Job:
    job = await redis.enqueue_job(name, *args)
    assert job is not None
    return job


@pytest_asyncio.fixture
async def url(servers: Servers) -> str:
    return servers.environment()["IMGSVC_REDIS_URL"]


@pytest_asyncio.fixture
async def redis(url: str) -> AsyncGenerator[ArqRedis]:
    async with redis_at(url) as redis:
        yield redis


async def test_c5_q1_stock_arq_needs_five_minutes_to_rerun_a_killed_workers_job(url: str, redis: ArqRedis) -> None:
    job = await enqueued(redis, "sleep", LONG_S)
    async with worker_at(url) as doomed:
        assert (await doomed.entered())[0] == job.job_id
        doomed.process.kill()
    killed = monotonic_ns()
    async with worker_at(url) as other, asyncio.timeout(400):
        again, at = await other.entered()
    waited_s = (at - killed) / 1e9
    print(f"a killed worker's job was run again after {waited_s:.1f} s")
    assert again == job.job_id
    assert 300 < waited_s < 330


async def test_c5_q6_stock_arq_fails_a_healthy_job_after_five_restarts(url: str, redis: ArqRedis) -> None:
    job = await enqueued(redis, "sleep", LONG_S)
    for _ in range(MAX_TRIES):
        async with worker_at(url) as worker:
            assert (await worker.entered())[0] == job.job_id
            worker.process.terminate()
            await worker.process.wait()
    async with worker_at(url):
        await until(lambda: redis.exists(f"arq:result:{job.job_id}"))
    result = await job.result_info()
    assert result is not None
    print(f"after {MAX_TRIES} restarts a healthy job ended with {result.result!r}")
    assert not result.success


async def test_c5_q10_stock_arq_ends_with_a_hook_that_raises(url: str, redis: ArqRedis) -> None:
    begin = monotonic()
    job = await enqueued(redis, "nothing")
    async with worker_at(url, "on_job_start") as worker, asyncio.timeout(30):
        code = await worker.process.wait()
    left_s = await redis.pttl(in_progress_key_prefix + job.job_id) / 1000
    print(f"exit code {code} {monotonic() - begin:.1f} s after its start; the job is held for {left_s:.0f} s more")
    assert code != 0
    assert left_s > 300 - 30


async def test_c5_q14_stock_arq_starves_a_new_job_behind_a_hundred_claimed_ones(url: str, redis: ArqRedis) -> None:
    """One worker is at work on as many jobs as another, that is idle, looks at."""
    for _ in range(READ_LIMIT):
        await redis.enqueue_job("sleep", BUSY_S)
    async with worker_at(url, max_jobs=READ_LIMIT) as busy:
        for _ in range(READ_LIMIT):
            await busy.entered()
        async with worker_at(url) as idle:
            oldest = await redis.enqueue_job("nothing", _defer_until=datetime.now(UTC) - timedelta(hours=1))
            assert oldest is not None
            assert (await idle.entered())[0] == oldest.job_id, "it is idle indeed"
            begin = monotonic()
            newest = await enqueued(redis, "nothing")
            await newest.result(timeout=60, poll_delay=0.01)
    waited_s = monotonic() - begin
    print(f"a new job waited {waited_s:.1f} s for an idle worker, until the jobs of another had ended")
    assert waited_s > BUSY_S / 2


async def test_c5_r1_stock_arq_ends_when_redis_is_restarted(tmp_path: Path) -> None:
    valkey = Valkey(tmp_path / "valkey")
    await valkey.start()
    try:
        async with redis_at(valkey.url) as redis, worker_at(valkey.url) as worker:
            await enqueued(redis, "nothing")
            await worker.entered()
            begin = monotonic()
            await valkey.kill()
            await valkey.start()
            async with asyncio.timeout(30):
                code = await worker.process.wait()
            print(f"exit code {code} {monotonic() - begin:.1f} s after Redis was killed and started again")
            assert code != 0
    finally:
        await valkey.stop()


async def test_c5_r5_stock_arq_loses_jobs_with_the_connection_and_does_not_say_so(url: str) -> None:
    """The connection breaks between WATCH and EXEC, and `enqueue_job` says what it says of a job that exists."""
    parts = urlsplit(url)
    async with Proxy.to("127.0.0.1", parts.port or 0) as proxy, redis_at(proxy.url(url)) as redis:
        proxy.fault = Fault(on=b"MULTI", cut_after=0)
        answers = [await redis.enqueue_job("nothing") for _ in range(20)]
        proxy.fault = NONE
        queued = await redis.zcard(default_queue_name)
    print(f"{answers.count(None)} of {len(answers)} jobs neither queued nor refused; {queued} queued")
    assert (answers, queued) == ([None] * 20, 0)
