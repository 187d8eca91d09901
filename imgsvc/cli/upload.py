"""`imgsvc upload`: sends files and URLs to a service, several at once, and downloads their variants if asked to."""

import asyncio
import errno
import os
import re
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

import orjson

from imgsvc.cli.display import Bar, Display
from imgsvc.cli.parser import FAILED, SUCCEEDED, UNREACHABLE
from imgsvc.cli.show import human_bytes, message_of, printable
from imgsvc.client.form import LocalFile
from imgsvc.client.http import Client, ClientError
from imgsvc.client.saving import NotSavedError, save
from imgsvc.domain.documents import Accepted, File, JobError, Success
from imgsvc.domain.picture import all_files
from imgsvc.domain.states import Status
from imgsvc.runtime.client_settings import ClientSettings

CONCURRENCY = 4
STDIN = "-"

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class UploadCommand:
    """What to do with each source. `options` are sent with it; `save` is an existing folder."""

    options: Mapping[str, Any]
    wait: bool
    save: Path | None
    force: bool
    json: bool


@dataclass(slots=True)
class UploadResult:
    """The result of one source, which is `file`; the object that `--json` prints."""

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


def upload(sources: Sequence[str], command: UploadCommand, settings: ClientSettings) -> int:
    """Uploads files and URLs, and prints each result as soon as it is known. Returns the exit code."""
    with ExitStack() as stack:
        # read first: a thread that waits for a terminal could not be interrupted
        stdin = stack.enter_context(TemporaryFile()) if STDIN in sources else None
        if stdin:
            copyfileobj(sys.stdin.buffer, stdin)  # a pipe has no size, and cannot be sent again
            stdin.flush()  # the size is asked of the system, which does not know what Python still buffers
        display = stack.enter_context(_display(len(sources)))
        results = asyncio.run(_Uploader(command, settings, display, stdin).run(sources))
    return max(result.exit_code for result in results)


class _Uploader:
    def __init__(
        self, command: UploadCommand, settings: ClientSettings, display: Display, stdin: BinaryIO | None
    ) -> None:
        self._command = command
        self._settings = settings
        self._display = display
        self._stdin = stdin
        self._slots = asyncio.Semaphore(CONCURRENCY)

    async def run(self, sources: Sequence[str]) -> list[UploadResult]:
        key = self._settings.key.get_secret_value() if self._settings.key else None
        async with Client.open(self._settings.server, key) as client:
            tasks = [asyncio.create_task(self._upload(client, source)) for source in sources]
            try:
                for done in asyncio.as_completed(tasks):
                    self._print(client, await done)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        return [task.result() for task in tasks]

    async def _upload(self, client: Client, source: str) -> UploadResult:
        result = UploadResult(_text(source))
        send = self._send_url if _URL.match(source) else self._send_file
        async with self._slots:
            try:
                await send(client, source, result)
            except (ClientError, NotSavedError, OSError) as error:
                result.error = _error_document(error, source)
        return result

    async def _send_url(self, client: Client, url: str, result: UploadResult) -> None:
        with self._display.bar(url, None) as bar:
            accepted = await client.upload_url(_text(url), self._command.options)
            await self._follow(client, accepted, result, bar)

    async def _send_file(self, client: Client, path: str, result: UploadResult) -> None:
        options = dict(self._command.options)
        with self._open(path) as opened:
            file = LocalFile(options.pop("filename", _name(path)), opened)
            with self._display.bar(path, file.size) as bar:
                accepted = await client.upload(file, options, bar.sent)
                await self._follow(client, accepted, result, bar)

    async def _follow(self, client: Client, accepted: Accepted, result: UploadResult, bar: Bar) -> None:
        result.id, result.status, result.status_url = accepted["id"], Status.PENDING, accepted["status_url"]
        if not self._command.wait:
            return
        status = await client.ended(accepted["id"], bar.job)
        result.status, result.error = status["status"], status["error"]
        if result.status == Status.SUCCESS:
            result.result = cast("Success", await client.result(accepted["id"]))
            await self._save(client, result)
        elif result.error is None:
            result.error = {"code": "cancelled", "message": "The job was cancelled."}

    async def _save(self, client: Client, result: UploadResult) -> None:
        if self._command.save is None or result.result is None:
            return
        for name, file in all_files(result.result["variants"]):
            path = await save(client, file, self._command.save, force=self._command.force)
            result.saved[name] = _text(path)

    def _open(self, path: str) -> BinaryIO:
        if path == STDIN and self._stdin:
            return self._stdin
        if Path(path).is_fifo():  # such as <(a command): its size is unknown, and it can be read only once
            raise OSError(errno.ESPIPE, "it is a pipe; send it as stdin, as in `imgsvc upload - <pipe`", path)
        return Path(path).open("rb")

    def _print(self, client: Client, result: UploadResult) -> None:
        if self._command.json:
            self._display.print(orjson.dumps(asdict(result)).decode())
            return
        if result.error:
            self._display.warn(printable(f"{result.file}: {result.error['message']}"))
        if result.result:
            for warning in result.result["warnings"]:
                self._display.warn(printable(f"{result.file}: {warning['message']}"))
            for name, file in all_files(result.result["variants"]):
                self._display.print(printable(_file_line(result, name, file, client)))
        elif result.status_url and not result.error:
            self._display.print(printable(f"{result.file}: {client.url(result.status_url)}"))


def _file_line(result: UploadResult, name: str, file: File, client: Client) -> str:
    where = result.saved.get(name) or client.url(file["url"])
    size = f"{file['width']} x {file['height']}, {human_bytes(file['bytes'])}"
    return f"{result.file}: {name} ({size}) {where}"


def _error_document(error: Exception, source: str) -> JobError:
    match error:
        case ClientError():
            return {"code": error.code, "message": message_of(error)}
        case NotSavedError():
            return {"code": "not_saved", "message": str(error)}
        case IsADirectoryError() if error.filename == source:
            return {"code": "unreadable", "message": "is a directory: name the files in it, as in photos/*.jpg"}
        case OSError(filename=name, strerror=reason) if name == source:
            return {"code": "unreadable", "message": f"cannot be read: {reason}"}
        case _:
            return {"code": "not_saved", "message": f"cannot be saved: {error}"}


def _text(path: str | Path) -> str:
    """Returns an argument or path as valid text: bytes that are not UTF-8 are replaced."""
    return os.fsencode(path).decode(errors="replace")


def _name(path: str) -> str:
    return "stdin" if path == STDIN else Path(path).name


@contextmanager
def _display(uploads: int) -> Generator[Display]:
    """Opens progress bars if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield Display()
        return
    from imgsvc.cli.bars import bars  # importing rich takes time

    with bars(uploads) as display:
        yield display
