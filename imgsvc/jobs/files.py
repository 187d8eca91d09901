"""The files made of an original, and their names in storage.

    processed/<id>/<stem of the original's name>_<variant>[-<width>][.<revision>][.a<attempt>].<extension>

No name is ever used for two contents: each derivation has a revision, and each attempt at a job a number, from 2 on in
the names of its files. A worker that lost its job may still store files when another one has finished it: under names
that no record has, so that they are removed (worker/sweep.py).
"""

import re
from dataclasses import astuple, dataclass, fields
from pathlib import PurePosixPath
from typing import Any, Self

from imgsvc.domain.formats import KNOWN

_UNSAFE = re.compile(r"[^\w.-]+")  # what a key and its URL are better without
_REVISION = re.compile(r"\.([0-9]+)(?:\.a[0-9]+)?\.[a-z0-9]+$")


@dataclass(frozen=True, slots=True)
class File:
    """A file made of an original, as it stands in storage; see model.Rendition.

    `revision` counts how often the variant was made, `attempt` how often the job was begun that made the file.
    """

    variant: str
    width: int
    height: int
    bytes: int
    sha256: str
    format: str
    quality: int | None = None
    fits: bool = True
    set_width: int | None = None
    revision: int = 1
    attempt: int = 1

    @property
    def content_type(self) -> str:
        return KNOWN[self.format].media_type

    def key(self, upload_id: str, filename: str) -> str:
        """Where it is stored: under the upload's id, by the name that its client gave the original."""
        stem = _UNSAFE.sub("_", PurePosixPath(filename).stem)
        name = self.variant if self.set_width is None else f"{self.variant}-{self.set_width}"
        revision = f".{self.revision}" if self.revision > 1 else ""
        attempt = f".a{self.attempt}" if self.attempt > 1 else ""
        return f"{files_prefix(upload_id)}{stem}_{name}{revision}{attempt}.{KNOWN[self.format].extension}"

    def row(self) -> tuple[Any, ...]:
        """Its values as a record has them, without the last ones that are as they are by default."""
        values = astuple(self)
        while values[-1] == _DEFAULTS[len(values) - 1]:
            values = values[:-1]
        return values

    @classmethod
    def from_row(cls, values: list[Any]) -> Self:
        """Earlier versions wrote fewer values, later ones may write more."""
        return cls(*values[: len(_DEFAULTS)])


_DEFAULTS = [field.default for field in fields(File)]


def files_prefix(upload_id: str) -> str:
    """What the keys of all its variants begin with."""
    return f"processed/{upload_id}/"


def revision_of(key: str) -> int:
    """Returns the revision of the file at `key` (File.key)."""
    match = _REVISION.search(key)
    return int(match[1]) if match else 1
