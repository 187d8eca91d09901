"""`imgsvc upload`: files to a service, several at once; their variants back, where that is asked for."""

import asyncio
import errno
import os
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import BinaryIO, cast

import orjson

from imgsvc.cli.display import Bar, Display
from imgsvc.cli.parser import FAILED, SUCCEEDED, UNREACHABLE
from imgsvc.cli.show import explained, human_bytes, printable
from imgsvc.client.form import LocalFile
from imgsvc.client.http import Client, ClientError
from imgsvc.client.saving import NotSavedError, save
from imgsvc.domain.documents import File, JobError, Success
from imgsvc.domain.states import Status
from imgsvc.runtime.settings import ClientSettings

AT_ONCE = 4
STDIN = "-"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done with each file; `save` is a folder that is there."""

    fields: Mapping[str, str]
    wait: bool
    save: Path | None
    force: bool
    json: bool


@dataclass(slots=True)
class Outcome:
    """What came of one file; the object that `--json` writes."""

    file: str
    id: str | None = None
    status: str | None = None
    status_url: str | None = None
    result: Success | None = None
    saved: dict[str, str] = field(default_factory=dict[str, str])
    error: JobError | None = None

    @property
    def exit_code(self) -> int:
        if self.error is None:
            return SUCCEEDED
        return UNREACHABLE if self.error["code"] == "unreachable" else FAILED


def upload(files: Sequence[str], order: Order, settings: ClientSettings) -> int:
    """Uploads `files`, and says what came of each as soon as that is known. Returns the exit code."""
    with ExitStack() as stack:
        # read before all else: a thread that waits for a terminal could not be interrupted
        stdin = stack.enter_context(TemporaryFile()) if STDIN in files else None
        if stdin:
            copyfileobj(sys.stdin.buffer, stdin)  # a pipe has no size, and cannot be sent again
        shown = stack.enter_context(_display(len(files)))
        outcomes = asyncio.run(_Uploads(order, settings, shown, stdin).run(files))
    return max(outcome.exit_code for outcome in outcomes)


class _Uploads:
    def __init__(self, order: Order, settings: ClientSettings, shown: Display, stdin: BinaryIO | None) -> None:
        self._order = order
        self._settings = settings
        self._shown = shown
        self._stdin = stdin
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def run(self, files: Sequence[str]) -> list[Outcome]:
        key = self._settings.key.get_secret_value() if self._settings.key else None
        async with Client.open(self._settings.server, key) as client:
            tasks = [asyncio.create_task(self._one(client, file)) for file in files]
            try:
                for done in asyncio.as_completed(tasks):
                    self._report(client, await done)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        return [task.result() for task in tasks]

    async def _one(self, client: Client, file: str) -> Outcome:
        outcome = Outcome(_text(file))
        async with self._turns:
            try:
                with self._open(file) as opened, self._shown.bar(file, _size(opened)) as bar:
                    await self._send(client, LocalFile(_name(file), opened), outcome, bar)
            except (ClientError, NotSavedError, OSError) as error:
                outcome.error = _explain(error, file)
        return outcome

    async def _send(self, client: Client, source: LocalFile, outcome: Outcome, bar: Bar) -> None:
        answer = await client.upload(source, self._order.fields, bar.sent)
        outcome.id, outcome.status, outcome.status_url = answer["id"], Status.PENDING, answer["status_url"]
        if not self._order.wait:
            return
        status = await client.ended(answer["id"], bar.job)
        outcome.status, outcome.error = status["status"], status["error"]
        if outcome.status == Status.SUCCESS:
            outcome.result = cast("Success", await client.result(answer["id"]))
            await self._save(client, outcome)
        elif outcome.error is None:
            outcome.error = {"code": "cancelled", "message": "The job was cancelled."}

    async def _save(self, client: Client, outcome: Outcome) -> None:
        if self._order.save is None or outcome.result is None:
            return
        for name, variant in outcome.result["variants"].items():
            path = await save(client, variant, self._order.save, force=self._order.force)
            outcome.saved[name] = _text(path)

    def _open(self, file: str) -> BinaryIO:
        if file == STDIN and self._stdin:
            return self._stdin
        if Path(file).is_fifo():  # such as <(a command): nobody knows its size, and it is read once only
            raise OSError(errno.ESPIPE, "it is a pipe; have - read it, as in `imgsvc upload - <pipe`", file)
        return Path(file).open("rb")

    def _report(self, client: Client, outcome: Outcome) -> None:
        if self._order.json:
            self._shown.say(orjson.dumps(asdict(outcome)).decode())
            return
        if outcome.error:
            self._shown.complain(printable(f"{outcome.file}: {outcome.error['message']}"))
        if outcome.result:
            for name, variant in outcome.result["variants"].items():
                self._shown.say(printable(_line(outcome, name, variant, client)))
        elif outcome.status_url and not outcome.error:
            self._shown.say(printable(f"{outcome.file}: {client.url(outcome.status_url)}"))


def _line(outcome: Outcome, name: str, variant: File, client: Client) -> str:
    where = outcome.saved.get(name) or client.url(variant["url"])
    size = f"{variant['width']} x {variant['height']}, {human_bytes(variant['bytes'])}"
    return f"{outcome.file}: {name} ({size}) {where}"


def _explain(error: Exception, file: str) -> JobError:
    match error:
        case ClientError():
            return {"code": error.code, "message": explained(error)}
        case NotSavedError():
            return {"code": "not_saved", "message": str(error)}
        case IsADirectoryError() if error.filename == file:
            return {"code": "unreadable", "message": "is a directory: name the files in it, as in photos/*.jpg"}
        case OSError(filename=name, strerror=reason) if name == file:
            return {"code": "unreadable", "message": f"cannot be read: {reason}"}
        case _:
            return {"code": "not_saved", "message": f"cannot be saved: {error}"}


def _text(path: str | Path) -> str:
    """A path as text; what of it is none is marked."""
    return os.fsencode(path).decode(errors="replace")


def _name(file: str) -> str:
    return "stdin" if file == STDIN else Path(file).name


def _size(file: BinaryIO) -> int:
    return LocalFile("", file).size


@contextmanager
def _display(files: int) -> Generator[Display]:
    """Bars where somebody looks, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield Display()
        return
    from imgsvc.cli.bars import bars  # rich takes its time to import

    with bars(files) as shown:
        yield shown
