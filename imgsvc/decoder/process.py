"""One decoder child, seen from its parent: started, asked, watched, killed."""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from anyio import wait_readable, wait_writable

from imgsvc.decoder import wire
from imgsvc.interpreter import command
from imgsvc.model import Rendered, Rendition
from imgsvc.problems import JobError

OnStep = Callable[[str, int, int], None]
Admit = Callable[[int], Awaitable[None]]
"""Waits until there is room for so many bytes of pixels."""

COMMAND = tuple(command("imgsvc.decoder.child", flags=("-I", "-S", "-W", "ignore")))
"""Without our environment, and without what `site` would run for it: it imports from where we do."""

_START_TIMEOUT_S = 30.0
_END_GRACE_S = 1.0  # between hanging up and being dead
_PIPE_BYTES = 1024 * 1024
_LAST_WORDS_BYTES = 4096
_CAUSES = {-signal.SIGXCPU: "cpu_limit", -signal.SIGKILL: "oom"}
"""Besides us, who says why, it is the kernel that kills."""


class DecoderError(JobError):
    """An image could not be rendered; `code` says why."""


class DecoderStartError(RuntimeError):
    """A decoder child did not come up; the message carries its last words."""


class DecoderGoneError(Exception):
    """The child died before it began on the image; another one can be asked."""


class _HungUpError(Exception):
    """The child closed a pipe."""


