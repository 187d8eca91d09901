"""Request bodies as they are sent: in slices, each of which extends the deadline of its call."""

import asyncio
import io
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any

from imgsvc.runtime.settings import MIB

PART_BYTES = 8 * MIB
"""Size of an upload's parts. An upload holds at most two in memory, one being sent and one being filled."""

_SLICE_BYTES = 256 * 1024
_on_sent: ContextVar[Callable[[int], None]] = ContextVar("on_sent")
"""Called by a body with the bytes sent. aiohttp sends it in a separate task, which inherits the caller's context."""


def extend_while_sent(deadline: asyncio.Timeout, timeout_s: float) -> None:
    """Extends `deadline` while the body of the next request is being sent."""
    _on_sent.set(partial(_extend, deadline, timeout_s))


def send_in_slices(request: Any, **_: Any) -> None:
    """Passes a body to aiohttp as bytes, or in slices if it is large.

    botocore wraps bytes in a file, which aiohttp reads in a thread, 64 KiB at a time; a large body given at once
    is copied after the headers.
    """
    body = request.body.getvalue() if isinstance(request.body, io.BytesIO) else request.body
    request.body = _Slices(body) if body and len(body) > _SLICE_BYTES else body


class _Slices:
    def __init__(self, body: bytes | bytearray) -> None:
        self._body = memoryview(body)

    async def __aiter__(self) -> AsyncGenerator[memoryview]:
        for at in range(0, len(self._body), _SLICE_BYTES):
            yield self._body[at : at + _SLICE_BYTES]
            _on_sent.get()(at)

    def seek(self, _: int) -> None:
        """botocore rewinds a body before it is sent again; this one starts over by itself."""


def _extend(deadline: asyncio.Timeout, timeout_s: float, sent: int) -> None:
    """Extends the deadline: sent bytes may still be in socket buffers, so the more are sent, the later the answer."""
    with suppress(RuntimeError):  # the deadline has passed
        deadline.reschedule(asyncio.get_running_loop().time() + timeout_s * (1 + sent / PART_BYTES))
