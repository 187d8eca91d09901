"""What a user sees during uploads: a progress bar for each on a terminal, otherwise none.

Bars and warnings go to stderr, results to stdout.
"""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from imgsvc.domain.documents import JobStatus


class Bar(Protocol):
    """The progress of one upload: first bytes are sent, then its job runs."""

    def sent(self, size: int) -> None: ...

    def job(self, status: JobStatus) -> None: ...


class Display:
    """Prints lines and shows no bars."""

    @contextmanager
    def bar(self, name: str, size: int | None) -> Generator[Bar]:
        """Shows a bar; `size` is the number of bytes to send, None if the service fetches the image."""
        yield _NoBar()

    def print(self, line: str) -> None:
        print(line, flush=True)  # noqa: T201 (output for the user)

    def warn(self, line: str) -> None:
        print(f"imgsvc: {line}", file=sys.stderr, flush=True)  # noqa: T201


class _NoBar:
    def sent(self, size: int) -> None: ...

    def job(self, status: JobStatus) -> None: ...