class Decoder:
    """A child process that decodes one image at a time.

    The kernel kills the child when the thread that started it ends: start decoders from a thread that stays.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._process = _spawn(command)
        self._requests = _prepare(self._process.stdin)
        self._replies = _prepare(self._process.stdout)
        self._errors = _prepare(self._process.stderr)
        _enlarge(self._requests)
        _enlarge(self._replies)
        self._in_use = asyncio.Lock()
        self._dead = asyncio.Event()
        self._killed_for = ""
        self._last_words = b""
        self._bytes_at_start = 0
        self._watcher = asyncio.create_task(self._watch())
        self.posture = ""
        self.asked = 0

    async def greet(self, greeting: wire.Greeting) -> None:
        """Wait until it is warm and locked down.

        Raises:
            DecoderStartError: it did not get there, and is dead now.
        """
        try:
            async with self._in_use, asyncio.timeout(_START_TIMEOUT_S):
                await _write(self._requests, wire.frame(greeting))
                self.posture = wire.read_hello(await self._header()).posture
        except (_HungUpError, wire.WireError, TimeoutError) as error:
            await self._settle()
            raise DecoderStartError(f"a decoder did not start: {self.obituary()}") from error
        self._bytes_at_start = _resident_bytes(self.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_usable(self) -> bool:
        return not self._killed_for and not self._dead.is_set()

    @property
    def was_killed(self) -> bool:
        """Whether it was its parent that ended it."""
        return bool(self._killed_for)

    @property
    def cause(self) -> str:
        """What ended it, in a word that can be counted."""
        return self._killed_for or _CAUSES.get(self._process.returncode, "crashed")

    def growth_bytes(self) -> int:
        """How much memory it has come to hold since it started; 0 where the platform does not tell."""
        return _resident_bytes(self.pid) - self._bytes_at_start

    def kill(self, cause: str) -> None:
        """End it, whatever it is at. Returns at once; `wait_dead` waits."""
        if self._process.poll() is None:
            self._killed_for = self._killed_for or cause
            self._process.kill()

    async def wait_dead(self) -> None:
        await self._dead.wait()

    async def wait_closed(self) -> None:
        """Wait until it is dead and its pipes are closed."""
        await asyncio.shield(self._watcher)

    def obituary(self) -> str:
        """How it ended, and its last words, fit for a log."""
        words = self._last_words.decode(errors="replace").strip()
        status = self._process.returncode
        how = f"exit status {status}" if status is None or status >= 0 else signal.Signals(-status).name
        return f"{how}; its last words: {words!r}"

    async def render(self, request: wire.Request, source: bytes, on_step: OnStep, admit: Admit) -> Rendered:
        """Have the child make the variants of one image.

        It is of no more use, and is to be killed, when this ends in anything but a return or a DecoderError.

        Raises:
            DecoderError: what is wrong with the image, or decoder_crashed, decoder_oom or decode_timeout for a child
                that died over it.
            DecoderGoneError: it died before it began on the image.
        """
        async with self._in_use:
            self.asked += 1
            try:
                first = await self._ask(request, source)
                reply = await self._reply(first, request, on_step, admit)
                renditions = await self._renditions(reply, request) if isinstance(reply, wire.Done) else ()
            except wire.WireError as error:
                self.kill("bad_reply")
                raise DecoderError("decoder_crashed") from error
            except _HungUpError as error:
                raise DecoderError(await self._cause_of_death()) from error
        if isinstance(reply, wire.Failed):
            raise DecoderError(reply.code)
        return Rendered(reply.original, renditions, reply.placeholder)

    async def _ask(self, request: wire.Request, source: bytes) -> bytes:
        """Hand the image over; the header that comes back first tells that the child has it."""
        try:
            await _write(self._requests, wire.frame(request))
            await _write(self._requests, source)
            return await self._header()
        except _HungUpError as error:
            await self._settle()
            raise DecoderGoneError from error

    async def _reply(
        self, header: bytes, request: wire.Request, on_step: OnStep, admit: Admit
    ) -> wire.Done | wire.Failed:
        has_room = False
        # bounded, or a child that only ever reports steps would keep the event loop to itself
        for _ in range(len(request.variants) + 3):
            match wire.read_reply(header, request):
                case wire.Step(step, done, total):
                    on_step(step, done, total)
                case wire.Need(size_bytes) if not has_room:
                    await admit(size_bytes)
                    has_room = True
                    await _write(self._requests, wire.frame(wire.Go()))
                case wire.Need():  # for what it holds itself it would wait for ever
                    raise wire.WireError("more room than it asked for")
                case reply:
                    return reply
            header = await self._header()
        raise wire.WireError("more steps than there are")

    async def _renditions(self, reply: wire.Done, request: wire.Request) -> tuple[Rendition, ...]:
        made: list[Rendition] = []
        for variant, result in zip(request.variants, reply.results, strict=True):
            data = await _read(self._replies, result.size_bytes)
            made.append(Rendition(variant.name, result.width, result.height, result.format, data))
        return tuple(made)

    async def _header(self) -> bytes:
        length = wire.header_length(await _read(self._replies, wire.PREFIX.size))
        return await _read(self._replies, length)

    async def _cause_of_death(self) -> str:
        await self._settle()
        status = self._process.returncode
        if status == -signal.SIGXCPU:
            return "decode_timeout"
        if status == -signal.SIGKILL and not self._killed_for:
            return "decoder_oom"  # besides us it is the kernel that kills, out of memory
        return "decoder_crashed"

    async def _settle(self) -> None:
        """Wait until it is dead; it gets a moment to die by itself, so that its exit status tells the cause."""
        try:
            async with asyncio.timeout(_END_GRACE_S):
                await self._dead.wait()
        except TimeoutError:
            self.kill("bad_reply")
            await self._dead.wait()

    async def _watch(self) -> None:
        """Listen to stderr until the child is dead; it is the one pipe that is always read, so it tells first."""
        while words := await _read_some(self._errors, _LAST_WORDS_BYTES):
            self._last_words = (self._last_words + words)[-_LAST_WORDS_BYTES:]
        try:
            await asyncio.to_thread(self._process.wait, _END_GRACE_S)
        except subprocess.TimeoutExpired:  # it closed stderr, and lives
            self.kill("bad_reply")
            await asyncio.to_thread(self._process.wait)
        self._dead.set()
        async with self._in_use:  # a file descriptor closed under a reader may be another's by the next read
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
                assert pipe is not None
                pipe.close()


def _spawn(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 (the command is this package's own)
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env={},  # ours holds the S3 keys
        cwd="/",
        start_new_session=True,  # a Ctrl-C on our terminal is ours to handle
    )


def _prepare(pipe: IO[bytes] | None) -> int:
    """Our end of a pipe, made non-blocking."""
    assert pipe is not None
    fd = pipe.fileno()
    os.set_blocking(fd, False)
    return fd


def _enlarge(fd: int) -> None:
    """Let a whole photo into the pipe at once, instead of 64 KiB and a switch between two processes each."""
    if sys.platform == "linux":
        with suppress(PermissionError):  # over the user's quota of pipe memory: it stays as it is
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


async def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            await wait_writable(fd)
        except BrokenPipeError as error:
            raise _HungUpError from error


async def _read(fd: int, size: int) -> bytes:
    """Exactly `size` bytes; memory is taken as they arrive, not as they are announced."""
    parts: list[bytes] = []
    while size:
        part = await _read_some(fd, min(size, _PIPE_BYTES))
        if not part:
            raise _HungUpError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


async def _read_some(fd: int, size: int) -> bytes:
    """Up to `size` bytes; none at the end."""
    while True:
        try:
            return os.read(fd, size)
        except BlockingIOError:
            await wait_readable(fd)


def _resident_bytes(pid: int) -> int:
    if sys.platform != "linux":
        return 0
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it has just died, which its watcher is about to see
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
