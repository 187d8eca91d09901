"""Pixels alone: CPU milliseconds an image of ours, of sharp and of plain Pillow, side by side.

Each contender is a process of its own that makes the same results of the same files, one image at a time on one
thread. They take turns, round by round, so that what else the machine does hits them alike; each figure is the
median of its rounds, with the least and the most of them.

What the CPU was spent on is told by the size of the results together, and by the largest one's PSNR against a LANCZOS
resize of the fully decoded original: nobody may be fast by being coarse.
"""

import argparse
import asyncio
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from math import log10
from pathlib import Path
from statistics import median

from PIL import Image, ImageChops, ImageStat

from imgsvc.domain.model import OutputFormat, Variant
from tests.bench.contender import OURS, PILLOW, CannotError, Command, Contender
from tests.bench.machine import machine
from tests.bench.peers import toolchain
from tests.bench.photos import SOURCES

WARM_UP = 2
TURN_MS = 1000.0
"""About how much CPU a contender spends in a turn, and one image at least."""

QUALITY: Mapping[OutputFormat, int] = {"jpeg": 85, "webp": 80, "avif": 60}


@dataclass(frozen=True, slots=True)
class Case:
    source: str
    format: OutputFormat

    @property
    def name(self) -> str:
        return f"{self.source} to {self.format}"

    @property
    def variants(self) -> list[Variant]:
        quality = QUALITY.get(self.format)
        if self.source.startswith("GIF"):
            return [Variant("small", 320, 320, format=self.format, quality=quality, frames="all")]
        return [
            Variant("large", 1024, 1024, format=self.format, quality=quality),
            Variant("thumbnail", 200, 200, format=self.format, quality=quality),
        ]


CASES = (
    Case("JPEG 6 MP", "jpeg"),
    Case("JPEG 24 MP", "jpeg"),
    Case("PNG with alpha 3 MP", "png"),
    Case("PNG with alpha 3 MP", "webp"),
    Case("WebP 6 MP", "jpeg"),
    Case("WebP 6 MP", "webp"),
    Case("AVIF 6 MP", "jpeg"),
    Case("AVIF 6 MP", "avif"),
    Case("GIF of 24 frames", "webp"),
    Case("GIF of 24 frames", "gif"),
)


@dataclass
class Score:
    """What one contender showed in one case."""

    count: int
    size: int
    decibels: float
    cpu_ms: list[float] = field(default_factory=list[float])

    def __str__(self) -> str:
        spread = f"{min(self.cpu_ms):.1f} to {max(self.cpu_ms):.1f}"
        return f"{median(self.cpu_ms):.1f} ({spread}) | {self.size / 1000:.0f} | {self.decibels:.1f}"


async def measure(contenders: list[Contender], case: Case, source: Path, rounds: int) -> list[Score | CannotError]:
    scores = [await warm_up(contender, case, source) for contender in contenders]
    for _ in range(rounds):
        for contender, score in zip(contenders, scores, strict=True):
            if isinstance(score, Score):
                cpu_ms, _ = await contender.render(source, case.variants, score.count)
                score.cpu_ms.append(cpu_ms)
    return scores


async def warm_up(contender: Contender, case: Case, source: Path) -> Score | CannotError:
    try:
        cpu_ms, files = await contender.render(source, case.variants, WARM_UP)
    except CannotError as error:
        return error
    size = sum(file.stat().st_size for file in files)
    return Score(max(1, round(TURN_MS / cpu_ms)), size, psnr(files[0], source))


def psnr(result: Path, source: Path) -> float:
    """In decibels; of the first frame, and as it looks on white."""
    made = _on_white(result)
    reference = _on_white(source).resize(made.size, Image.Resampling.LANCZOS)
    squares = ImageStat.Stat(ImageChops.difference(made, reference)).sum2
    mean = sum(squares) / (len(squares) * made.width * made.height)
    return 10 * log10(255**2 / mean)


def _on_white(file: Path) -> Image.Image:
    with Image.open(file) as image:
        layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def row(case: Case, scores: list[Score | CannotError]) -> str:
    ours, *others = (score if isinstance(score, Score) else None for score in scores)
    ratios = [f"{median(ours.cpu_ms) / median(other.cpu_ms):.2f}" if ours and other else "-" for other in others]
    figures = [str(score) if isinstance(score, Score) else "- | - | -" for score in scores]
    return f"| {' | '.join([case.name, *ratios, *figures])} |"


@asynccontextmanager
async def contenders(folder: Path) -> AsyncGenerator[list[Contender]]:
    """Ours first; sharp only where there is Node."""
    commands: dict[str, Command] = {"ours": OURS, "Pillow": PILLOW}
    try:
        node = toolchain.node_folder()
        commands["sharp"] = ((toolchain.node(), str(node / "pixels.mjs")), {})
    except toolchain.MissingToolError as error:
        print(f"Without sharp: {error}.\n")
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Contender.start(name, *command, folder / name))
            for name, command in commands.items()
        ]


async def bench(rounds: int, cases: list[Case], images: Mapping[str, Path]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with contenders(folder) as running:
            names = [contender.name for contender in running]
            heads = [*(f"ours / {other}" for other in names[1:]), *(f"{name}: CPU ms | kB | dB" for name in names)]
            print(f"| | {' | '.join(heads)} |\n|---|{'---:|' * (4 * len(names) - 1)}")
            failures: list[str] = []
            for case in cases:
                source = images.get(case.source) or made(case.source, folder)
                scores = await measure(running, case, source, rounds)
                print(row(case, scores), flush=True)
                failures += [f"{case.name}: {score}" for score in scores if isinstance(score, CannotError)]
    print("", *failures, sep="\n")


def made(source: str, folder: Path) -> Path:
    path = folder / source
    if not path.exists():
        path.write_bytes(SOURCES[source]())
    return path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", type=Path, help="a file to take as the JPEG of 6 megapixels")
    parser.add_argument("--case", default="", help="only the cases with this in their name, such as JPEG or webp")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contender in each case (default: 7)")


def run(arguments: argparse.Namespace) -> None:
    cases = [case for case in CASES if arguments.case in case.name]
    images = {"JPEG 6 MP": arguments.image} if arguments.image else {}
    print(f"{machine()}; median of {arguments.rounds} rounds (least to most)\n")
    asyncio.run(bench(arguments.rounds, cases, images))
