"""Quality, bytes and CPU at once: ours beside sharp as it comes, and beside sharp with mozjpeg.

Each contender makes each variant of each picture on one thread, in turns; a picture's CPU is the least of its rounds,
and a row adds up all pictures. Quality is SSIMULACRA2 against the best that the size allows (peers/judge/scores.py),
the mean of all pictures. A row wins, or says what it gives and what it gets for it.
"""

import argparse
import asyncio
import json
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from imgsvc.domain.model import OutputFormat, Variant
from tests.bench import gallery
from tests.bench.contender import OURS, Command, Contender
from tests.bench.machine import machine
from tests.bench.peers import toolchain
from tests.bench.pixels import QUALITY

OURS_NAME = "imgsvc"
MOZJPEG = "sharp, mozjpeg"
FORMATS: Sequence[OutputFormat] = ("jpeg", "webp", "avif", "png")
BOXES = (1024, 200)

Kind = Callable[[Path], Iterable[Path]]
KINDS: Mapping[str, Kind] = {"photographs": gallery.photographs, "graphics": gallery.graphics}

_SCORES_TIMEOUT_S = 1800
# what still counts as the same: the figures as they are printed
_SAME_SCORE = 0.05
_SAME_RATIO = 0.005


@dataclass(frozen=True, slots=True)
class Case:
    kind: str
    format: OutputFormat
    box: int

    @property
    def variant(self) -> Variant:
        return Variant("made", self.box, self.box, format=self.format, quality=QUALITY.get(self.format))


@dataclass
class Tally:
    """What a contender showed in one case, a figure a picture."""

    scores: list[float] = field(default_factory=list[float])
    sizes: list[int] = field(default_factory=list[int])
    cpu_ms: list[float] = field(default_factory=list[float])

    @property
    def figures(self) -> tuple[float, int, float]:
        return mean(self.scores), sum(self.sizes), sum(self.cpu_ms)


Turns = Sequence[tuple[str, Path, Path]]
"""What was made: by whom, of which picture, and the file."""


async def measure(
    contenders: Sequence[Contender], case: Case, pictures: Sequence[Path], rounds: int, folder: Path
) -> dict[str, Tally]:
    """CPU first, while this process is idle; then the scores."""
    tallies = {contender.name: Tally() for contender in contenders}
    made: list[tuple[str, Path, Path]] = []
    for number, picture in enumerate(pictures):
        least: dict[str, float] = {}
        for turn in range(rounds):
            for contender in contenders:
                cpu_ms, (file,) = await contender.render(picture, [case.variant], 1)
                least[contender.name] = min(cpu_ms, least.get(contender.name, cpu_ms))
                if not turn:
                    kept = file.rename(folder / f"{number}-{contender.name}{file.suffix}")
                    made.append((contender.name, picture, kept))
        for name, cpu_ms in least.items():
            tallies[name].cpu_ms.append(cpu_ms)
    for name, score, size in await asyncio.to_thread(scored, made, folder):
        tallies[name].scores.append(score)
        tallies[name].sizes.append(size)
    return tallies


def scored(made: Turns, folder: Path) -> list[tuple[str, float, int]]:
    """Each one's score and bytes; the files are removed."""
    command = [toolchain.python_of("judge"), toolchain.PEERS / "judge" / "scores.py", folder]
    asked = "".join(json.dumps([str(file), str(picture)]) + "\n" for _, picture, file in made)
    done = subprocess.run(
        command, input=asked, stdout=subprocess.PIPE, text=True, check=True, timeout=_SCORES_TIMEOUT_S
    )
    results: list[tuple[str, float, int]] = []
    for (name, _, file), score in zip(made, done.stdout.splitlines(), strict=True):
        results.append((name, float(score), file.stat().st_size))
        file.unlink()
    return results


def row(case: Case, ours: Tally, theirs: Tally, name: str) -> str:
    score, size, cpu_ms = ours.figures
    score_theirs, size_theirs, cpu_theirs = theirs.figures
    better, bytes_ratio, cpu_ratio = score - score_theirs, size / size_theirs, cpu_ms / cpu_theirs
    cells = [
        *(f"{case.format} {case.box}", case.kind, name),
        *(f"{score:.1f} / {score_theirs:.1f}", f"{size / 1000:.0f} / {size_theirs / 1000:.0f}"),
        *(f"{cpu_ms:.0f} / {cpu_theirs:.0f}", f"{better:+.1f}", f"{bytes_ratio:.2f}", f"{cpu_ratio:.2f}"),
        verdict(better, bytes_ratio, cpu_ratio),
    ]
    return f"| {' | '.join(cells)} |"


def verdict(better: float, bytes_ratio: float, cpu_ratio: float) -> str:
    """What is worse than theirs, and what is better for it."""
    signs = {
        "score": better if abs(better) > _SAME_SCORE else 0,
        "bytes": 1 - bytes_ratio if abs(1 - bytes_ratio) > _SAME_RATIO else 0,
        "CPU": 1 - cpu_ratio if abs(1 - cpu_ratio) > _SAME_RATIO else 0,
    }
    given = [name for name, sign in signs.items() if sign < 0]
    gained = [name for name, sign in signs.items() if sign > 0]
    if not given:
        return "wins"
    return f"gives {' and '.join(given)}" + (f" for {' and '.join(gained)}" if gained else "")


@asynccontextmanager
async def contenders(folder: Path) -> AsyncGenerator[list[Contender]]:
    """Ours first.

    Raises:
        MissingToolError: there is no Node here, or no sharp.
    """
    sharp = toolchain.node(), str(toolchain.node_folder() / "pixels.mjs")
    commands: dict[str, Command] = {OURS_NAME: OURS, "sharp": (sharp, {}), MOZJPEG: ((*sharp, "mozjpeg"), {})}
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Contender.start(name, *command, folder / name))
            for name, command in commands.items()
        ]


async def bench(cases: Sequence[Case], rounds: int, most: int | None) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = {kind: made(kind, folder)[:most] for kind in {case.kind: None for case in cases}}
        async with contenders(folder) as running:
            print("; ".join(f"{len(files)} {kind}" for kind, files in pictures.items()), end="\n\n")
            print("| | of | beside | score | kB | CPU ms | score more | bytes ratio | CPU ratio | |")
            print(f"|---|---|---|{'---:|' * 6}---|")
            for case in cases:
                taking_part = running if case.format == "jpeg" else [each for each in running if each.name != MOZJPEG]
                tallies = await measure(taking_part, case, pictures[case.kind], rounds, folder)
                for peer in taking_part[1:]:
                    print(row(case, tallies[OURS_NAME], tallies[peer.name], peer.name), flush=True)


def made(kind: str, folder: Path) -> list[Path]:
    into = folder / kind
    into.mkdir()
    return list(KINDS[kind](into))


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS, help="only these (default: all)")
    parser.add_argument("--boxes", nargs="+", type=int, default=BOXES, help="the sizes made (default: 1024 200)")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), help="only these pictures")
    parser.add_argument("--pictures", type=int, metavar="N", help="only the first N of each kind")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender at each picture (default: 3)")


def run(arguments: argparse.Namespace) -> None:
    cases = [Case(kind, fmt, box) for kind in arguments.kinds for fmt in arguments.formats for box in arguments.boxes]
    print(f"{machine()}; the least CPU of {arguments.rounds} rounds", end="; ")
    try:
        asyncio.run(bench(cases, arguments.rounds, arguments.pictures))
    except toolchain.MissingToolError as error:
        raise SystemExit(f"Nothing to compare with: {error}.") from error
