"""The decoder pool: as many children as asked for, each at one image; what one image does, it does to itself alone."""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from imgsvc.decoder import wire
from imgsvc.decoder.process import COMMAND, Decoder, DecoderError, DecoderGoneError, DecoderStartError, OnStep
from imgsvc.decoder.room import Room
from imgsvc.model import Limits, Rendered, Variant

__all__ = ["DecoderError", "DecoderPool", "DecoderStartError"]

MAX_IMAGES_PER_CHILD = 200
MAX_GROWTH_BYTES = 150 * 1024 * 1024

_BACK_OFF_S = 0.1
_MAX_BACK_OFF_S = 10.0
_BROKEN_AFTER_STARTS = 3

_NOT_OPEN = "the decoder pool is not open"
_NONE_STARTS = "no decoder starts any more"

_log = logging.getLogger(__name__)


class DecoderPool:
    """Decoder children, started beforehand and replaced as they die. An async context manager.

    Args:
        processes: how many children, and so how many images at a time.
        wall_s: seconds that one image may take, from the moment a child is given it.
        memory_bytes: address space that a child may use.
        room_bytes: memory that the images being decoded may take together, by their headers; further ones wait.
        limits: what an image may be.
        sandbox: `require`, `auto` or `off`; see lockdown.py.
        command: what to run as a child; another one in tests only.
        on_death: hears what ended each child that has to be replaced, in one word.

    Enter it on a thread that lives as long as the pool (children die with the thread that started them).
    """

    def __init__(
        self,
        *,
        processes: int,
        wall_s: float,
        memory_bytes: int,
        room_bytes: int,
        limits: Limits,
        sandbox: str,
        command: Sequence[str] = COMMAND,
        on_death: Callable[[str], None] | None = None,
    ) -> None:
        self._processes = processes
        self._wall_s = wall_s
        self._command = tuple(command)
        self._on_death = on_death or _ignore
        cpu_s = int(2 * wall_s * MAX_IMAGES_PER_CHILD) + 1
        self._greeting = wire.Greeting(os.getpid(), memory_bytes, cpu_s, sandbox, limits)
        self._room = Room(room_bytes)
        self._posture = ""
        self._decoders: set[Decoder] = set()
        self._idle: deque[Decoder] = deque()
        self._waiting: deque[asyncio.Future[Decoder]] = deque()
        self._keepers: list[asyncio.Task[None]] = []
        self._failing = 0
        self._closing = asyncio.Event()

    @property
    def posture(self) -> str:
        """What the children said of their sandbox: `full`, `partial: no …` or `off`."""
        return self._posture

    @property
    def is_broken(self) -> bool:
        """Whether no child comes up any more. The pool goes on trying."""
        return self._failing == self._processes

    async def __aenter__(self) -> Self:
        """Start all children at once.

        Raises:
            DecoderStartError: one did not come up; the message says why. None is left behind.
        """
        try:
            started = await asyncio.gather(*(self._start() for _ in range(self._processes)))
        except BaseException:
            await self._close()
            raise
        for decoder in started:
            self._offer(decoder)
            self._keepers.append(asyncio.create_task(self._keep(decoder)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill all children, whatever they are at, and wait until they are gone."""
        await self._close()

    async def render(self, source: bytes, variants: Sequence[Variant], on_step: OnStep | None = None) -> Rendered:
        """Make the variants of one image, once a child is free for it; first come, first served.

        Cancelling it kills the child that is at the image.

        Args:
            source: the image file.
            variants: what to make of it.
            on_step: called as a step begins: its name, and how many of how many steps are done.

        Raises:
            DecoderError: decode_failed, image_too_large, too_many_frames, unsupported_format, decode_timeout,
                decoder_oom or decoder_crashed.
            DecoderStartError: no child comes up any more, which is no fault of this image.
        """
        request = wire.Request(tuple(variants), len(source))
        for _ in range(self._processes + 1):  # all that are idle may be dead, and not buried yet
            decoder = await self._check_out()
            with suppress(DecoderGoneError):  # it died idle, which is no fault of this image
                return await self._render_on(decoder, request, source, on_step or _ignore)
        raise DecoderError("decoder_crashed")

    async def _render_on(self, decoder: Decoder, request: wire.Request, source: bytes, on_step: OnStep) -> Rendered:
        try:
            async with self._room.guest() as guest, asyncio.timeout(self._wall_s) as wall:

                async def admit(size_bytes: int) -> None:
                    wall.reschedule(None)  # waiting for others is no fault of this image
                    await guest.take(size_bytes)
                    wall.reschedule(asyncio.get_running_loop().time() + self._wall_s)

                rendered = await decoder.render(request, source, on_step, admit)
        except TimeoutError as error:
            decoder.kill("timeout")
            raise DecoderError("decode_timeout") from error
        except DecoderError:
            self._check_in(decoder)
            raise
        except BaseException:
            decoder.kill("cancelled")
            raise
        self._check_in(decoder)
        return rendered

    async def _check_out(self) -> Decoder:
        """An idle decoder, now or as soon as those who asked before have had theirs."""
        if self._closing.is_set() or not self._keepers:
            raise RuntimeError(_NOT_OPEN)
        if self._idle:
            return self._idle.popleft()
        if self.is_broken:
            raise DecoderStartError(_NONE_STARTS)
        turn: asyncio.Future[Decoder] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._offer(turn.result())  # given to us in the moment we were cancelled
            raise

    def _check_in(self, decoder: Decoder) -> None:
        spent = decoder.asked >= MAX_IMAGES_PER_CHILD or decoder.growth_bytes() > MAX_GROWTH_BYTES
        if spent or not decoder.is_usable:
            decoder.kill("recycled")
        else:
            self._offer(decoder)

    def _offer(self, decoder: Decoder) -> None:
        """Give a free decoder to whoever has waited longest, or keep it idle."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(decoder)
                return
        self._idle.append(decoder)

    async def _start(self) -> Decoder:
        try:
            decoder = Decoder(self._command)
        except OSError as error:
            raise DecoderStartError(f"a decoder did not start: cannot run {self._command[0]}: {error}") from error
        self._decoders.add(decoder)  # before it is up: closing must find it
        await decoder.greet(self._greeting)
        self._posture = decoder.posture
        return decoder

    async def _keep(self, decoder: Decoder | None) -> None:
        """Keep one place in the pool filled for as long as the pool is open."""
        while decoder is not None:
            await decoder.wait_dead()
            self._bury(decoder)
            if not decoder.asked:  # it died of nothing; the next one may, too
                await self._pause(_BACK_OFF_S)
            decoder = await self._replace()
            if decoder is not None:
                self._offer(decoder)

    def _bury(self, decoder: Decoder) -> None:
        self._decoders.discard(decoder)
        if decoder in self._idle:
            self._idle.remove(decoder)
        if not self._closing.is_set():
            self._on_death(decoder.cause)
        if not decoder.was_killed:
            _log.warning("decoder %d died: %s", decoder.pid, decoder.obituary())

    async def _replace(self) -> Decoder | None:
        """Another decoder, however many attempts it takes; None once the pool closes."""
        failures = 0
        while not self._closing.is_set():
            try:
                decoder = await self._start()
            except DecoderStartError as error:
                failures += 1
                self._on_death("start_failed")
                if failures == _BROKEN_AFTER_STARTS:
                    self._failing += 1
                    self._turn_away_if_broken()
                if not self._closing.is_set():
                    _log.error("%s", error)
                await self._pause(min(_BACK_OFF_S * 2**failures, _MAX_BACK_OFF_S))
            else:
                if failures >= _BROKEN_AFTER_STARTS:
                    self._failing -= 1
                return decoder
        return None

    def _turn_away_if_broken(self) -> None:
        """When no decoder comes up any more, an answer is better than a queue."""
        while self.is_broken and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(DecoderStartError(_NONE_STARTS))

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than the pool is open."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    async def _close(self) -> None:
        self._closing.set()
        decoders = tuple(self._decoders)
        for decoder in decoders:
            decoder.kill("closing")
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(RuntimeError(_NOT_OPEN))
        await asyncio.gather(*self._keepers, *(decoder.wait_closed() for decoder in decoders))


def _ignore(*_: object) -> None:
    """For callers who do not want to know."""
