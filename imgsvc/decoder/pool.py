"""The decoder pool: children, started as they are needed, each at one image, whose faults cost that image alone."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import Self

from imgsvc.decoder import wire
from imgsvc.decoder.clock import WALL_FACTOR, ImageClock
from imgsvc.decoder.fork_server import ForkServer
from imgsvc.decoder.memory import MemoryLimiter
from imgsvc.decoder.process import COMMAND, Decoder, DecoderError, DecoderGoneError, DecoderStartError, OnStep
from imgsvc.domain.model import Isolation, Limits, Rendered, Variant
from imgsvc.runtime.cores import available_cores

__all__ = ["DecoderError", "DecoderPool", "DecoderStartError"]

MAX_IMAGES_PER_CHILD = 200
MAX_GROWTH_BYTES = 150 * 1024 * 1024
IDLE_S = 60.0
"""Seconds after which a decoder that nobody needed ends."""

_BACK_OFF_S = 0.1
_MAX_BACK_OFF_S = 10.0
_BROKEN_AFTER_STARTS = 3

_NOT_OPEN = "the decoder pool is not open"
_NONE_STARTS = "no decoder starts any more"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Turn:
    """An image that waits for a decoder."""

    owner: str
    decoder: "asyncio.Future[Decoder]"


class DecoderPool:
    """Decoder children, started as images come and replaced as they die. An async context manager.

    One is there from the start, so that a machine on which none comes up is noticed at once, and one is kept fresh
    while others work, so that a burst of images, or another owner's, need not wait for a start.

    Args:
        processes: how many images at a time.
        timeout_s: seconds of CPU that one image may take.
        wall_s: seconds that it may take by the clock, from the moment a child is given it; unset, so many that an
            image which is let compute reaches its CPU time first, however many children share the cores.
        memory_bytes: address space that a child may use.
        room_bytes: memory that the images being decoded may take together, by their headers; further ones wait.
        limits: what an image may be.
        sandbox: `require`, `auto` or `off`; see lockdown.py.
        isolation: whether a child is for one `image`, for the images of one `owner`, or for a `batch` of anybody's.
        command: what to run as a fork server; another one in tests only.
        idle_s: seconds after which a child that nobody needed ends.
        on_death: called with the cause of death, one word, of each child that has to be replaced.

    Enter it on a thread that lives as long as the pool (children die with the thread that started them).
    """

    def __init__(
        self,
        *,
        processes: int,
        timeout_s: float,
        memory_bytes: int,
        total_memory_bytes: int,
        limits: Limits,
        sandbox: str,
        isolation: Isolation = "owner",
        wall_s: float | None = None,
        command: Sequence[str] = COMMAND,
        idle_s: float = IDLE_S,
        on_death: Callable[[str], None] | None = None,
    ) -> None:
        self._processes = processes
        self._timeout_s = timeout_s
        self._wall_s = wall_s or _wall_s(timeout_s, processes)
        self._isolation = isolation
        self._command = tuple(command)
        self._idle_s = idle_s
        self._on_death = on_death or _ignore
        cpu_s = int(2 * timeout_s * MAX_IMAGES_PER_CHILD) + 1
        self._greeting = wire.Greeting(os.getpid(), memory_bytes, cpu_s, sandbox, limits)
        self._memory = MemoryLimiter(total_memory_bytes)
        self._sandbox_status = ""
        self._server: ForkServer | None = None
        self._decoders: dict[Decoder, asyncio.Task[None]] = {}
        self._idle: dict[Decoder, float] = {}
        """Since when, the longest first."""
        self._busy: set[Decoder] = set()
        self._waiting: list[_Turn] = []
        self._lacking = 0
        self._active_at = self._switched_at = -idle_s
        self._starter: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._failures = 0
        self._idle_deaths = 0
        self._closing = asyncio.Event()

    @property
    def sandbox_status(self) -> str:
        """The sandbox status that the children reported: `full`, `partial: no …` or `off`."""
        return self._sandbox_status

    @property
    def is_broken(self) -> bool:
        """Whether no child comes up any more. The pool goes on trying."""
        return self._failures >= _BROKEN_AFTER_STARTS and not self._idle and not self._busy

    async def __aenter__(self) -> Self:
        """Start the first child.

        Raises:
            DecoderStartError: it did not come up; the message says why. None is left behind.
        """
        try:
            await self._start()
        except BaseException:
            await self._close()
            raise
        self._starter = asyncio.create_task(self._start_as_needed())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill all children, whatever they are at, and wait until they are gone."""
        await self._close()

    async def render(
        self,
        source: bytes,
        variants: Sequence[Variant],
        on_step: OnStep | None = None,
        *,
        owner: str = "",
        overlays: Mapping[str, bytes] | None = None,
        keep_location: bool = False,
    ) -> Rendered:
        """Make the variants of one image, once a child is free for it; first come, first served.

        Cancelling it kills the child that is at the image.

        Args:
            source: the image file.
            variants: what to make of it.
            on_step: called as a step begins: its name, and how many of how many steps are done.
            owner: to whom the image belongs.
            overlays: the files of the overlays that the variants use, by their SHA-256.
            keep_location: whether anybody may know where it was taken.

        Raises:
            DecoderError: decode_failed, image_too_large, too_many_frames, unsupported_format, overlay_invalid,
                decode_timeout, decoder_oom or decoder_crashed.
            DecoderStartError: no child comes up any more, which is no fault of this image.
        """
        overlays = overlays or {}
        sizes = tuple(wire.OverlaySize(sha256, len(data)) for sha256, data in overlays.items())
        request = wire.Request(tuple(variants), len(source), sizes, keep_location)
        files = source, *overlays.values()
        for _ in range(self._processes + 2):  # all that are idle may be dead, and not reaped yet
            decoder = await self._check_out("" if self._isolation == "batch" else owner)
            try:
                return await self._render_on(decoder, request, files, on_step or _ignore)
            except DecoderGoneError:  # it died idle, which is no fault of this image
                continue
            finally:
                self._check_in(decoder)
        raise DecoderError("decoder_crashed")

    async def _render_on(
        self, decoder: Decoder, request: wire.Request, files: Sequence[bytes], on_step: OnStep
    ) -> Rendered:
        clock = ImageClock(decoder.cpu_s, self._timeout_s, self._wall_s)
        try:
            async with self._memory.share() as share, clock:

                async def admit(size_bytes: int) -> None:
                    clock.pause_wall()  # waiting for others is no fault of this image
                    await share.acquire(size_bytes)
                    clock.restart_wall()

                return await decoder.render(request, files, on_step, admit)
        except TimeoutError as error:
            decoder.kill("timeout")
            raise DecoderError("decode_timeout") from error
        except (DecoderError, DecoderGoneError):
            raise
        except BaseException:
            decoder.kill("cancelled")
            raise

    async def _check_out(self, owner: str) -> Decoder:
        """A decoder for this owner, now or as soon as those who asked before have had theirs."""
        if self._closing.is_set() or self._starter is None:
            raise RuntimeError(_NOT_OPEN)
        if self.is_broken:
            raise DecoderStartError(_NONE_STARTS)
        turn = _Turn(owner, asyncio.get_running_loop().create_future())
        self._waiting.append(turn)
        self._active_at = monotonic()
        self._assign()
        try:
            return await turn.decoder
        except asyncio.CancelledError:
            if turn.decoder.done() and not turn.decoder.cancelled() and turn.decoder.exception() is None:
                self._check_in(turn.decoder.result())  # given to us in the moment we were cancelled
            raise

    def _check_in(self, decoder: Decoder) -> None:
        self._busy.discard(decoder)
        self._active_at = monotonic()
        spent = decoder.asked >= MAX_IMAGES_PER_CHILD or decoder.growth_bytes() > MAX_GROWTH_BYTES
        if spent or (decoder.asked and self._isolation == "image"):
            decoder.kill("recycled")
        elif decoder.is_usable:
            self._idle[decoder] = monotonic()
        self._assign()

    def _assign(self) -> None:
        """Give the decoders that are free to those who have waited longest, and have started what is lacking."""
        free = self._processes - len(self._busy)
        self._waiting = [turn for turn in self._waiting if not turn.decoder.done()]
        self._lacking = 0
        for turn in self._waiting[: max(free, 0)]:  # who is not served yet has a place all the same
            decoder = self._free_for(turn.owner)
            if decoder is None:
                self._lacking += 1
                continue
            del self._idle[decoder]
            self._busy.add(decoder)
            decoder.owner = turn.owner
            turn.decoder.set_result(decoder)
        if self._lacking and self._idle:
            self._switched_at = monotonic()
        self._wake.set()

    def _free_for(self, owner: str) -> Decoder | None:
        """An idle decoder that has seen this owner's images alone, the latest used first; or else a fresh one."""
        usable = [decoder for decoder in reversed(self._idle) if decoder.is_usable]
        own = [decoder for decoder in usable if decoder.owner == owner]
        return next(iter(own), None) or next((decoder for decoder in usable if decoder.owner is None), None)

    async def _start_as_needed(self) -> None:
        while not self._closing.is_set():
            self._wake.clear()
            self._end_idle()
            if self._wants_another():
                self._make_place()
                await self._try_start()
                self._assign()
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._idle_s / 4):
                        await self._wake.wait()

    def _wants_another(self) -> bool:
        return bool(self._lacking) or not (self._idle or self._busy) or (self._wants_spare() and not self._has_fresh())

    def _wants_spare(self) -> bool:
        """Whether another image may come that no idle decoder may be given."""
        if not self._is_recent(self._active_at) and not self._busy:
            return False
        return len(self._busy) < self._processes > len(self._used()) or self._owners_alternate()

    def _owners_alternate(self) -> bool:
        return self._isolation == "image" or self._is_recent(self._switched_at)

    def _has_fresh(self) -> bool:
        return any(decoder.owner is None for decoder in self._idle)

    def _used(self) -> list[Decoder]:
        """Those that have an owner by now."""
        return [decoder for decoder in (*self._busy, *self._idle) if decoder.owner is not None]

    def _is_recent(self, at: float) -> bool:
        return monotonic() - at < self._idle_s

    def _make_place(self) -> None:
        """End decoders of other owners, those that were idle longest, until another one may be started."""
        most = self._processes + (1 if self._owners_alternate() else 0)
        for decoder in [decoder for decoder in self._idle if decoder.owner is not None]:
            if len(self._busy) + len(self._idle) < most:
                break
            self._retire(decoder, "recycled")

    def _end_idle(self) -> None:
        """End what nobody needed for a while, but the last one."""
        for decoder, since in tuple(self._idle.items()):
            spare = decoder.owner is None and self._wants_spare()
            if not spare and not self._is_recent(since) and len(self._busy) + len(self._idle) > 1:
                self._retire(decoder, "idle")

    def _retire(self, decoder: Decoder, cause: str) -> None:
        del self._idle[decoder]
        decoder.kill(cause)

    async def _try_start(self) -> None:
        if self._idle_deaths:  # they die of nothing; the next one may, too
            self._idle_deaths = 0
            await self._pause(_BACK_OFF_S)
        try:
            await self._start()
        except DecoderStartError as error:
            self._failures += 1
            self._on_death("start_failed")
            self._turn_away_if_broken()
            if not self._closing.is_set():
                _log.error("%s", error)
            await self._pause(min(_BACK_OFF_S * 2**self._failures, _MAX_BACK_OFF_S))
        else:
            self._failures = 0

    async def _start(self) -> None:
        if self._server is None or not self._server.is_alive:
            self._server = ForkServer(self._command, self._greeting)
        decoder = await self._server.fork()
        self._sandbox_status = decoder.sandbox_status
        self._decoders[decoder] = asyncio.create_task(self._reap(decoder))
        self._idle[decoder] = monotonic()

    async def _reap(self, decoder: Decoder) -> None:
        await decoder.wait_dead()
        del self._decoders[decoder]
        self._idle.pop(decoder, None)
        if not self._closing.is_set() and decoder.cause != "idle":
            self._on_death(decoder.cause)
        if not decoder.was_killed:
            self._idle_deaths += not decoder.asked
            _log.warning("decoder %d died: %s", decoder.pid, decoder.exit_report())
        self._wake.set()
        await decoder.wait_closed()

    def _turn_away_if_broken(self) -> None:
        """When no decoder comes up any more, an answer is better than a queue."""
        if self.is_broken:
            self._refuse(DecoderStartError(_NONE_STARTS))

    def _refuse(self, error: Exception) -> None:
        for turn in self._waiting:
            if not turn.decoder.done():
                turn.decoder.set_exception(error)

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than the pool is open."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    async def _close(self) -> None:
        self._closing.set()
        self._wake.set()
        self._refuse(RuntimeError(_NOT_OPEN))
        ends = tuple(self._decoders.values())
        for decoder in tuple(self._decoders):
            decoder.kill("closing")
        if self._server is not None:
            await self._server.close()
        if self._starter is not None:
            await self._starter
        await asyncio.gather(*ends)


def _wall_s(timeout_s: float, processes: int) -> float:
    if sys.platform != "linux":  # where the parent cannot read its children's CPU time, the wall is all there is
        return timeout_s
    return timeout_s * WALL_FACTOR * max(1.0, processes / available_cores())


def _ignore(*_: object) -> None:
    """For callers who do not want to know."""
