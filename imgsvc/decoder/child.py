"""The decoders' program, which process.COMMAND starts: a fork server and the decoders it forks.

A decoder takes one image at a time, until its parent hangs up. It is the only process that ever looks into an image, so
it is made to be worthless to whoever takes it over: its environment is empty, and before the first image it gives up
opening, connecting and starting anything.
"""

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO

from imgsvc.decoder import forking, lockdown, wire
from imgsvc.domain.model import Limits, Rendered, Variant
from imgsvc.domain.problems import JobError
from imgsvc.imaging.render import Admit, OnStep, render
from imgsvc.imaging.warmup import warm_up

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEEP_BYTES = 128 * 1024 * 1024

Render = Callable[[bytes, Sequence[Variant], Limits, OnStep, Admit, Mapping[str, bytes], bool], Rendered]


class Channel:
    """The two pipes to the parent, moved away from stdin and stdout."""

    def __init__(self) -> None:
        self._requests: BinaryIO = os.fdopen(os.dup(0), "rb")
        self._replies = os.dup(1)
        _point_at_null(0)
        os.dup2(2, 1)  # a stray print must not end up between two frames

    def receive_header(self) -> bytes | None:
        """The next frame's header, or None once the parent has hung up."""
        prefix = self._requests.read(wire.PREFIX.size)
        return self.receive(wire.header_length(prefix)) if prefix else None

    def receive(self, size: int) -> bytes:
        data = self._requests.read(size)
        if len(data) < size:
            raise EOFError("the parent hung up within a frame")
        return data

    def send(self, message: wire.Message, *payload: bytes) -> None:
        for part in (wire.frame(message), *payload):
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(self._replies, rest) :]


def main(render: Render = render) -> None:
    """Be the fork server of the parent at the socket that is stdin; `render` is another one in tests only."""
    lockdown.die_with_parent()
    control = forking.Control()
    frames: list[bytes] = []
    while not frames:
        received = control.frames()
        if received is None:
            return
        frames += received
    greeting = wire.read_greeting(frames[0])
    lockdown.check_parent(greeting.parent)
    _keep_freed_memory()
    warm_up()
    forking.serve(control, len(frames) - 1, lambda: decode(greeting, render))


def decode(greeting: wire.Greeting, render: Render) -> None:
    """Be a decoder: lock this process down, and serve the parent at stdin and stdout until it hangs up."""
    channel = Channel()
    sandbox_status = lockdown.lock(greeting.sandbox, memory_bytes=greeting.memory_bytes, cpu_s=greeting.cpu_s)
    channel.send(wire.Hello(sandbox_status))
    while (raw := channel.receive_header()) is not None:
        _serve(channel, wire.read_request(raw), greeting.limits, render)


def _serve(channel: Channel, request: wire.Request, limits: Limits, render: Render) -> None:
    def on_step(step: str, done: int, total: int) -> None:
        channel.send(wire.Step(step, done, total))

    def admit(size_bytes: int) -> None:
        channel.send(wire.Need(size_bytes))
        if channel.receive_header() is None:
            raise EOFError("the parent hung up before there was room")

    source = channel.receive(request.source_bytes)
    overlays = {overlay.sha256: channel.receive(overlay.size_bytes) for overlay in request.overlays}
    try:
        rendered = render(source, request.variants, limits, on_step, admit, overlays, request.keep_location)
    except JobError as error:
        channel.send(wire.Failed(error.code))
    except MemoryError:
        channel.send(wire.Failed("decoder_oom"))
    else:
        results = tuple(
            wire.Result(r.variant, r.width, r.height, r.format, len(r.data), r.quality, r.fits, r.set_width)
            for r in rendered.renditions
        )
        done = wire.Done(rendered.original, results, rendered.placeholder, rendered.warnings)
        channel.send(done, *(r.data for r in rendered.renditions))


def _keep_freed_memory() -> None:
    """Makes glibc use the same memory for the next image, instead of giving it back and asking for it anew.

    Each page that comes anew costs a fault: 3600 of them, 8 ms, for a photograph of 6 megapixels.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc alone has it
        mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES // 4)
        mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)


def _point_at_null(fd: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, fd)
    os.close(null)


if __name__ == "__main__":
    main()
