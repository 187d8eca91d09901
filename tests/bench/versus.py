"""The whole service beside two peers: FastAPI with Celery and minio-py, and fastify with BullMQ, sharp and the AWS SDK.

All three run at the same time on the same Valkey and the same S3 server, and make the same two variants of the same
upload; one after the other takes the load, round by round, so that what else the machine does hits them alike.
Images a second is the median of the rounds, and a ratio the median of what each round gave; the times are those of
all uploads. CPU is that of the peer's own processes, and of S3 and Valkey while they served it.
"""

import argparse
import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import psutil

from tests.bench.load import Upload, load
from tests.bench.machine import cpu_s, machine
from tests.bench.peers import toolchain
from tests.bench.peers.stacks import STACKS, Stack
from tests.bench.photos import SOURCES
from tests.support.service import Servers

WARM_UP = 24


@dataclass(frozen=True, slots=True)
class Turn:
    """What a stack did with one round's load; CPU in ms an image, its own and the servers'."""

    per_second: float
    uploads: list[Upload]
    own_ms: float
    servers_ms: float


async def take_turn(stack: Stack, servers: Servers, image: bytes, count: int, in_flight: int) -> Turn:
    own = [process.pid for process in stack.processes]
    shared = [servers.seaweed.pid, servers.valkey.pid]
    own_before, shared_before = _trees_s(own), _trees_s(shared)
    begin = perf_counter()
    uploads = await load(stack.url, image, count, in_flight)
    per_second = count / (perf_counter() - begin)
    own_ms, shared_ms = (_trees_s(own) - own_before) * 1000, (_trees_s(shared) - shared_before) * 1000
    return Turn(per_second, uploads, own_ms / count, shared_ms / count)


def _trees_s(pids: Sequence[int]) -> float:
    """CPU of processes and of all that they started, in seconds."""
    roots = [psutil.Process(pid) for pid in pids]
    spent = 0.0
    for process in [*roots, *(child for root in roots for child in root.children(recursive=True))]:
        times = process.cpu_times()
        spent += cpu_s(process) + times.children_user + times.children_system
    return spent


async def bench(image: bytes, rounds: int, count: int, in_flight: Sequence[int], only: Sequence[str]) -> None:
    turns: dict[tuple[str, int], list[Turn]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with Servers.start(folder) as servers, AsyncExitStack() as running:
            stacks: list[Stack] = []
            for peer in only:
                try:
                    stacks.append(await running.enter_async_context(STACKS[peer](servers, folder)))
                except toolchain.MissingToolError as error:
                    print(f"Without {peer}: {error}.\n")
            for stack in stacks:
                await stack.prove()
                await load(stack.url, image, WARM_UP, 4)
            for _ in range(rounds):
                for together in in_flight:
                    for stack in stacks:
                        turn = await take_turn(stack, servers, image, count, together)
                        turns[stack.name, together].append(turn)
                stacks.append(stacks.pop(0))  # nobody always goes first
    report(turns)


def report(turns: dict[tuple[str, int], list[Turn]]) -> None:
    print("| in flight | | images/s (least to most) | upload ms p50 / p99 | done ms p50 | CPU ms: own | S3, Valkey |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    for (name, in_flight), of_stack in turns.items():
        print(f"| {in_flight} | {name} | {' | '.join(cells(of_stack))} |")
    print("\n| in flight | imgsvc / | images/s (least to most) | upload p99 | done p50 | CPU, all |")
    print("|---:|---|---:|---:|---:|---:|")
    for (name, in_flight), theirs in turns.items():
        if name != "imgsvc" and ("imgsvc", in_flight) in turns:
            print(f"| {in_flight} | {name} | {' | '.join(ratios(turns['imgsvc', in_flight], theirs))} |")


def cells(turns: list[Turn]) -> list[str]:
    return [
        _spread([turn.per_second for turn in turns], 1),
        f"{accepted_ms(turns, 50):.0f} / {accepted_ms(turns, 99):.0f}",
        f"{done_ms(turns):.0f}",
        f"{median(turn.own_ms for turn in turns):.0f}",
        f"{median(turn.servers_ms for turn in turns):.0f}",
    ]


def ratios(ours: list[Turn], theirs: list[Turn]) -> list[str]:
    return [
        _spread([mine.per_second / other.per_second for mine, other in zip(ours, theirs, strict=True)], 2),
        f"{accepted_ms(ours, 99) / accepted_ms(theirs, 99):.2f}",
        f"{done_ms(ours) / done_ms(theirs):.2f}",
        f"{_all_ms(ours) / _all_ms(theirs):.2f}",
    ]


def accepted_ms(turns: list[Turn], percent: int) -> float:
    every = [upload.accepted for turn in turns for upload in turn.uploads]
    return quantiles(every, n=100, method="inclusive")[percent - 1] * 1000


def done_ms(turns: list[Turn]) -> float:
    return median(upload.done for turn in turns for upload in turn.uploads) * 1000


def _all_ms(turns: list[Turn]) -> float:
    return median(turn.own_ms + turn.servers_ms for turn in turns)


def _spread(values: list[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", type=Path, help="a file to upload (default: a made-up JPEG of 6 megapixels)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each stack (default: 5)")
    parser.add_argument("--count", type=int, default=40, help="uploads in a turn (default: 40)")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 8], help="uploads at once (default: 1 8)")
    parser.add_argument("--only", nargs="+", choices=list(STACKS), default=list(STACKS), help="leave the others out")


def run(arguments: argparse.Namespace) -> None:
    image = arguments.image.read_bytes() if arguments.image else SOURCES["JPEG 6 MP"]()
    print(f"{machine()}; {len(image)} bytes an image; {arguments.rounds} rounds of {arguments.count} uploads\n")
    asyncio.run(bench(image, arguments.rounds, arguments.count, arguments.in_flight, arguments.only))
