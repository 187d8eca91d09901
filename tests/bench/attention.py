"""How much of its subject a crop keeps: ours by attention and by entropy, and sharp's.

Each picture is cropped to squares, wide and tall boxes. What counts is the share of the annotated subjects (faces,
people, animals, products) that is kept, of what the best crop would keep; a picture's crops count together as one.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean

from PIL import Image

from imgsvc.imaging.saliency import busiest, striking
from tests.bench import gallery
from tests.bench.machine import machine
from tests.bench.peers import toolchain
from tests.support.subjects import Box, Subject, crops, subjects

_TIMEOUT_S = 600
_GLANCE = 256, 256  # what a decoder looks at
_STEPS = 40

# by eye, of photographs of gallery.py that have a subject
ANNOTATED: Mapping[str, Sequence[Box]] = {
    "bg1": [(0.55, 0.62, 0.83, 1)],
    "login": [(0.60, 0.54, 0.66, 0.70)],
    "ilya-yakover": [(0.10, 0.20, 0.93, 0.80)],
    "uriel-soberanes": [(0.24, 0.60, 0.76, 0.95)],
    "annie-spratt": [(0.40, 0.03, 0.55, 0.22), (0.68, 0.02, 0.82, 0.25), (0.32, 0.31, 0.47, 0.50)],
    "brooke": [(0.25, 0.33, 0.60, 0.62)],
    "card-2": [(0.75, 0.32, 0.97, 0.72), (0.12, 0.37, 0.68, 0.93)],
    "kal-visuals": [(0.36, 0.09, 0.72, 0.42)],
    "intro": [(0.42, 0.20, 0.56, 0.50)],
    "contact-bg": [(0.71, 0.22, 0.99, 0.73), (0.03, 0.13, 0.32, 0.62)],
    "post-bg": [(0.05, 0.25, 0.72, 0.95)],
    "bg-callout": [(0.63, 0, 1, 1)],
}
PARTS: Sequence[Box] = ((0, 0, 1, 1), (0, 0, 0.72, 1), (0.28, 0, 1, 1), (0, 0, 1, 0.72), (0, 0.28, 1, 1))
"""Of each photograph, so that its subject is not always where its photographer put it."""


def photographs(made: Path) -> Iterator[Subject]:
    """Each annotated photograph, and those parts of it that have all of its subjects."""
    for path in gallery.photographs(made):
        for part in PARTS if path.stem in ANNOTATED else ():
            moved = [_in_part(box, part) for box in ANNOTATED[path.stem]]
            if all(box[0] >= 0 and box[1] >= 0 and box[2] <= 1 and box[3] <= 1 for box in moved):
                with Image.open(path) as opened:
                    picture = opened.convert("RGB")
                left, top, right, bottom = part
                sides = picture.width, picture.height
                cut = picture.crop(
                    (int(left * sides[0]), int(top * sides[1]), int(right * sides[0]), int(bottom * sides[1]))
                )
                cut.thumbnail((800, 800))
                yield Subject(path.stem, cut, moved)


def _in_part(box: Box, part: Box) -> Box:
    width, height = part[2] - part[0], part[3] - part[1]
    return (
        (box[0] - part[0]) / width,
        (box[1] - part[1]) / height,
        (box[2] - part[0]) / width,
        (box[3] - part[1]) / height,
    )


def crop_at(place: tuple[float, float], part: tuple[float, float]) -> Box:
    """The crop of a share of each side that is moved by `place`, as fractions of the space that it can move in."""
    left, top = place[0] * (1 - part[0]), place[1] * (1 - part[1])
    return left, top, left + part[0], top + part[1]


class Sharp:
    """sharp's choices, by its process."""

    def __init__(self, folder: Path) -> None:
        command = toolchain.node(), str(toolchain.node_folder() / "attention.mjs")
        self._folder = folder
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def crop(self, picture: Image.Image, part: tuple[float, float], strategy: str) -> Box:
        path = self._folder / "asked.png"
        picture.save(path, compress_level=1)
        size = round(part[0] * picture.width), round(part[1] * picture.height)
        asked = {"path": str(path), "width": size[0], "height": size[1], "strategy": strategy}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        at = json.loads(self._process.stdout.readline())
        left, top = at["left"] / picture.width, at["top"] / picture.height
        return left, top, left + part[0], top + part[1]

    def end(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=_TIMEOUT_S)


def kept(subject: Subject, sharp: Sharp) -> Iterator[dict[str, float]]:
    """For each crop, the share of the subject that is kept by each way to choose it."""
    glance = subject.picture.copy()
    glance.thumbnail(_GLANCE)
    for part in crops(subject):
        best = max(subject.kept(crop_at((x / _STEPS, x / _STEPS), part)) for x in range(_STEPS + 1))
        chosen = {
            "attention": crop_at(striking(glance, part), part),
            "entropy": crop_at(busiest(glance, part), part),
            "sharp, attention": sharp.crop(subject.picture, part, "attention"),
            "sharp, entropy": sharp.crop(subject.picture, part, "entropy"),
            "the middle": crop_at((0.5, 0.5), part),
        }
        yield {way: subject.kept(crop) / best for way, crop in chosen.items()}


def row(name: str, pictures: Iterable[Subject], sharp: Sharp) -> str:
    shares = [list(kept(subject, sharp)) for subject in pictures]
    ways = shares[0][0]
    means = [mean(mean(crop[way] for crop in picture) for picture in shares) for way in ways]
    return f"| {name} | {len(shares)} | {' | '.join(f'{100 * share:.1f}' for share in means)} |"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--verbose", action="store_true", help="a row for each photograph as well")


def run(arguments: argparse.Namespace) -> None:
    print(f"{machine()}; kept, in percent", end="\n\n")
    print("| | pictures | attention | entropy | sharp, attention | sharp, entropy | the middle |")
    print(f"|---|{'---:|' * 6}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            sharp, found = Sharp(folder), list(photographs(folder))
        except toolchain.MissingToolError as error:
            raise SystemExit(f"Nothing to compare with: {error}.") from error
        try:
            made = subjects()
            for kind in ("face", "product"):
                print(
                    row(f"{kind}s, made up", [each for each in made if each.name.startswith(kind)], sharp), flush=True
                )
            print(row("photographs", found, sharp), flush=True)
            for stem in ANNOTATED if arguments.verbose else ():
                print(row(stem, [each for each in found if each.name == stem], sharp), flush=True)
        finally:
            sharp.end()
