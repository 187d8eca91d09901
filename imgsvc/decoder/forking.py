"""The fork server's own side: it forks a decoder on request, and reports each exit.

It never sees an image, so whoever takes a decoder over has nothing of it but a copy of what it was before the first.
"""

import gc
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

from imgsvc.decoder import lockdown, wire

_READ_BYTES = 64 * 1024
_PIPES = 3
_MOST_FDS = 256  # far more than a fork server has


class Control:
    """The socket to the parent, on stdin: frames come with descriptors, and others go back."""

    def __init__(self) -> None:
        self._socket = socket.socket(fileno=os.dup(0))
        self._received = b""
        self._fds: list[int] = []

    def fileno(self) -> int:
        return self._socket.fileno()

    def frames(self) -> list[bytes] | None:
        """The headers that have come, once there is something to read; None when the parent has hung up."""
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, _READ_BYTES, _PIPES)
        except ConnectionError:
            return None
        self._received += data
        self._fds += fds
        headers: list[bytes] = []
        while (split := wire.split_frame(self._received)) is not None:
            header, self._received = split
            headers.append(header)
        return headers if data else None

    def pipes(self) -> list[int]:
        """The descriptors that came with the next Fork."""
        pipes, self._fds = self._fds[:_PIPES], self._fds[_PIPES:]
        return pipes

    def send(self, message: wire.Message, fds: Sequence[int] = ()) -> None:
        with suppress(ConnectionError):  # the parent has closed it, which the next read shows
            socket.send_fds(self._socket, [wire.frame(message)], fds)


def serve(control: Control, asked: int, decode: Callable[[], None]) -> NoReturn:
    """Fork a process that runs `decode`, each time the parent asks for one, until it hangs up.

    `asked` is how many it has asked for already.
    """
    gc.collect()
    gc.freeze()  # a collection in a decoder would write to all objects, and so copy the pages they share
    server = _Server(control, decode)
    for _ in range(asked):
        server.fork()
    server.run()
    server.end_all()
    sys.exit(0)


class _Server:
    def __init__(self, control: Control, decode: Callable[[], None]) -> None:
        self._control = control
        self._decode = decode
        self._pids: set[int] = set()
        self._woken, wake = os.pipe()
        for fd in (self._woken, wake):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def run(self) -> None:
        """Until the parent hangs up."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self._woken in ready:
                self._reap()
            if self._control.fileno() in ready:
                frames = self._control.frames()
                if frames is None:
                    return
                for _ in frames:  # it asks for nothing but decoders
                    self.fork()

    def end_all(self) -> None:
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
        for pid in self._pids:
            os.waitpid(pid, 0)

    def fork(self) -> None:
        parent, pipes = os.getpid(), self._control.pipes()
        try:
            pid = os.fork()
        except OSError as error:
            self._control.send(wire.NotForked(str(error)))
        else:
            if pid == 0:
                _become_decoder(parent, pipes, self._decode)
            self._pids.add(pid)
            with _handles(pid) as handles:
                self._control.send(wire.Forked(pid), handles)
        for fd in pipes:
            os.close(fd)

    def _reap(self) -> None:
        """Report the exits so far. A pid is free for another process only now, which the parent relies on."""
        with suppress(BlockingIOError):
            while os.read(self._woken, _READ_BYTES):
                pass
        for pid in tuple(self._pids):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._pids.discard(pid)
                self._control.send(wire.Exited(pid, os.waitstatus_to_exitcode(status)))


@contextmanager
def _handles(pid: int) -> Generator[list[int]]:
    """A pidfd, where the platform has them: who holds it never takes another process for this one."""
    handles: list[int] = []
    if sys.platform == "linux":
        with suppress(OSError):  # Linux before 5.3, or a sandbox around us that knows none
            handles.append(os.pidfd_open(pid))
    yield handles
    for fd in handles:
        os.close(fd)


def _become_decoder(parent: int, pipes: list[int], decode: Callable[[], None]) -> NoReturn:
    status = 1
    try:
        lockdown.die_with_parent()
        lockdown.check_parent(parent)
        os.setsid()  # where the kernel groups processes by session, each decoder gets the share of one
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for target, fd in enumerate(pipes):
            os.dup2(fd, target)
        os.closerange(_PIPES, _MOST_FDS)
        decode()
        status = 0
    except lockdown.LockdownError as error:
        print(error, file=sys.stderr)  # noqa: T201 (it is what the parent logs)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)
