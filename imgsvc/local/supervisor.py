"""The one-machine mode: Valkey, an S3 server, the API and a worker, started, watched and stopped together."""

import asyncio
import logging
import shlex
import signal
import sys
from collections.abc import Collection
from contextlib import suppress
from time import perf_counter
from typing import Any

import orjson

from imgsvc.local.embedded import Embedded
from imgsvc.local.process import Child, EmbeddedError
from imgsvc.runtime.environment import PREFIX, is_set, without
from imgsvc.runtime.hangup import on_hangup
from imgsvc.runtime.interpreter import command
from imgsvc.runtime.listening import listening
from imgsvc.runtime.local_settings import LocalSettings
from imgsvc.runtime.owners import any_key, read_owners
from imgsvc.runtime.startup import allow_files, load_presets
from imgsvc.runtime.streams import give_up
from imgsvc.runtime.version import VERSION

log = logging.getLogger(__name__)

READY_TIMEOUT_S = 30.0
STOP_GRACE_S = 40.0
"""Longer than the drain of the API and the worker (25 s unless set)."""

_FILES = 4096
_FEWEST_FILES = 256  # SeaweedFS starts with these
_RESTART_S = 1.0
_PROBE_S = 0.05
_ROLES = {"api": command("imgsvc", "api"), "worker": command("imgsvc.worker")}


async def run(settings: LocalSettings) -> None:
    """Runs everything until SIGINT or SIGTERM; a second one stops it at once.

    Raises:
        EmbeddedError, SettingsError: with a line that says what to do, when something cannot start or go on.
    """
    begin = perf_counter()
    # report a wrong preset, a wrong owner or an occupied port before anything starts
    read_owners(settings, load_presets(settings).presets)
    with listening(settings):
        pass
    data_folder = settings.data_folder
    _allow_files()
    for name in ("redis_url", "s3_endpoint_url"):
        if is_set(name):
            log.warning("%s%s is ignored: it is for `imgsvc api` and `imgsvc worker`", PREFIX, name.upper())
    async with Embedded(data_folder) as embedded:
        # nobody balances load over a single API: it need not announce its end
        env = {f"{PREFIX}DRAIN_DELAY_S": "0"} | without(embedded.services.settings()) | embedded.services.environment()
        if not is_set("signing_secret"):
            env[f"{PREFIX}SIGNING_SECRET"] = embedded.signing_secret
        roles = {name: Role(name, argv, env) for name, argv in _ROLES.items()}
        try:
            for role in roles.values():
                await role.start()
            running = [asyncio.create_task(role.keep_running()) for role in roles.values()]
            running.append(asyncio.create_task(embedded.watch()))
            greeting = asyncio.create_task(_greet(settings, embedded, begin))
            await _until_signal([*running, greeting], roles.values())
        finally:
            await asyncio.gather(*(role.stop() for role in roles.values()))
    _say("stopped; everything is kept in ", settings.data_folder)


def _allow_files() -> None:
    """Lets the servers open what they need; they inherit the limit.

    Raises:
        EmbeddedError: it is too low, and only an administrator may raise it.
    """
    if allow_files(_FILES) < _FEWEST_FILES:
        raise EmbeddedError(f"a process may have fewer than {_FEWEST_FILES} files open here: raise `ulimit -Hn`")


class Role:
    """The API or the worker: a process that is started again when something kills it."""

    def __init__(self, name: str, argv: list[str], env: dict[str, str]) -> None:
        self.name = name
        self._argv = argv
        self._env = env
        self._child: Child | None = None

    async def start(self) -> None:
        self._child = await Child.start(self.name, self._argv, self._env)

    async def keep_running(self) -> None:
        """Raises EmbeddedError when the process ends by itself: it has logged why, and would do so again."""
        while self._child is not None:
            code = await self._child.wait()
            if code >= 0:
                raise EmbeddedError(f"the {self.name} ended with exit code {code}")
            log.error("the %s was ended by %s; starting it again", self.name, signal.Signals(-code).name)
            await asyncio.sleep(_RESTART_S)
            await self.start()

    def hang_up(self) -> None:
        """Has it read its files again."""
        if self._child is not None:
            self._child.hang_up()

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop(STOP_GRACE_S)


async def _until_signal(tasks: list[asyncio.Task[Any]], roles: Collection[Role]) -> None:
    """Returns at a signal to stop; raises what a task raises. From then on a further signal cancels us."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)

    async def pass_on() -> None:
        for role in roles:
            role.hang_up()

    on_hangup(pass_on, stop.set)
    stopping = asyncio.create_task(stop.wait())
    waiting: set[asyncio.Task[Any]] = {stopping, *tasks}
    try:
        while not stopping.done():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        current = asyncio.current_task()
        assert current is not None
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, current.cancel)
    _say("stopping: work under way is finished first; press Ctrl-C again to stop at once")


async def _greet(settings: LocalSettings, embedded: Embedded, begin: float) -> None:
    """Prints where everything is, as soon as an upload would be accepted and processed."""
    deadline = perf_counter() + READY_TIMEOUT_S
    key = any_key(settings)
    while not is_ready(document := await readiness(settings, key)):
        if perf_counter() > deadline:
            raise EmbeddedError(f"not ready after {READY_TIMEOUT_S:g} s; {settings.url}/readyz answers: {document}")
        await asyncio.sleep(_PROBE_S)
    workers = document.get("checks", {}).get("workers")
    # without a key it is not said
    worker = f"{workers['alive']} running, sandbox {workers['sandbox']}" if workers else "running"
    socket = f"--unix-socket {shlex.quote(str(settings.unix_socket))} " if settings.unix_socket else ""
    header = "-H 'Authorization: Bearer <key>' " if settings.has_keys else ""
    _say(
        f"imgsvc {VERSION} is ready after {perf_counter() - begin:.1f} s",
        f"\n  api      {settings.where if settings.unix_socket else settings.url}",
        f"\n  worker   {worker}",
        f"\n  queue    Valkey at {embedded.services.redis_url.rpartition('@')[2]}",
        f"\n  storage  SeaweedFS at {embedded.services.s3_endpoint_url}",
        f"\n  data     {settings.data_folder}",
        f"\n\nTry it:  curl {socket}{header}-F file=@photo.jpg {settings.url}/upload\nStop it: Ctrl-C",
    )


def is_ready(document: dict[str, Any]) -> bool:
    """Whether all checks are passed; where no key is known to us, whether they are said to be."""
    checks = document.get("checks")
    return all(check["ok"] for check in checks.values()) if checks else document.get("status") == "ready"


async def readiness(settings: LocalSettings, key: str | None) -> dict[str, Any]:
    """What /readyz answers; nothing while it does not."""
    with suppress(OSError, TimeoutError, orjson.JSONDecodeError):
        async with asyncio.timeout(1):
            if settings.unix_socket:
                reader, writer = await asyncio.open_unix_connection(settings.unix_socket)
            else:
                reader, writer = await asyncio.open_connection(settings.called_host, settings.port)
            try:
                header = f"Authorization: Bearer {key}\r\n" if key else ""
                writer.write(f"GET /readyz HTTP/1.1\r\nHost: localhost\r\n{header}Connection: close\r\n\r\n".encode())
                answer = await reader.read()
            finally:
                writer.close()
        return orjson.loads(answer.partition(b"\r\n\r\n")[2])
    return {}


def _say(*words: object) -> None:
    try:
        print(*words, sep="", flush=True)  # noqa: T201 (this is what the user sees)
    except OSError:  # the user does not look any more, and the clients of what runs here do not care
        give_up(sys.stdout)
