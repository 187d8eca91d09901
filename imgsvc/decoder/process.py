"""One decoder, seen from its parent: asked, watched, killed."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from imgsvc.decoder import pipes, wire
from imgsvc.decoder.pipes import HungUpError
from imgsvc.domain.model import Rendered, Rendition
from imgsvc.domain.problems import JobError
from imgsvc.domain.sets import max_files
from imgsvc.runtime.interpreter import command

OnStep = Callable[[str, int, int], None]
Admit = Callable[[int], Awaitable[None]]
"""Waits until there is room for so many bytes of pixels."""

COMMAND = tuple(command("imgsvc.decoder.child", flags=("-I", "-S", "-W", "ignore")))
"""Without our environment, and without what `site` would run for it: it imports from where we do."""

START_TIMEOUT_S = 30.0
_END_GRACE_S = 1.0  # between hanging up and being dead
_CAUSES = {-signal.SIGXCPU: "cpu_limit", -signal.SIGKILL: "oom"}
"""Only this process, which records why, and the kernel kill a child."""


class DecoderError(JobError):
    """An image could not be rendered; `code` says why."""


class DecoderStartError(RuntimeError):
    """A decoder did not come up; the message carries the last lines of its stderr."""


class DecoderGoneError(Exception):
    """The child died before it began on the image; another one can be asked."""


class Decoder:
    """A child process that decodes one image at a time.

    Args:
        pid: its number, which it keeps until `exit_status` is set.
        pidfd: a handle on it where the platform has such.
        exit_status: its exit status as the fork server reports it: as subprocess's returncode, or None where unknown.
        requests, replies, errors: our ends of its pipes; closed once it is dead.
    """

    def __init__(
        self,
        pid: int,
        pidfd: int | None,
        exit_status: "asyncio.Future[int | None]",
        requests: int,
        replies: int,
        errors: int,
    ) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._exit_status = exit_status
        self._requests, self._replies, self._errors = requests, replies, errors
        self._stderr = pipes.Stderr(errors)
        self._in_use = asyncio.Lock()
        self._dead = asyncio.Event()
        self._killed_for = ""
        self._bytes_at_start = 0
        self._watcher = asyncio.create_task(self._watch())
        self.sandbox_status = ""
        self.asked = 0
        self.owner: str | None = None
        """The only owner that it gets images of; None before the first image."""

    async def greet(self) -> None:
        """Wait until it is locked down.

        Raises:
            DecoderStartError: it did not get there, and is dead now.
        """
        try:
            async with self._in_use, asyncio.timeout(START_TIMEOUT_S):
                self.sandbox_status = wire.read_hello(await self._header()).sandbox_status
        except (HungUpError, wire.WireError, TimeoutError) as error:
            await self._settle()
            raise DecoderStartError(f"a decoder did not start: {self.exit_report()}") from error
        self._bytes_at_start = _resident_bytes(self.pid)

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
        return self._killed_for or _CAUSES.get(self._status or 0, "crashed")

    @property
    def _status(self) -> int | None:
        return self._exit_status.result() if self._exit_status.done() else None

    def growth_bytes(self) -> int:
        """How much memory it has come to hold since it started; 0 where the platform does not report it."""
        return _resident_bytes(self.pid) - self._bytes_at_start

    def cpu_s(self) -> float:
        """CPU time of all its threads together; 0 where the platform does not report it, or once dead."""
        if sys.platform != "linux" or self._exit_status.done():
            return 0.0
        with suppress(OSError):
            return time.clock_gettime(~self.pid << 3 | 2)  # clock_getcpuclockid(3), which Python does not have
        return 0.0

    def kill(self, cause: str) -> None:
        """End it, whatever it is at. Returns at once; `wait_dead` waits."""
        if self._dead.is_set() or self._exit_status.done():
            return
        self._killed_for = self._killed_for or cause
        with suppress(ProcessLookupError):
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            else:  # its number can be another's only between its end and our hearing of it
                os.kill(self.pid, signal.SIGKILL)

    async def wait_dead(self) -> None:
        await self._dead.wait()

    async def wait_closed(self) -> None:
        """Wait until it is dead and its pipes are closed."""
        await asyncio.shield(self._watcher)

    def exit_report(self) -> str:
        """How it ended, and the end of its stderr, fit for a log."""
        status = self._status
        how = signal.Signals(-status).name if status is not None and status < 0 else f"exit status {status}"
        return f"{how}; stderr tail: {self._stderr.tail!r}"

    async def render(self, request: wire.Request, files: Sequence[bytes], on_step: OnStep, admit: Admit) -> Rendered:
        """Have the child make the variants of one image. `files` are the image and the overlays that `request` lists.

        It is of no more use, and is to be killed, when this ends in anything but a return or a DecoderError.

        Raises:
            DecoderError: what is wrong with the image, or decoder_crashed, decoder_oom or decode_timeout for a child
                that died over it.
            DecoderGoneError: it died before it began on the image.
        """
        async with self._in_use:
            self.asked += 1
            self._stderr.reset()
            try:
                first = await self._ask(request, files)
                reply = await self._reply(first, request, on_step, admit)
                renditions = await self._renditions(reply) if isinstance(reply, wire.Done) else ()
            except wire.WireError as error:
                self.kill("bad_reply")
                raise DecoderError("decoder_crashed") from error
            except HungUpError as error:
                raise DecoderError(await self._cause_of_death()) from error
        if isinstance(reply, wire.Failed):
            raise DecoderError(reply.code)
        return Rendered(reply.original, renditions, reply.placeholder, reply.warnings)

    async def _ask(self, request: wire.Request, files: Sequence[bytes]) -> bytes:
        """Hand the image over; the first header that comes back shows that the child has it."""
        try:
            self._expect_silence()
            for part in (wire.frame(request), *files):
                await pipes.write(self._requests, part)
            return await self._header()
        except HungUpError as error:
            await self._settle()
            raise DecoderGoneError from error

    def _expect_silence(self) -> None:
        """Unsolicited output must not be taken for the reply to the next request."""
        if self._dead.is_set() or not pipes.is_silent(self._replies):
            self.kill("bad_reply")
            raise HungUpError

    async def _reply(
        self, header: bytes, request: wire.Request, on_step: OnStep, admit: Admit
    ) -> wire.Done | wire.Failed:
        has_room = False
        # bounded, or a child that only ever reports steps would keep the event loop to itself
        for _ in range(max_files(request.variants) + 3):
            match wire.read_reply(header, request):
                case wire.Step(step, done, total):
                    on_step(step, done, total)
                case wire.Need(size_bytes) if not has_room:
                    await admit(size_bytes)
                    has_room = True
                    await pipes.write(self._requests, wire.frame(wire.Go()))
                case wire.Need():  # for what it holds itself it would wait for ever
                    raise wire.WireError("more room than it asked for")
                case reply:
                    return reply
            header = await self._header()
        raise wire.WireError("more steps than there are")

    async def _renditions(self, reply: wire.Done) -> tuple[Rendition, ...]:
        made: list[Rendition] = []
        for result in reply.results:
            data = await pipes.read(self._replies, result.size_bytes)
            size, notes = (result.width, result.height), (result.quality, result.fits, result.set_width)
            made.append(Rendition(result.variant, *size, result.format, data, *notes))
        return tuple(made)

    async def _header(self) -> bytes:
        length = wire.header_length(await pipes.read(self._replies, wire.PREFIX.size))
        return await pipes.read(self._replies, length)

    async def _cause_of_death(self) -> str:
        await self._settle()
        if self._killed_for:
            return "decoder_crashed"
        if self._status == -signal.SIGXCPU:
            return "decode_timeout"
        if self._status == -signal.SIGKILL:
            return "decoder_oom"  # besides us it is the kernel that kills, out of memory
        return "decoder_crashed"

    async def _settle(self) -> None:
        """Wait until it is dead; it gets a moment to end by itself, so that its exit status shows the cause."""
        try:
            async with asyncio.timeout(_END_GRACE_S):
                await self._dead.wait()
        except TimeoutError:
            self.kill("bad_reply")
            await self._dead.wait()

    async def _watch(self) -> None:
        """Listen to stderr until the child is dead; it is the one pipe that is always read, so it closes first."""
        if not await self._stderr.read():
            self.kill("bad_reply")
        if not self._killed_for:
            await asyncio.wait([self._exit_status], timeout=_END_GRACE_S)
            self.kill("bad_reply")  # it closed stderr, and lives; of no effect where it is dead
        self._dead.set()
        async with self._in_use:  # a file descriptor closed under a reader may be another's by the next read
            pipes.close((self._requests, self._replies, self._errors))
            if self._pidfd is not None:
                os.close(self._pidfd)


def _resident_bytes(pid: int) -> int:
    if sys.platform != "linux":
        return 0
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except OSError:
        return 0  # it has just died, which its watcher is about to see; or we are out of file descriptors
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
