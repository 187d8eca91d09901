"""What a user sees while files go up: a bar each on a terminal, and nothing elsewhere.

Bars and complaints go to stderr, what is said goes to stdout.
"""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from imgsvc.domain.documents import JobStatus


class Bar(Protocol):
    """One file's way: first it is sent, then its job goes on."""

    def sent(self, size: int) -> None: ...

    def job(self, status: JobStatus) -> None: ...


class Display:
    """Shows no bars."""

    @contextmanager
    def bar(self, name: str, size: int) -> Generator[Bar]:
        yield _NoBar()

    def say(self, line: str) -> None:
        print(line, flush=True)  # noqa: T201 (this is what the user sees)

    def complain(self, line: str) -> None:
        print(f"imgsvc: {line}", file=sys.stderr, flush=True)  # noqa: T201


class _NoBar:
    def sent(self, size: int) -> None: ...

    def job(self, status: JobStatus) -> None: ...
