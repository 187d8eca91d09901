"""The whole service on this machine, from upload to finished variants.

Real processes and the embedded servers; the load generator runs beside them and is part of the bill. For each number
of uploads in flight: images a second, how long the upload's answer and the finished job take their client, and the
CPU that each process spent on one image.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import quantiles
from time import perf_counter

import psutil

from tests.bench.load import load
from tests.bench.machine import cpu_s, decoders_cpu_s, machine
from tests.support import images
from tests.support.service import Servers, Service

WARM_UP = 20


class Bill:
    """CPU seconds by process, since it was opened."""

    def __init__(self, servers: Servers, service: Service) -> None:
        self._processes: Mapping[str, list[psutil.Process]] = {
            "api": [psutil.Process(service.api.pid)],
            "worker": [psutil.Process(worker.pid) for worker in service.workers],
            "S3": [psutil.Process(servers.seaweed.pid)],
            "Valkey": [psutil.Process(servers.valkey.pid)],
            "load": [psutil.Process()],
        }
        self._before = self._read()

    def _read(self) -> dict[str, float]:
        spent: dict[str, float] = {}
        for name, processes in self._processes.items():
            spent[name] = sum(cpu_s(process) for process in processes)
        workers = self._processes["worker"]
        spent["decoder"] = sum(decoders_cpu_s(worker) for worker in workers)
        return spent

    def spent(self) -> dict[str, float]:
        after = self._read()
        return {name: after[name] - self._before[name] for name in after}


def percentiles(seconds: list[float]) -> str:
    """p50, p95 and p99 in milliseconds."""
    cuts = quantiles(seconds, n=100, method="inclusive")
    return " / ".join(f"{cuts[at] * 1000:.0f}" for at in (49, 94, 98))


async def measure(servers: Servers, service: Service, image: bytes, count: int, in_flight: int) -> str:
    bill = Bill(servers, service)
    begin = perf_counter()
    uploads = await load(service.url, image, count, in_flight)
    rate = count / (perf_counter() - begin)
    cpu = {name: seconds / count * 1000 for name, seconds in bill.spent().items()}
    order = ("api", "worker", "decoder", "S3", "Valkey", "load")
    cells: list[str] = [
        str(in_flight),
        f"{rate:.1f}",
        percentiles([upload.accepted for upload in uploads]),
        percentiles([upload.done for upload in uploads]),
        *(f"{cpu[name]:.1f}" for name in order),
    ]
    return f"| {' | '.join(cells)} |"


async def bench(image: bytes, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with (
            Servers.start(Path(folder)) as servers,
            Service.start(servers.environment(), log_level="warning") as service,
        ):
            await load(service.url, image, WARM_UP, 4)
            print(
                "| in flight | images/s | upload ms p50/p95/p99 | done ms p50/p95/p99 | CPU ms an image: api |", end=""
            )
            print(" worker | decoder | S3 | Valkey | load |\n|" + "---:|" * 10)
            for in_flight in (1, 8, 32):
                print(await measure(servers, service, image, count, in_flight), flush=True)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", type=Path, help="a file to upload (default: a made-up photograph of 6 megapixels)")
    parser.add_argument("--count", type=int, default=200, help="uploads for each number in flight (default: 200)")


def run(arguments: argparse.Namespace) -> None:
    image = arguments.image.read_bytes() if arguments.image else images.photo(2725, 2225)
    print(f"{machine()}; {len(image)} bytes an image\n")
    asyncio.run(bench(image, arguments.count))
