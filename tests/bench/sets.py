"""Responsive sets: what 5 widths in 3 formats of a photograph cost beside their encoders alone.

CPU milliseconds of one thread; the encoders are measured within the same runs, so that both meet the same machine.
"""

import argparse
import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

from imgsvc.domain.model import Variant
from imgsvc.imaging import render
from imgsvc.imaging.warmup import warm_up
from tests.bench.machine import machine
from tests.bench.photos import SOURCES
from tests.support.images import LIMITS

SET = Variant("hero", widths=(320, 640, 1280, 1920, 2560), formats=("avif", "webp", "jpeg"))
GOAL = 1.15
"""The set at most costs so many times what its encoders do."""


@dataclass
class Watch:
    """Adds up the CPU time of a function of a module while it is watched."""

    cpu_s: float = 0.0

    @contextlib.contextmanager
    def on(self, module: Any, name: str) -> Generator[None]:
        function: Callable[..., Any] = getattr(module, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.cpu_s += process_time() - begin

        setattr(module, name, timed)
        try:
            yield
        finally:
            setattr(module, name, function)


def measure(source: bytes) -> tuple[float, float]:
    """CPU milliseconds of the whole set, and of its encoders."""
    watch = Watch()
    with watch.on(render, "encode"):
        begin = process_time()
        render.render(source, [SET], LIMITS, lambda _step, _done, _total: None, lambda _bytes: None)
        return 1000 * (process_time() - begin), 1000 * watch.cpu_s


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--image", type=Path, help="an image of yours, instead of a made-up JPEG of 6 MP")


def run(arguments: argparse.Namespace) -> None:
    print(machine())
    warm_up()
    source = arguments.image.read_bytes() if arguments.image else SOURCES["JPEG 6 MP"]()
    rounds = [measure(source) for _ in range(arguments.rounds)]
    print("| set: CPU ms | encoders: CPU ms | set / encoders | goal |\n|---:|---:|---:|---:|")
    whole, encoders = (median(values) for values in zip(*rounds, strict=True))
    ratio = median(one / other for one, other in rounds)
    print(f"| {whole:.0f} | {encoders:.0f} | {ratio:.3f} | {GOAL} |")
