"""The rooms of the house: imports point down, and foreign words stay behind their door."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "imgsvc"
WORDS = {
    *("addresses", "callers", "checks", "cores", "environment", "formats", "interpreter", "limits", "links", "model"),
    *("loading", "presets", "problems", "s3_names", "settings", "signing", "version"),
}
# room: what it may import of ours, besides the words
MAY_IMPORT: dict[str, set[str]] = {
    **{word: set[str]() for word in WORDS},
    "logs": set(),
    "metrics": set(),
    "process": {"logs"},
    "imaging": set(),
    "decoder": {"imaging"},
    "storage": {"metrics"},
    "outbound": set(),
    "webhooks": set(),
    "jobs": {"logs", "metrics"},
    "embedded": set(),
    "api": {"jobs", "storage", "outbound", "listening", "process", "logs", "metrics"},
    "worker": {
        "jobs",
        "storage",
        "decoder",
        "outbound",
        "webhooks",
        "init",
        "listening",
        "streams",
        "process",
        "logs",
        "metrics",
    },
    "init": set(),
    "listening": set(),
    "local": {"embedded", "listening", "process", "streams"},
    "streams": set(),
    "client": set(),
    "doctor": {"jobs", "storage", "decoder", "embedded", "listening", "process"},
    "commands": {"client", "doctor"},
    "cli": {"commands", "local", "streams", "embedded", "process", "api", "worker"},
    "__main__": {"cli", "init", "streams"},
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
    "rich": {"commands"},
    "shtab": {"cli"},
    "starlette": {"api"},
    "uvicorn": {"api"},
    "prometheus_client": {"metrics"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    mine = room(path)
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("imgsvc.")}
    assert ours <= MAY_IMPORT.get(mine, set()) | WORDS | {mine}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_foreign_words_stay_behind_their_door(path: Path) -> None:
    spoken = {name.split(".")[0] for name in imports(path)} & SPOKEN_IN.keys()
    assert all(room(path) in SPOKEN_IN[library] for library in spoken)


@pytest.mark.parametrize("path", [*FILES, *PACKAGE.rglob("*.lua")], ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("module", ["imgsvc.api.server", "imgsvc.worker.run", "imgsvc.local"])
def test_pixels_never_enter_the_processes_that_hold_secrets(module: str) -> None:
    code = f"import sys, {module}; sys.exit('PIL' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


@pytest.mark.parametrize("module", ["imgsvc.cli", "imgsvc.api.server", "imgsvc.worker.run", "imgsvc.local"])
def test_what_clients_need_never_enters_a_server_process(module: str) -> None:
    # tests have httpx installed, which aiobotocore then imports, and it rich
    code = f"""import sys; sys.modules["httpx"] = None; import {module}
sys.exit(" ".join({{"rich", "shtab", "imgsvc.client"}} & sys.modules.keys()) or 0)"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
