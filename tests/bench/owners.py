"""The queue's scripts as jobs and owners grow: how long each takes in Redis, and how much a waiting job holds there.

The jobs wait in a Valkey of its own, by the real scripts. At each size one job after the other is submitted, claimed,
renewed and finished, and the median of what the server counts for each script is shown, beside its ratio to that of the
first size. What an owner holds is the difference between as many jobs of few owners and of many.
"""

import argparse
import asyncio
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis

from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Failure, Submission
from imgsvc.jobs.types import WorkerInfo
from imgsvc.local.servers import Valkey
from tests.bench.machine import machine
from tests.support import heap
from tests.support.service import settings_of

STEPS = ("submit", "claim", "renew", "finish")
AT_ONCE = 10_000
FEW = 5
ENVIRONMENT = {
    "IMGSVC_LEASE_S": "600",  # nothing lapses while the next size is queued
    "IMGSVC_MAX_QUEUED": "100000000",
    "IMGSVC_REDIS_TIMEOUT_S": "60",
}
FAILURE = Failure("decode_failed", "broken")
WORKER = WorkerInfo("bench", "off")


class Heap:
    """Jobs that wait, of owners who have as many each."""

    def __init__(self, queue: Queue, redis: Redis, owners: int) -> None:
        self._queue = queue
        self._redis = redis
        self._owners = owners
        self._size = 0

    async def grow(self, size: int) -> None:
        while self._size < size:
            more = range(self._size, min(self._size + AT_ONCE, size))
            await heap.submit(self._queue, self._redis, [self._owner(number) for number in more])
            self._size = more.stop

    def _owner(self, number: int) -> str:
        return f"owner{number % self._owners}"

    async def bytes_used(self) -> int:
        return (await self._redis.info("memory"))["used_memory"]

    async def times_us(self, rounds: int) -> list[float]:
        """The median time of each of STEPS."""
        taken: list[list[float]] = []
        for number in range(rounds):
            upload_id = str(uuid4())
            await self._queue.reserve(upload_id, owner=self._owner(number))
            marks = [await self._spent_us()]
            await self._queue.submit(Submission(upload_id, heap.OPTIONS, heap.SOURCE))
            marks.append(await self._spent_us())
            (claim,) = await self._queue.claim("bench", 1)
            marks.append(await self._spent_us())
            await self._queue.renew(WORKER, {claim.id: claim.token})
            marks.append(await self._spent_us())
            await self._queue.finish(claim, FAILURE)
            marks.append(await self._spent_us())
            taken.append([after - before for before, after in pairwise(marks)])
        return [median(column) for column in zip(*taken, strict=True)]

    async def _spent_us(self) -> float:
        info: dict[str, Any] = await self._redis.info("commandstats")
        return info["cmdstat_evalsha"]["usec"]


@asynccontextmanager
async def server() -> AsyncGenerator[str]:
    with tempfile.TemporaryDirectory() as folder:
        valkey = Valkey(Path(folder) / "valkey")
        await valkey.start()
        try:
            yield valkey.url
        finally:
            await valkey.stop()


async def bench(sizes: list[int], owners: list[int], rounds: int) -> None:
    heads = "".join(f" {step} µs |" for step in STEPS)
    print(f"| waiting jobs | owners |{heads} bytes a job |\n|---:|---:|{'---:|' * (len(STEPS) + 1)}")
    first: list[float] = []
    used: dict[tuple[int, int], int] = {}
    async with server() as url:
        settings = settings_of(ENVIRONMENT | {"IMGSVC_REDIS_URL": url})
        async with Queue.open(settings) as queue, Redis.from_url(url, socket_timeout=600) as redis:
            await redis.config_set("appendonly", "no")  # the server's own time is meant, and not its disk's
            for count in owners:
                await redis.flushall()
                empty = (await redis.info("memory"))["used_memory"]
                waiting = Heap(queue, redis, count)
                for size in [size for size in sizes if size >= count]:
                    await waiting.grow(size)
                    used[size, count] = await waiting.bytes_used() - empty
                    times = await waiting.times_us(rounds)
                    first = first or times
                    cells = [f"{now:.0f} ({now / then:.2f})" for now, then in zip(times, first, strict=True)]
                    print(f"| {size} | {count} | {' | '.join(cells)} | {used[size, count] / size:.0f} |", flush=True)
    for (size, count), bytes_used in used.items():
        if count > FEW and (size, FEW) in used:
            each = (bytes_used - used[size, FEW]) / (count - FEW)
            print(f"\n{each:.0f} bytes for each of {count} owners of {size} waiting jobs")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="waiting jobs")
    parser.add_argument("--owners", type=int, nargs="+", default=[FEW, 100_000], help="owners who have them")
    parser.add_argument("--rounds", type=int, default=500, help="jobs submitted and done at each size (default: 500)")


def run(arguments: argparse.Namespace) -> None:
    print(f"{machine()}\n")
    asyncio.run(bench(arguments.sizes, arguments.owners, arguments.rounds))
