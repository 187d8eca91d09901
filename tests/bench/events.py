"""`python -m tests.bench.events`: what listeners cost an API, and how soon they hear.

One API process, and as many listeners as asked for, each on an upload of its own. While nothing happens: memory and
CPU. Then one job moves after the other: milliseconds from the start of the write until its listener has the event.
"""

import argparse
import asyncio
import resource
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from time import perf_counter
from typing import Self
from uuid import uuid4

import psutil

from imgsvc.domain.options import Options
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Failure, Source, Submission
from tests.bench.machine import machine
from tests.support.service import Servers, Service, settings_of

AT_ONCE = 100
SETTLE_S = 2  # until all have heard of what was done to begin with
FAILURE = Failure("decode_failed", "broken")


@dataclass(frozen=True, slots=True)
class Idle:
    """What listeners cost while nothing happens: bytes of memory, and the share of one core."""

    memory: int
    cpu: float


@dataclass(frozen=True, slots=True)
class Listener:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, port: int, upload_id: str) -> Self:
        """One that was told its upload's first status."""
        listener = cls(*await asyncio.open_connection("127.0.0.1", port))
        listener.writer.write(f"GET /upload/{upload_id}/events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
        await listener.next()
        return listener

    async def next(self) -> None:
        """Returns when a status is told."""
        while not (line := await self.reader.readline()).startswith(b"data: "):
            assert line, "the stream has ended"

    async def ms_since(self, begin: float) -> float:
        await self.next()
        return (perf_counter() - begin) * 1000


async def submit(queue: Queue) -> str:
    submission = Submission(str(uuid4()), Options(filename="photo.jpg"), Source(9, "ab", "jpeg"))
    await queue.reserve(submission.id)
    await queue.submit(submission)
    return submission.id


async def listeners(service: Service, queue: Queue, count: int) -> list[Listener]:
    left = iter(range(count))
    found: list[Listener] = []

    async def client() -> None:
        for _ in left:
            found.append(await Listener.open(service.port, await submit(queue)))

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return found


async def claim_all(queue: Queue) -> None:
    """So that the next one that is claimed is the next one that is submitted."""
    while await queue.claim("the benchmark", AT_ONCE):
        pass


async def idle(service: Service, queue: Queue, count: int, seconds: float) -> tuple[Idle, list[Listener]]:
    api = psutil.Process(service.api.pid)
    before = api.memory_info().rss
    opened = await listeners(service, queue, count)
    await claim_all(queue)
    await asyncio.sleep(SETTLE_S)
    used = sum(api.cpu_times()[:2])
    await asyncio.sleep(seconds)
    return Idle(api.memory_info().rss - before, (sum(api.cpu_times()[:2]) - used) / seconds), opened


async def latencies_ms(service: Service, queue: Queue, jobs: int) -> list[float]:
    """Of each job's start, progress and end."""
    found: list[float] = []
    for _ in range(jobs):
        listener = await Listener.open(service.port, await submit(queue))
        begin = perf_counter()
        (claim,) = await queue.claim("the benchmark", 1)
        found.append(await listener.ms_since(begin))
        begin = perf_counter()
        await queue.progress(claim, 50, "encode:thumbnail")
        found.append(await listener.ms_since(begin))
        begin = perf_counter()
        await queue.finish(claim, FAILURE)
        found.append(await listener.ms_since(begin))
        listener.writer.close()
    return found


async def bench(count: int, seconds: float, jobs: int) -> None:
    print("| listeners | MB | % of a core, idle | ms to hear: median | p95 | max |\n|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        async with Servers.start(Path(folder)) as servers:
            environment = servers.environment() | {"IMGSVC_LEASE_S": "3600"}  # nobody renews
            async with (
                Service.start(environment, workers=0, max_queued=10 * count) as service,
                Queue.open(settings_of(environment)) as queue,
            ):
                for number in (0, count):
                    cost, opened = await idle(service, queue, number, seconds)
                    heard = await latencies_ms(service, queue, jobs)
                    cuts = quantiles(heard, n=100, method="inclusive")
                    cells = [cost.memory / 1e6, cost.cpu * 100, cuts[49], cuts[94], max(heard)]
                    print(f"| {len(opened)} | {' | '.join(f'{cell:.1f}' for cell in cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.events", description="Measure event streams.")
    parser.add_argument("--listeners", type=int, default=2000, help="idle streams (default: 2000)")
    parser.add_argument("--seconds", type=float, default=30, help="how long they idle (default: 30)")
    parser.add_argument("--jobs", type=int, default=200, help="jobs that are listened to (default: 200)")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * arguments.listeners + 1024,) * 2)
    print(f"{machine()}\n")
    asyncio.run(bench(arguments.listeners, arguments.seconds, arguments.jobs))


if __name__ == "__main__":
    main()
