"""The rooms of the house: imports point down, and foreign words stay behind their door."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "imgsvc"
# room: the rooms that it may import
MAY_IMPORT: dict[str, set[str]] = {
    "domain": set(),
    "runtime": {"domain"},
    "outbound": {"runtime", "domain"},
    "imaging": {"domain"},
    "decoder": {"imaging", "runtime", "domain"},
    "storage": {"runtime", "domain"},
    "jobs": {"runtime", "domain"},
    "local": {"runtime"},
    "api": {"jobs", "storage", "outbound", "runtime", "domain"},
    "worker": {"jobs", "storage", "decoder", "outbound", "runtime", "domain"},
    "client": {"domain"},
    "doctor": {"jobs", "storage", "decoder", "local", "runtime", "domain"},
    "cli": {"client", "doctor", "local", "api", "worker", "jobs", "runtime", "domain"},
    "__main__": {"cli", "runtime"},
    # those inside the API
    "api.http": set(),
    "api.receive": {"api.http"},
    "api.uploads": {"api.receive", "api.http"},
    "api.admin": {"api.uploads", "api.receive", "api.http"},
    "api.resumable": {"api.uploads", "api.receive", "api.http"},
    "api.files": {"api.receive", "api.http"},
    "api.service": {"api.http"},
    "api.openapi": {"api.resumable", "api.uploads", "api.receive", "api.http"},
    "api.pages": {"api.openapi", "api.http"},
    "api.app": {
        *("api.http", "api.receive", "api.resumable", "api.uploads", "api.admin"),
        *("api.files", "api.service", "api.pages"),
    },
    "api.server": {"api.app", "api.http"},
}
# library: the only rooms that may speak to it
SPOKEN_IN = {
    "redis": {"jobs"},
    "arq": {"worker"},
    "aioboto3": {"storage"},
    "aiobotocore": {"storage"},
    "botocore": {"storage"},
    "aiohttp": {"client", "outbound", "storage"},
    "PIL": {"imaging", "decoder"},
    "cykooz_resizer": {"imaging"},
    "rich": {"cli"},
    "shtab": {"cli"},
    "starlette": {"api"},
    "uvicorn": {"api"},
    "prometheus_client": {"runtime"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


@cache
def imports(path: Path) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def rooms(module: str) -> list[str]:
    """The rooms that a module of ours, such as imgsvc.api.http.errors, is in: api, and api.http."""
    parts = module.removeprefix("imgsvc.").split(".")
    return [parts[0], ".".join(parts[:2])] if parts[0] == "api" and len(parts) > 1 else [parts[0]]


def module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def test_imports_point_down() -> None:
    wrong = [
        f"{module(path)} imports {imported}"
        for path in FILES
        for imported in sorted(imports(path))
        if imported.startswith("imgsvc.")
        for own, other in zip(rooms(module(path)), rooms(imported), strict=False)
        if other != own and other not in MAY_IMPORT[own]
    ]
    assert wrong == []


def test_the_api_stays_a_house_of_few_rooms() -> None:
    arrows = {room: others for room, others in MAY_IMPORT.items() if room.startswith("api.")}
    assert len(arrows) <= 14
    assert sum(len(others) for others in arrows.values()) <= 30


def test_no_module_imports_itself_by_way_of_others() -> None:
    modules = {module(path) for path in FILES}
    graph = {
        module(path): {
            # what is imported from a package may be a module of it, or a name in it
            name if name in modules else name.rpartition(".")[0]
            for name in imports(path)
            if name.startswith("imgsvc.")
        }
        for path in FILES
    }
    TopologicalSorter({name: others - {name} for name, others in graph.items()}).prepare()  # raises CycleError


def test_foreign_words_stay_behind_their_door() -> None:
    wrong = [
        f"{module(path)} speaks to {library}"
        for path in FILES
        for library in sorted({name.split(".")[0] for name in imports(path)} & SPOKEN_IN.keys())
        if rooms(module(path))[0] not in SPOKEN_IN[library]
    ]
    assert wrong == []


def test_each_file_can_be_read_in_one_sitting() -> None:
    files = [path for kind in ("py", "lua", "js", "css") for path in PACKAGE.rglob(f"*.{kind}")]
    assert len(files) > len(FILES) > 200
    assert [str(path) for path in files if len(path.read_text().splitlines()) > 400] == []


OF_CLIENTS = {"imgsvc.client", "rich", "shtab"}
NEVER = {
    "imgsvc.cli.main": OF_CLIENTS,
    # pixels stay out of processes that hold secrets
    "imgsvc.api.server": {*OF_CLIENTS, "PIL"},
    "imgsvc.worker.run": {*OF_CLIENTS, "PIL"},
    "imgsvc.local.supervisor": {*OF_CLIENTS, "PIL"},
}
"""What is only needed elsewhere, and so never enters these processes."""


@pytest.mark.parametrize("module", NEVER)
def test_what_is_not_needed_never_enters_a_process(module: str) -> None:
    # tests have httpx installed, which aiobotocore then imports, and it rich
    code = f"""import sys; sys.modules["httpx"] = None; import {module}
sys.exit(" ".join({NEVER[module]} & sys.modules.keys()) or 0)"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
