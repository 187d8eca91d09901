"""Request bodies as they are sent: in slices, each of which puts the deadline of its call off."""

import asyncio
import io
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any

from imgsvc.runtime.settings import MIB

PART_BYTES = 8 * MIB
"""Size of an upload's parts. Two of them, one on its way and one filling, are all that an upload holds in memory."""

_SLICE_BYTES = 256 * 1024
_on_sent: ContextVar[Callable[[int], None]] = ContextVar("on_sent")
"""Told by a body how much of it is sent. aiohttp sends it in a task of its own, which inherits the caller's."""


def put_off_while_sent(deadline: asyncio.Timeout, timeout_s: float) -> None:
    """Puts `deadline` off as long as a body that is sent from here on gets ahead."""
    _on_sent.set(partial(_put_off, deadline, timeout_s))


def send_in_slices(request: Any, **_: Any) -> None:
    """Hands aiohttp a body as bytes, and a large one in slices.

    botocore wraps bytes in a file, which aiohttp reads in a thread, 64 KiB at a time; a large body given at once
    is copied behind the headers.
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
        """botocore rewinds a body before it is sent again; this one begins anew by itself."""


def _put_off(deadline: asyncio.Timeout, timeout_s: float, sent: int) -> None:
    """What is sent may still stand in the sockets' buffers, so the more it is, the longer its answer may take."""
    with suppress(RuntimeError):  # it has passed already
        deadline.reschedule(asyncio.get_running_loop().time() + timeout_s * (1 + sent / PART_BYTES))
