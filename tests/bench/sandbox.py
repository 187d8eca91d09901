"""What the decoder's boundary costs an image: in process, through the pool, locked down, and with owners kept apart.

CPU of the children that decode and of the parent that hands the image over and takes the results. The ways take turns,
the pools, of one child at a time, new each time; each figure is the median of its rounds.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import psutil

from imgsvc.decoder.pool import DecoderPool
from imgsvc.domain.model import Isolation
from imgsvc.domain.presets import DEFAULT, PRESETS
from tests.bench.contender import OURS, Contender
from tests.bench.machine import decoders_cpu_s, machine
from tests.bench.photos import SOURCES
from tests.bench.runner import LIMITS, own_cpu_s

WALL_S = 20.0
MEMORY_BYTES = 1024 * 1024 * 1024
WARM_UP = 5

Way = Callable[[], Awaitable[float]]
"""Renders the image some times; returns the CPU in ms that one took."""


async def pooled(
    image: bytes, count: int, sandbox: str = "require", isolation: Isolation = "batch", owners: int = 1
) -> float:
    """With a pool of its own, that is new and warm; its owners' images come in turns."""
    pool = DecoderPool(
        processes=1,
        timeout_s=WALL_S,
        memory_bytes=MEMORY_BYTES,
        total_memory_bytes=MEMORY_BYTES,
        limits=LIMITS,
        sandbox=sandbox,
        isolation=isolation,
    )
    this = psutil.Process()
    others_cpu_s = decoders_cpu_s(this)
    async with pool:
        for number in range(WARM_UP):
            await pool.render(image, PRESETS[DEFAULT], owner=str(number % owners))

        def spent_s() -> float:
            return own_cpu_s() + decoders_cpu_s(this) - others_cpu_s

        begin = spent_s()
        for number in range(count):
            await pool.render(image, PRESETS[DEFAULT], owner=str(number % owners))
        # the child's in ticks of 10 ms, which many images share
        return (spent_s() - begin) / count * 1000


async def bench(image: bytes, rounds: int, count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        source = Path(name, "photo.jpg")
        source.write_bytes(image)
        async with Contender.start("ours", *OURS, Path(name, "results")) as contender:

            async def in_process() -> float:
                return (await contender.render(source, PRESETS[DEFAULT], count))[0]

            ways: dict[str, Way] = {
                "in process": in_process,
                "pool, sandbox off": lambda: pooled(image, count, "off"),
                "pool, sandbox require": lambda: pooled(image, count),
                "isolation owner, 1 owner": lambda: pooled(image, count, isolation="owner"),
                "isolation owner, 2 owners in turns": lambda: pooled(image, count, isolation="owner", owners=2),
                "isolation owner, 50 owners in turns": lambda: pooled(image, count, isolation="owner", owners=50),
                "isolation image": lambda: pooled(image, count, isolation="image"),
            }
            await in_process()  # warms up
            spent: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way, turn in ways.items():
                    spent[way].append(await turn())
    print("| | CPU ms an image | least | most |\n|---|---:|---:|---:|")
    for way, cpu_ms in spent.items():
        print(f"| {way} | {median(cpu_ms):.1f} | {min(cpu_ms):.1f} | {max(cpu_ms):.1f} |")
    _, off, locked, *_ = (median(cpu_ms) for cpu_ms in spent.values())
    print(f"\nThe sandbox costs {locked - off:+.1f} ms an image.")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", type=Path, help="a file to render (default: a made-up JPEG of 6 megapixels)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each way (default: 9)")
    parser.add_argument("--count", type=int, default=40, help="images in a turn (default: 40)")


def run(arguments: argparse.Namespace) -> None:
    image = arguments.image.read_bytes() if arguments.image else SOURCES["JPEG 6 MP"]()
    print(f"{machine()}; median of {arguments.rounds} rounds of {arguments.count} images\n")
    asyncio.run(bench(image, arguments.rounds, arguments.count))
