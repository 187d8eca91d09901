"""How a Python process of this package is started so that it runs the very code that its parent runs.

The package may be installed for the system, in a venv, for one user, in a folder that PYTHONPATH names, in a zip
archive, or not at all. A child with an empty environment or in another folder sees none of that unless it is passed on.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import imgsvc

# The path is set before anything but `sys` is imported: what comes first on it may shadow the standard library.
_START = 'import sys; sys.path[:] = {path}; import runpy; runpy.run_module(sys.argv.pop(1), {{}}, "__main__", True)'


def command(module: str, *arguments: str, flags: Sequence[str] = ()) -> list[str]:
    """The command that runs `module` with this process's import path, and without the working folder on it.

    `flags` are the interpreter's. With `-S`, or with `-I` and an empty environment, it finds what we find all the same.
    """
    return [sys.executable, "-P", *flags, "-c", _START.format(path=ascii(import_path())), module, *arguments]


def import_path() -> list[str]:
    """Where this process imports from, as absolute paths.

    Left out is the working folder that `python -m` and `python -c` put first, where anybody's files may lie, unless
    this package itself was found there. Added is the folder of this package where an import hook has found it.
    """
    path, root = list(sys.path), _root()
    if path and not sys.flags.safe_path and path[0] in {"", _working_folder()} and root != _working_folder():
        del path[0]
    # an import hook's own entries are no files
    found = [os.path.abspath(entry) for entry in path if entry and Path(entry).exists()]  # noqa: PTH100
    return found if root in found else [*found, root]


def _root() -> str:
    """The folder or archive that holds this package."""
    assert imgsvc.__file__
    return os.path.dirname(os.path.dirname(os.path.abspath(imgsvc.__file__)))  # noqa: PTH100, PTH120


def _working_folder() -> str | None:
    try:
        return str(Path.cwd())
    except FileNotFoundError:  # it was removed
        return None
