"""Installs what the peers need, at pinned versions, into this user's cache folder: nothing of it is the project's."""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from platformdirs import user_cache_path

PEERS = Path(__file__).parent

_INSTALL_TIMEOUT_S = 600
_DONE = ".installed"


class MissingToolError(Exception):
    """A peer cannot run on this machine; the message says why."""


def python_of(peer: str) -> Path:
    """The interpreter of a virtual environment with the requirements of a folder beside this file."""
    pinned = PEERS / peer / "requirements.txt"
    folder = _folder(peer, pinned, sys.version)
    python = folder / "bin" / "python"
    if not (folder / _DONE).exists():
        shutil.rmtree(folder, ignore_errors=True)  # what an install that was cut off has left
        venv.create(folder, with_pip=True)
        _install([python, "-m", "pip", "install", "--quiet", "--requirement", pinned], folder)
    return python


def node_folder() -> Path:
    """A folder with the Node peers' programs beside the packages that they import."""
    node()  # says so where it is missing, before anything is written
    npm = _found("npm")
    sources = PEERS / "bullmq"
    folder = _folder("node", sources / "package-lock.json", "")
    if not (folder / _DONE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(sources / name, folder)
        _install([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], folder)
    for program in (*sources.glob("*.mjs"), *PEERS.glob("*.mjs")):
        shutil.copy(program, folder)
    return folder


def npm_package(name: str, folder: Path) -> Path:
    """A package's archive, `name@version`, taken into `folder`."""
    command = [_found("npm"), "pack", name, "--silent", "--pack-destination", str(folder)]
    try:
        done = subprocess.run(command, check=True, timeout=_INSTALL_TIMEOUT_S, stdout=subprocess.PIPE, text=True)
    except (subprocess.SubprocessError, OSError) as error:
        raise MissingToolError(f"{name} could not be had: {error}") from error
    return folder / done.stdout.strip()


def cache_folder() -> Path:
    return user_cache_path("imgsvc-bench")


def node() -> str:
    return _found("node")


def node_version() -> str:
    return subprocess.run([node(), "--version"], capture_output=True, text=True, check=True).stdout.strip()


def _found(tool: str) -> str:
    path = shutil.which(tool)
    if path is None:
        raise MissingToolError(f"{tool} is not installed")
    return path


def _folder(name: str, pinned: Path, more: str) -> Path:
    """Another one for every set of versions, so that a change of them is installed anew."""
    digest = hashlib.sha256(pinned.read_bytes() + more.encode()).hexdigest()
    return cache_folder() / f"{name}-{digest[:12]}"


def _install(command: list[str | os.PathLike[str]], folder: Path) -> None:
    print(f"installing {folder.name} into {folder}", file=sys.stderr)
    try:
        subprocess.run(command, cwd=folder, check=True, timeout=_INSTALL_TIMEOUT_S, stdout=sys.stderr)
    except (subprocess.SubprocessError, OSError) as error:
        raise MissingToolError(f"{folder.name} could not be installed: {error}") from error
    (folder / _DONE).touch()
