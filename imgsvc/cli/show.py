"""`imgsvc status` and `imgsvc result`: print the documents of one upload, for people or for programs."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

import orjson

from imgsvc.cli.parser import FAILED, SUCCEEDED, UNREACHABLE
from imgsvc.client.http import Client, ClientError, ServerUnreachableError
from imgsvc.domain.documents import Ended, File, JobError, JobStatus, NotYet, Original, Success
from imgsvc.domain.picture import all_files
from imgsvc.runtime.settings import ClientSettings

_UNITS = ("B", "kB", "MB", "GB", "TB")


def status(upload_id: str, *, wait: bool, json: bool, settings: ClientSettings) -> int:
    """Prints the status of a job. Returns the exit code: 1 only if there is no such upload."""

    async def ask(client: Client) -> int:
        document = await (client.ended(upload_id) if wait else client.status(upload_id))
        if json:
            _print_json(document)
        else:
            _print_table(_status_rows(document))
        return SUCCEEDED

    return _ask(ask, settings)


def result(upload_id: str, *, wait: bool, json: bool, settings: ClientSettings) -> int:
    """Prints the result of a job. Returns the exit code: 1 unless it succeeded."""

    async def ask(client: Client) -> int:
        if wait:
            await client.ended(upload_id)
        document = await client.result(upload_id)
        if json:
            _print_json(document)
        else:
            _print_table(_result_rows(document, client))
        return SUCCEEDED if document["status"] == "SUCCESS" else FAILED

    return _ask(ask, settings)


def human_bytes(size: float) -> str:
    """Returns a size such as "8.1 kB"; a kB has 1000 bytes."""
    for unit in _UNITS[:-1]:
        if round(size, 1) < 1000:
            return f"{size:g} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {_UNITS[-1]}"


def printable(text: str) -> str:
    """Replaces control characters, which a terminal would interpret."""
    return "".join(char if char.isprintable() else "?" for char in text)


def message_of(error: ClientError) -> str:
    """Returns the error's message, with where the key comes from if that is what is wrong."""
    return f"{error} The key is set by IMGSVC_KEY or --key." if error.code == "unauthorized" else str(error)


def _ask(ask: Callable[[Client], Awaitable[int]], settings: ClientSettings) -> int:
    async def run() -> int:
        async with Client.open(settings.server, settings.key.get_secret_value() if settings.key else None) as client:
            return await ask(client)

    try:
        return asyncio.run(run())
    except ClientError as error:
        print(printable(f"imgsvc: {message_of(error)}"), file=sys.stderr)  # noqa: T201 (output for the user)
        return UNREACHABLE if isinstance(error, ServerUnreachableError) else FAILED


def _status_rows(document: JobStatus) -> list[tuple[str, str]]:
    shown = {name: value for name, value in document.items() if name not in {"task_id", "error", "metadata"}}
    rows = [(name, str(value)) for name, value in shown.items() if value is not None]
    rows += [(f"metadata.{name}", value) for name, value in document["metadata"].items()]
    return rows + _error_rows(document["error"])


def _result_rows(document: Success | Ended | NotYet, client: Client) -> list[tuple[str, str]]:
    rows = [("status", str(document["status"]))]
    if "variants" in document:
        rows.append(("original", _describe(document["original"])))
        for name, file in all_files(document["variants"]):
            rows += [(name, _describe(file)), ("", client.url(file["url"]))]
        rows += [("warning", warning["message"]) for warning in document["warnings"]]
    return rows + (_error_rows(document["error"]) if "error" in document else [])


def _error_rows(error: JobError | None) -> list[tuple[str, str]]:
    return [("error", f"{error['code']}: {error['message']}")] if error else []


def _describe(image: Original | File) -> str:
    return f"{image['width']} x {image['height']}, {human_bytes(image['bytes'])}, {image['content_type']}"


def _print_table(rows: list[tuple[str, str]]) -> None:
    """Prints two columns; lines are not wrapped, so that URLs stay whole."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(printable(f"{name:<{width}}  {value}"))  # noqa: T201 (output for the user)


def _print_json(document: JobStatus | Success | Ended | NotYet) -> None:
    print(orjson.dumps(document).decode())  # noqa: T201 (output for a program)
