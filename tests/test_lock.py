"""What is shipped is locked: in requirements.txt, and what `local` and `jxl` add in requirements-extras.txt."""

import re
import tomllib
from collections.abc import Collection, Generator, Iterable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SHIPPED, EXTRAS = "requirements.txt", "requirements-extras.txt"
_ENTRY = re.compile(r"(\S+==\S+(?: ; [^\\\n]+?)?)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n")


def entries(name: str) -> Generator[Requirement]:
    for entry in _ENTRY.finditer((ROOT / name).read_text()):
        yield Requirement(entry[1])


def locked(*names: str) -> dict[str, str]:
    """The versions of what is locked for this Python and platform, by canonical name."""
    return {
        canonicalize_name(entry.name): str(entry.specifier).removeprefix("==")
        for name in names
        for entry in entries(name)
        if entry.marker is None or entry.marker.evaluate()
    }


def wanted(requirements: Iterable[str], extras: Collection[str] = ()) -> Generator[Requirement]:
    """Those that count here, where a package is asked for with these extras of its own.

    An extra of this project stands for the requirements in it.
    """
    for requirement in map(Requirement, requirements):
        if requirement.name == PROJECT["name"]:
            for extra in requirement.extras:
                yield from wanted(PROJECT["optional-dependencies"][extra])
        elif requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        ):
            yield requirement


def needed(requirement: str, versions: dict[str, str]) -> set[str]:
    """The names of all that imgsvc needs, with these extras. Each must be locked, at a version that will do.

    A package says itself what it needs: where another version of it is installed, that is not looked at.
    """
    found: dict[str, set[str]] = {}
    ahead = [Requirement(requirement)]
    while ahead:
        each = ahead.pop()
        name = canonicalize_name(each.name)
        if name in found and found[name] >= each.extras:
            continue
        extras = found.setdefault(name, set())
        extras |= each.extras
        if name == PROJECT["name"]:
            optional = PROJECT["optional-dependencies"]
            ahead += wanted([*PROJECT["dependencies"], *(own for extra in extras for own in optional[extra])])
            continue
        assert name in versions, f"{each} is not locked: run .ci/lock"
        assert each.specifier.contains(versions[name]), f"{each}, and locked is {versions[name]}: run .ci/lock"
        if (installed := distribution(name)).version == versions[name]:
            ahead += wanted(installed.requires or (), extras)
    return found.keys() - {PROJECT["name"]}


@pytest.mark.parametrize("name", [SHIPPED, EXTRAS])
def test_each_entry_is_one_version_with_the_hashes_of_its_files_and_comes_from_nowhere_in_particular(name: str) -> None:
    text = (ROOT / name).read_text()
    rest = _ENTRY.sub("", text).splitlines()
    assert all(line.startswith("#") for line in rest), rest
    assert "://" not in text


def test_what_is_shipped_is_locked_with_all_that_it_needs() -> None:
    versions = locked(SHIPPED)
    found = needed("imgsvc[simd,heif]", versions)
    if other := [name for name, version in versions.items() if distribution(name).version != version]:
        pytest.skip(f"installed is another version than is locked, which may need something else: {other}")
    assert found == versions.keys()


def test_phones_photos_are_read_in_the_image_and_on_one_machine_without_another_extra() -> None:
    assert "pillow-heif" in locked(SHIPPED)
    assert "pillow-heif" in {requirement.name for requirement in wanted(["imgsvc[local]"])}


def test_the_extras_are_locked_beside_it_and_nothing_that_nobody_needs() -> None:
    versions = locked(SHIPPED, EXTRAS)
    found = needed("imgsvc[local,jxl]", versions)
    assert not locked(SHIPPED).keys() & locked(EXTRAS).keys()
    if other := [name for name, version in versions.items() if distribution(name).version != version]:
        pytest.skip(f"installed is another version than is locked, which may need something else: {other}")
    assert found == versions.keys()


@pytest.mark.parametrize("name", ["aioboto3", "arq", "pillow", "starlette", "uvicorn"])
def test_what_is_overridden_has_an_upper_bound(name: str) -> None:
    (requirement,) = (found for found in map(Requirement, PROJECT["dependencies"]) if found.name == name)
    assert any(bound.operator in {"<", "=="} for bound in requirement.specifier)
