"""`imgsvc health`: whether the process beside it is well, for container engines that ask every few seconds."""

import asyncio
import os
import socket
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from threading import Timer
from typing import Any

import orjson

from imgsvc.cli.parser import FAILED, SUCCEEDED
from imgsvc.runtime import environment
from imgsvc.runtime.environment import PREFIX
from imgsvc.runtime.loading import load
from imgsvc.runtime.local_settings import LocalSettings, SettingsError
from imgsvc.runtime.owners import any_key
from imgsvc.runtime.processes import process_names
from imgsvc.runtime.settings import Settings

DEADLINE_S = 4.0
"""How long the whole question may take. What does not answer by then is not well."""

_MAX_ANSWER_BYTES = 64 * 1024
_MAX_LINE_CHARS = 1000


class _UnwellError(Exception):
    """Says in one line what is wrong."""


def health(part: str, *, live: bool) -> int:
    """Writes one line: how the `api` or the `worker` is. Returns the exit code: 1 where it is not well."""
    try:
        line = _worker(_worker_settings()) if part == "worker" else _api(load(LocalSettings), live=live)
    except (_UnwellError, SettingsError) as error:
        print(_complaint(part, str(error)), file=sys.stderr)  # noqa: T201
        return FAILED
    print(line)  # noqa: T201 (this is what an engine keeps as the check's output)
    return SUCCEEDED


def _api(settings: LocalSettings, *, live: bool) -> str:
    path = settings.base_path + ("/healthz" if live else "/readyz")
    # a name that is always its own, whatever it listens on
    key = any_key(settings)
    headers = {"host": "localhost"} | ({"authorization": f"Bearer {key}"} if key else {})
    try:
        with _deadline("api"), closing(_connection(settings)) as connection:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            document = _document(answer.read(_MAX_ANSWER_BYTES))
    except (OSError, HTTPException) as error:
        raise _UnwellError(f"no answer at {settings.where}: {error or repr(error)}") from error
    match document:
        case {"status": "ok" | "ready" as status} if answer.status == HTTPStatus.OK:
            return status
        case {"status": "not_ready" | "draining" as status}:
            raise _UnwellError("; ".join([status, *_reasons(document)]))
        case _:
            raise _UnwellError(f"{settings.where}{path} answers {answer.status}, and not as imgsvc does")


def _connection(settings: LocalSettings) -> HTTPConnection:
    connection = HTTPConnection(settings.called_host, settings.port)
    if settings.unix_socket:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(settings.unix_socket))
    return connection


def _document(body: bytes) -> Any:
    """What another server answers may be anything."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _reasons(document: dict[str, Any]) -> Generator[str]:
    checks = document.get("checks")
    for name in ("queue", "storage"):
        match checks.get(name) if isinstance(checks, dict) else None:
            case {"ok": False, "error": str(error)}:
                yield f"{name}: {error}"
            case {"ok": False}:
                yield f"{name}: it cannot be reached"
            case _:  # it is well, or no answer of an imgsvc
                pass


def _worker_settings() -> Settings:
    """Those of the environment; where that names no Redis, it is that of the one-machine mode that runs here."""
    if environment.is_set("redis_url"):
        return load(Settings)
    from imgsvc.local.folder import redis_url

    folder = load(LocalSettings).data_folder
    url = redis_url(folder)
    if url is None:
        raise _UnwellError(f"{PREFIX}REDIS_URL is not set, and no imgsvc keeps its data in {folder} now")
    return load(Settings, redis_url=url)


def _worker(settings: Settings) -> str:
    from imgsvc.jobs.heartbeats import heartbeats

    try:
        with _deadline("worker"):
            alive = asyncio.run(heartbeats(settings))
    except ConnectionError as error:
        raise _UnwellError(f"cannot ask Redis: {error}") from error
    if alive.isdisjoint(process_names()):
        raise _UnwellError(f"none on this machine has renewed its heartbeat in Redis for {settings.lease_s:g} s")
    return "alive"


@contextmanager
def _deadline(part: str) -> Generator[None]:
    """Ends this process, whatever it waits for then: a resolver hears no signal, and no task's cancellation."""
    timer = Timer(DEADLINE_S, _give_up, [part])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _give_up(part: str) -> None:
    os.write(2, f"{_complaint(part, f'no answer within {DEADLINE_S:g} s')}\n".encode())
    os._exit(FAILED)


def _complaint(part: str, problem: str) -> str:
    line = "; ".join(problem.splitlines())[:_MAX_LINE_CHARS]
    return f"imgsvc: {part}: {''.join(char if char.isprintable() else '?' for char in line)}"
