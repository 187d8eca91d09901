"""The parent's ends of the pipes to a decoder: never blocking, and bounded in what they take."""

import fcntl
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from anyio import wait_readable, wait_writable

PIPE_BYTES = 1024 * 1024
STDERR_BYTES = 256 * 1024
"""What a process may write to its stderr for one image. Honest ones write nothing, or a traceback."""

_TAIL_BYTES = 4096


class HungUpError(Exception):
    """The child closed a pipe."""


def enlarge(fd: int) -> None:
    """Let a whole photo into the pipe at once, instead of 64 KiB and a switch between two processes each."""
    if sys.platform == "linux":
        with suppress(PermissionError):  # over the user's quota of pipe memory: it stays as it is
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


async def write(fd: int, data: bytes) -> None:
    """Write all of `data`.

    Raises:
        HungUpError: nobody reads it any more.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            await wait_writable(fd)
        except BrokenPipeError as error:
            raise HungUpError from error


async def read(fd: int, size: int) -> bytes:
    """Exactly `size` bytes; memory is taken as they arrive, not as they are announced.

    Raises:
        HungUpError: there are fewer.
    """
    parts: list[bytes] = []
    while size:
        part = await read_some(fd, min(size, PIPE_BYTES))
        if not part:
            raise HungUpError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


async def read_some(fd: int, size: int) -> bytes:
    """Up to `size` bytes; none at the end."""
    while True:
        try:
            return os.read(fd, size)
        except BlockingIOError:
            await wait_readable(fd)


def is_silent(fd: int) -> bool:
    """Whether the pipe is open and has nothing to read."""
    try:
        os.read(fd, 1)
    except BlockingIOError:
        return True
    return False


class Stderr:
    """A process's stderr: read to its end, or until there is too much; its last lines are kept."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._tail = b""
        self._left = STDERR_BYTES

    @property
    def tail(self) -> str:
        return self._tail.decode(errors="replace").strip()

    def reset(self) -> None:
        """Begin to count anew."""
        self._left = STDERR_BYTES

    async def read(self) -> bool:
        """Read it to its end. Returns early, and False, once there is more than a process may write."""
        while part := await read_some(self._fd, _TAIL_BYTES):
            self._tail = (self._tail + part)[-_TAIL_BYTES:]
            self._left -= len(part)
            if self._left < 0:
                return False
        return True


def make(count: int) -> list[tuple[int, int]]:
    """Pipes, each as its end to read and its end to write.

    Raises:
        OSError: there cannot be so many. None is left behind.
    """
    made: list[tuple[int, int]] = []
    try:
        for _ in range(count):
            made.append(os.pipe())
    except OSError:
        close([fd for pair in made for fd in pair])
        raise
    return made


def close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
