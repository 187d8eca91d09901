"""The queue alone, ours beside arq's own, with jobs of no work.

Each worker runs in a process of its own against the embedded Valkey, with as many slots as ours has in production.
Two things are measured: how long a lone job waits for an idle worker, from the start of `submit` (or `enqueue_job`)
until the job is entered; and how fast one worker claims and finishes what is queued already.
"""

import argparse
import asyncio
import random
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from time import monotonic_ns
from typing import Protocol
from uuid import uuid4

from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.constants import default_queue_name

from imgsvc.domain.options import Options
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Source, Submission
from imgsvc.local.servers import Valkey
from imgsvc.runtime.cores import available_cores
from tests.bench.machine import machine
from tests.support.hooks.watched import Watched
from tests.support.service import settings_of, until

WARM_UP = 5
LONGEST_GAP_S = 0.5  # arq's polling interval: a job may come at any moment of it
SUBMITTERS = 32


class Contender(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def worker(self) -> str:
        """The module that runs its worker."""
        ...

    async def submit(self) -> tuple[str, int]:
        """The new job's id, and the nanosecond at which queueing it began."""
        ...

    async def queued(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Ours:
    queue: Queue
    name: str = "imgsvc"
    worker: str = "tests.support.hooks.instant"

    async def submit(self) -> tuple[str, int]:
        submission = Submission(str(uuid4()), Options(filename="photo.jpg"), Source(9, "ab", "jpeg"))
        await self.queue.reserve(submission.id)  # an upload does so before its body comes
        begin = monotonic_ns()
        await self.queue.submit(submission)
        return submission.id, begin

    async def queued(self) -> int:
        return (await self.queue.stats()).queued


@dataclass(frozen=True, slots=True)
class Stock:
    redis: ArqRedis
    name: str = "stock arq"
    worker: str = "tests.support.hooks.stock"

    async def submit(self) -> tuple[str, int]:
        begin = monotonic_ns()
        job = await self.redis.enqueue_job("nothing")
        assert job is not None
        return job.job_id, begin

    async def queued(self) -> int:
        return await self.redis.zcard(default_queue_name)


@dataclass(frozen=True, slots=True)
class Figures:
    pick_up_ms: list[float]
    per_second: float

    def cells(self) -> list[float]:
        cuts = quantiles(self.pick_up_ms, n=100, method="inclusive")
        return [cuts[49], cuts[94], max(self.pick_up_ms), self.per_second]


async def measure(contender: Contender, url: str, slots: int, lone: int, queued: int) -> Figures:
    await submit(contender, queued)
    async with Watched.start(contender.worker, str(slots), env={"IMGSVC_REDIS_URL": url}) as worker:
        per_second = await backlog(contender, worker, queued)
        pick_up = [await pick_up_ms(contender, worker) for _ in range(WARM_UP + lone)][WARM_UP:]
    return Figures(pick_up, per_second)


async def submit(contender: Contender, count: int) -> None:
    left = iter(range(count))

    async def client() -> None:
        for _ in left:
            await contender.submit()

    await asyncio.gather(*(client() for _ in range(SUBMITTERS)))


async def backlog(contender: Contender, worker: Watched, jobs: int) -> float:
    """Jobs a second, from the first one entered until the queue is empty."""

    async def empty() -> bool:
        return await contender.queued() == 0

    _, begin = await worker.entered()
    for _ in range(jobs - 1):
        await worker.entered()
    await until(empty)
    return jobs / (monotonic_ns() - begin) * 1e9


async def pick_up_ms(contender: Contender, worker: Watched) -> float:
    await asyncio.sleep(random.uniform(0, LONGEST_GAP_S))
    job_id, begin = await contender.submit()
    entered, at = await worker.entered()
    assert entered == job_id
    return (at - begin) / 1e6


@asynccontextmanager
async def contenders(ours: str, stock: str) -> AsyncGenerator[dict[str, Contender]]:
    """Both, by the database that each has to itself."""
    redis = await create_pool(RedisSettings.from_dsn(stock))
    async with Queue.open(settings_of({"IMGSVC_REDIS_URL": ours})) as queue:
        yield {ours: Ours(queue), stock: Stock(redis)}
    await redis.aclose()


async def bench(slots: int, lone: int, queued: int) -> None:
    print("| | pick-up ms: median | p95 | max | jobs/s |\n|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        valkey = Valkey(Path(folder) / "valkey")
        await valkey.start()
        rows: list[list[float]] = []
        try:
            async with contenders(valkey.url, valkey.url.removesuffix("0") + "1") as pair:
                for url, contender in pair.items():
                    rows.append((await measure(contender, url, slots, lone, queued)).cells())
                    print(f"| {contender.name} | {' | '.join(f'{cell:.1f}' for cell in rows[-1])} |", flush=True)
        finally:
            await valkey.stop()
    *pick_up, rate = zip(*rows, strict=True)
    ratios = [*(stock / ours for ours, stock in pick_up), rate[0] / rate[1]]
    print(f"| times better | {' | '.join(f'{ratio:.1f}' for ratio in ratios)} |")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lone", type=int, default=200, help="jobs queued one by one (default: 200)")
    parser.add_argument("--queued", type=int, default=2000, help="jobs queued beforehand (default: 2000)")
    parser.add_argument("--slots", type=int, default=available_cores() + 2, help="jobs that a worker runs at once")


def run(arguments: argparse.Namespace) -> None:
    print(f"{machine()}; {arguments.slots} slots\n")
    asyncio.run(bench(arguments.slots, arguments.lone, arguments.queued))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench.queue", description=__doc__)
    configure(parser)
    run(parser.parse_args())
