"""Progress bars on a terminal, by rich."""

import sys
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from imgsvc.cli.display import Bar, Display
from imgsvc.domain.documents import JobStatus

_MAX_NAME_CHARS = 32


@contextmanager
def bars(uploads: int) -> Generator[Display]:
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[step]}"),
        console=Console(stderr=True),
        transient=True,
        # results go to stdout, even while bars are on stderr
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with progress:
        yield _Bars(progress, uploads)


class _Bars(Display):
    def __init__(self, progress: Progress, uploads: int) -> None:
        self._progress = progress
        self._all = progress.add_task("all uploads", total=uploads, step="") if uploads > 1 else None

    @contextmanager
    def bar(self, name: str, size: int | None) -> Generator[Bar]:
        step = "fetching" if size is None else "sending"
        task = self._progress.add_task(escape(_short(name)), total=size, step=step)
        try:
            yield _Bar(self._progress, task)
        finally:
            self._progress.remove_task(task)
            if self._all is not None:
                self._progress.advance(self._all)

    def print(self, line: str) -> None:
        # above the bars if both are on the same terminal; `out` neither wraps nor colours
        if sys.stdout.isatty():
            self._progress.console.out(line, highlight=False)
        else:
            super().print(line)

    def warn(self, line: str) -> None:
        self._progress.console.out(f"imgsvc: {line}", highlight=False)


class _Bar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def sent(self, size: int) -> None:
        self._progress.update(self._task, completed=size)

    def job(self, status: JobStatus) -> None:
        step = status["step"] or status["status"].lower()
        self._progress.update(self._task, total=100, completed=status["progress"], step=escape(step))


def _short(name: str) -> str:
    name = "".join(char if char.isprintable() else "_" for char in name)
    return name if len(name) <= _MAX_NAME_CHARS else f"...{name[3 - _MAX_NAME_CHARS :]}"
