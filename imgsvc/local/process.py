"""A process that cannot outlive us: own session, one log, an end with a deadline."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Self

LOG_LIMIT_BYTES = 10 * 1024 * 1024  # a log that is longer at start becomes `<name>.log.1`
KILL_WAIT_S = 5.0  # a killed process is gone in milliseconds, unless its disk hangs
LAST_WORDS_BYTES = 4096
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class EmbeddedError(Exception):
    """The one-machine mode cannot go on; the message says what to do."""


class Child:
    """A running process of ours.

    On Linux the kernel kills it when we die, even by `kill -9`. macOS has no such call: there it outlives a killed
    parent, and holds on to whatever descriptors it was given, such as the data folder's lock.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, log_file: Path | None, log_start: int) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._log_file = log_file
        self._log_start = log_start

    @classmethod
    async def start(
        cls,
        name: str,
        argv: Sequence[str | Path],
        env: Mapping[str, str],
        log_file: Path | None = None,
        *,
        cwd: Path | None = None,
        keep_fds: Sequence[int] = (),
    ) -> Self:
        """Start `argv` with exactly the environment `env`, in its own session, with nothing on standard input.

        Its output goes to `log_file`, or where ours goes. It inherits the descriptors `keep_fds`, and no other.

        Raises:
            EmbeddedError: when it cannot be run at all.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("start processes from the main thread: they die with the thread that started them")
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(_open_log(log_file)) if log_file else None
            log_start = log.tell() if log else 0  # before the start: the child moves the position that we share
            try:
                process = await asyncio.create_subprocess_exec(
                    *map(str, argv),
                    env=dict(env),
                    cwd=cwd,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # a terminal's Ctrl-C is ours alone: we stop the children in order
                    pass_fds=tuple(keep_fds),
                    preexec_fn=_between_fork_and_exec(),
                )
            except OSError as error:
                raise EmbeddedError(f"cannot run {argv[0]}: {error.strerror}") from error
            return cls(name, process, log_file, log_start)

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def wait(self) -> int:
        """Return its exit code once it has ended: -N when signal N ended it."""
        return await self._process.wait()

    async def stop(self, grace_s: float) -> int:
        """Ask it to end, kill it when `grace_s` seconds pass or we are cancelled, and return its exit code."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                return await self.wait()
        except TimeoutError:
            return await self.kill()
        finally:
            self._signal(signal.SIGKILL)

    def hang_up(self) -> None:
        """Send it SIGHUP, which it ignores until it handles it."""
        self._signal(signal.SIGHUP)

    async def kill(self) -> int:
        """Kill it and whatever it forked, and return its exit code.

        Raises:
            TimeoutError: when the kernel does not let it go within 5 s.
        """
        self._signal(signal.SIGKILL)
        async with asyncio.timeout(KILL_WAIT_S):
            return await self.wait()

    def ended(self) -> EmbeddedError:
        """Describe how it ended, with the last lines that it wrote."""
        code = self._process.returncode
        how = "is still running" if code is None else f"ended with {_exit_name(code)}"
        return EmbeddedError(f"{self.name} (pid {self.pid}) {how}{self._last_words()}")

    def _signal(self, number: signal.Signals) -> None:
        if not self.running:
            return
        # it may have ended an instant ago, which is what every caller wants
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(self.pid, number)  # Valkey forks to rewrite its file
            else:
                os.kill(self.pid, number)

    def _last_words(self, lines: int = 5) -> str:
        if self._log_file is None:
            return ""
        with self._log_file.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, end - LAST_WORDS_BYTES))
            words = log.read().decode(errors="replace").strip().splitlines()[-lines:]
        return f"; more in {self._log_file}" + "".join(f"\n  {line}" for line in words)


def _open_log(path: Path) -> IO[bytes]:
    if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    log = path.open("ab")
    log.seek(0, os.SEEK_END)
    return log


def _between_fork_and_exec() -> Callable[[], None]:
    """Make what a child runs first: as little as can be, with all that it needs looked up before the fork."""
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def prepare() -> None:
        os.umask(0o077)  # sockets and files are this user's alone
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what reads its files again at this signal handles it later
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # we died before the call: no signal will come
                os._exit(1)

    return prepare


def _exit_name(code: int) -> str:
    if code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
