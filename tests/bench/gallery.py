"""The pictures that quality is measured on: photographs that packages ship, some made up, and drawings.

The photographs are of free web templates, by many photographers: landscapes, towns by day and night, portraits,
rooms, food, things on white. They have 1.3 to 5.5 megapixels; made-up ones stand for what cameras send. The packages
are taken from npm once, at pinned versions and checksums, into this user's cache folder.
"""

import hashlib
import shutil
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.drawings import DRAWINGS
from tests.bench.peers import toolchain
from tests.bench.photos import encoded, photo

_MADE_UP = {"made up, 6 MP": (2725, 2225), "made up, 12 MP": (4032, 3024), "made up, 24 MP": (6000, 4000)}


@dataclass(frozen=True, slots=True)
class _Package:
    """A package of npm, the folder in it, and the photographs there."""

    name: str
    sha256: str
    folder: str
    photographs: tuple[str, ...]


_PACKAGES = (
    _Package(
        "material-kit@2.0.4",
        "543712c988b2697c61a7ef6c9527ebf850b21b56e1bdfd7258fc6d333f725602",
        "assets/img",
        ("bg7", "profile_city"),
    ),
    _Package(
        "now-ui-kit@1.3.0",
        "9b71381f838de670e7dfd446523c7727bf6d5e0d3f1ebb872e7487577ed5e89a",
        "assets/img",
        ("bg1", "bg3", "bg4", "bg6", "bg11", "header", "login"),
    ),
    _Package(
        "paper-kit-2@2.1.0",
        "ea262b722403d0b838682218476775fe6500d13bc2b265000837cb613c8e7657",
        "assets/img",
        ("antoine-barres", "fabio-mangione", "federico-beccari", "ilya-yakover", "soroush-karimi", "uriel-soberanes"),
    ),
    _Package(
        "soft-ui-design-system@1.0.4",
        "b999a9fe6dc31469bcb498c9d0560ac17060d76957abe7f1cb1c2dddf61a5095",
        "assets/img",
        ("annie-spratt", "brooke", "card-2", "kal-visuals"),
    ),
    _Package(
        "startbootstrap-business-casual@7.0.9",
        "08452cf16289bf733bb7712aa5dbc2a980ac1042b0bad5dd755029e3ca8a42a0",
        "dist/assets/img",
        ("bg", "intro"),
    ),
    _Package(
        "startbootstrap-clean-blog@6.0.9",
        "5c65d4e2d5705e29c6a144b7fa301f8ead8e976f5c4575fb6f1023ec673018a9",
        "dist/assets/img",
        ("about-bg", "contact-bg", "home-bg", "post-bg"),
    ),
    _Package(
        "startbootstrap-stylish-portfolio@6.0.6",
        "6dad63cc98cf698d002eff7116ce454a3c04997ac1c41fab810cc5fecd7c1934",
        "dist/assets/img",
        ("bg-callout",),
    ),
)


def photographs(made: Path) -> Iterator[Path]:
    """JPEGs; those that are made up are written into `made`.

    Raises:
        MissingToolError: the packages could not be had.
    """
    for package in _PACKAGES:
        folder = _unpacked(package)
        yield from (folder / f"{name}.jpg" for name in package.photographs)
    for name, size in _MADE_UP.items():
        file = made / f"{name}.jpg"
        file.write_bytes(encoded(photo(*size), "JPEG", quality=90))
        yield file


def graphics(made: Path) -> Iterator[Path]:
    """PNGs, written into `made`."""
    for name, draw in DRAWINGS.items():
        file = made / f"{name}.png"
        file.write_bytes(encoded(draw(), "PNG"))
        yield file


def _unpacked(package: _Package) -> Path:
    folder = toolchain.cache_folder() / f"photographs-{package.sha256[:12]}"
    if not folder.exists():
        unfinished = folder.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)  # what was cut off has left
        unfinished.mkdir(parents=True)
        archive = toolchain.npm_package(package.name, unfinished)
        if hashlib.sha256(archive.read_bytes()).hexdigest() != package.sha256:
            raise toolchain.MissingToolError(f"{package.name} is not what it was")
        with tarfile.open(archive) as members:
            for name in package.photographs:
                member = members.extractfile(f"package/{package.folder}/{name}.jpg")
                assert member
                (unfinished / f"{name}.jpg").write_bytes(member.read())
        archive.unlink()
        unfinished.rename(folder)
        print(f"unpacked the photographs of {package.name} into {folder}", file=sys.stderr)
    return folder
