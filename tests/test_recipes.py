"""The recipe of .github/CONTRIBUTING.md, followed to the letter in a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image

from tests.support import images
from tests.support.service import Servers, Service

ROOT = Path(__file__).parent.parent
RECIPE = "**Add a processing step.**"
DIFF = re.compile(r"^ *```diff\n(.*?)\n *```$", re.MULTILINE | re.DOTALL)


@dataclass
class Followed:
    """A service that runs from the copy, and the source files that the recipe changed."""

    service: Service
    copy: Path
    changed: set[str]
    environment: dict[str, str]


def follow(text: str, copy: Path) -> set[str]:
    """Applies the diffs of a recipe to the files that they name. Returns these."""
    changed = set[str]()
    for diff in map(textwrap.dedent, DIFF.findall(text)):
        head, *rest = diff.splitlines()
        path = head.removeprefix("+++ ")
        lines = [(line[:1], line[1:]) for line in rest]
        before, after = ("\n".join(text for sign, text in lines if sign != other) for other in "+-")
        source = (copy / path).read_text("utf-8")
        assert source.count(before) == 1, f"the recipe expects this once in {path}:\n{before}"
        (copy / path).write_text(source.replace(before, after), "utf-8")
        changed.add(path)
    return changed


@pytest_asyncio.fixture(scope="module")
async def followed(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Followed]:
    copy = tmp_path_factory.mktemp("copy")
    for folder in ("imgsvc", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    shutil.copy(ROOT / "README.md", copy)
    (copy / ".github").mkdir()
    shutil.copy(ROOT / ".github/USING.md", copy / ".github")
    recipe = (ROOT / ".github/CONTRIBUTING.md").read_text("utf-8").partition(RECIPE)[2].partition("\n**")[0]
    changed = follow(recipe, copy)
    environment = {"PYTHONPATH": str(copy), "PYTHONSAFEPATH": "1"}
    async with Service.start(servers.environment() | environment) as service:
        yield Followed(service, copy, changed, environment)


def test_a_field_and_its_step_are_two_files(followed: Followed) -> None:
    assert followed.changed - {".github/USING.md"} == {"imgsvc/domain/model.py", "imgsvc/imaging/steps.py"}


async def test_the_new_field_does_what_the_recipe_says(followed: Followed) -> None:
    halves = Image.new("RGB", (64, 64), "white")
    halves.paste("black", (0, 0, 32, 64))
    data = images.encoded(halves, "PNG")
    variants = '{"as_is": {"width": 64, "format": "png"}, "mirrored": {"width": 64, "format": "png", "mirror": true}}'
    upload_id = await followed.service.upload(data, variants=variants)
    left = [
        images.opened(await followed.service.file(upload_id, name)).convert("L").getpixel((8, 32))
        for name in ("as_is", "mirrored")
    ]
    assert left == [0, 255]


async def test_the_new_field_is_validated_described_and_listed(followed: Followed) -> None:
    refused = await followed.service.post(images.photo(), variants='{"card": {"width": 64, "mirror": 3}}')
    assert refused.json()["detail"] == "variants.card.mirror must be true or false."
    described = (await followed.service.client.get("/openapi.json")).json()["components"]["schemas"]["Variant"]
    assert described["properties"]["mirror"] == {
        "type": ["boolean", "null"],
        "default": False,
        "description": "Whether left and right are swapped.",
    }
    presets = (await followed.service.client.get("/presets")).json()["presets"]
    assert presets["default"]["thumbnail"]["mirror"] is False


def test_the_new_field_is_in_the_documentation(followed: Followed) -> None:
    command = (
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/test_presets.py",
        "-k",
        "documentation or readme",
    )
    environment = os.environ | followed.environment
    checked = subprocess.run(command, cwd=followed.copy, env=environment, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout
    assert "2 passed" in checked.stdout
