"""`imgsvc status`, `imgsvc result` and `imgsvc derive`: print documents of one upload, for people or for programs."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import orjson

from imgsvc.cli.parser import FAILED, SUCCEEDED, UNREACHABLE
from imgsvc.client.http import Client, ClientError, ServerUnreachableError
from imgsvc.domain.documents import Ended, File, JobError, JobStatus, NotYet, Original, Success
from imgsvc.domain.picture import all_files
from imgsvc.domain.states import RETRYABLE
from imgsvc.runtime.client_settings import ClientSettings

_UNITS = ("B", "kB", "MB", "GB", "TB")


def status(upload_id: str, *, wait: bool, json: bool, settings: ClientSettings) -> int:
    """Prints the status of a job. Returns the exit code: 1 only if there is no such upload."""

    async def ask(client: Client) -> int:
        document = await (client.ended(upload_id) if wait else client.status(upload_id))
        _print_status(document, json)
        return SUCCEEDED

    return asked(ask, settings)


def derive(upload_id: str, wanted: Mapping[str, Any], *, wait: bool, json: bool, settings: ClientSettings) -> int:
    """Has variants made anew, or the focus changed, and prints the status. Returns the exit code: 1 if it fails.

    `wanted` is the body of the call: `focus`, or what to make.
    """

    async def ask(client: Client) -> int:
        if "focus" in wanted:
            document = await client.change_focus(upload_id, wanted["focus"])
        else:
            document = await client.derive(upload_id, wanted)
        queued = document["derivation"]
        if wait:
            document = await client.ended(upload_id)
        _print_status(document, json)
        ended = document["derivation"]
        has_failed = queued != ended and ended and ended["status"] in RETRYABLE
        return FAILED if has_failed else SUCCEEDED

    return asked(ask, settings)


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

    return asked(ask, settings)


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


def asked(ask: Callable[[Client], Awaitable[int]], settings: ClientSettings) -> int:
    """Returns the exit code of a command that asks the service; prints why it is refused or not reached."""

    async def run() -> int:
        async with Client.open(settings.server, settings.key.get_secret_value() if settings.key else None) as client:
            return await ask(client)

    try:
        return asyncio.run(run())
    except ClientError as error:
        print(printable(f"imgsvc: {message_of(error)}"), file=sys.stderr)  # noqa: T201 (output for the user)
        return UNREACHABLE if isinstance(error, ServerUnreachableError) else FAILED


def _print_status(document: JobStatus, json: bool) -> None:
    if json:
        _print_json(document)
    else:
        _print_table(_status_rows(document))


def _status_rows(document: JobStatus) -> list[tuple[str, str]]:
    shown = {name: value for name, value in document.items() if name not in {"task_id", "error"}}
    derivation = shown.pop("derivation", None)
    return _rows(shown) + _error_rows(document["error"]) + (_rows({"derivation": derivation}) if derivation else [])


def _rows(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Returns what a document has, with a row for each member of its objects."""
    rows: list[tuple[str, str]] = []
    for name, value in document.items():
        if isinstance(value, dict):
            rows += _rows(cast("dict[str, Any]", value), f"{prefix}{name}.")
        elif value is not None:
            listed = cast("list[str]", value) if isinstance(value, list) else [str(value)]
            rows.append((prefix + name, ", ".join(listed)))
    return rows


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
