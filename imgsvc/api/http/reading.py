"""How much is read from a connection: no more than its request needs, so that the rest waits with the kernel.

kernel ──────▶ SizedReads ──────▶ RequestEnds ──────▶ parser ──────▶ handler
(its window)   as many bytes      cut at the end      body on demand
               as are due         of the request
"""

import asyncio
import re
from collections.abc import Callable

from uvicorn.protocols.http.flow_control import FlowControl

HEAD_READ_BYTES = 16 * 1024
"""Bytes that may come with one read of a head, and so wait behind the request that it begins."""

BODY_READ_BYTES = 256 * 1024

_LINE_END = b"\r\n"
_EMPTY_LINE = b"\r\n\r\n"
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}(?=[;\r \t])")


class SizedReads(asyncio.BufferedProtocol):
    """Passes on what a transport reads, in reads of the size that is due.

    Args:
        protocol: receives the bytes, and all other events.
        size: how many bytes may be read now, at most BODY_READ_BYTES.
    """

    _buffer = memoryview(bytearray(BODY_READ_BYTES))  # one for all connections: each read is passed on at once

    def __init__(self, protocol: asyncio.Protocol, size: Callable[[], int]) -> None:
        self._size = size
        self._receive = protocol.data_received
        self.connection_lost = protocol.connection_lost
        self.eof_received = protocol.eof_received
        self.pause_writing = protocol.pause_writing
        self.resume_writing = protocol.resume_writing

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer[: self._size()]

    def buffer_updated(self, nbytes: int) -> None:
        self._receive(bytes(self._buffer[:nbytes]))


class DemandFlow(FlowControl):
    """Reads on only when what came before is used up.

    Args:
        has_enough: whether bytes are there that nobody has taken yet.
    """

    def __init__(self, transport: asyncio.Transport, has_enough: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._has_enough = has_enough

    def resume_reading(self) -> None:
        if not self._has_enough():
            super().resume_reading()


class RequestEnds:
    """Finds where a request may end in what has come.

    httptools parses all that it is given, however many requests that are. The end of a head is an empty line, and that
    of a body is known by its length or by the sizes of its chunks. Whether any of it is valid, the parser decides.
    """

    def __init__(self) -> None:
        self._left: int | None = 0
        """Bytes that are left of a body; 0 in a head, None in a chunked body."""
        self._chunk_left = 0
        self._taken = 0

    def begin_body(self, length: int | None) -> None:
        """A head is complete, and this many bytes follow it; None where they come in chunks."""
        self._left = length
        self._chunk_left = self._taken = 0

    def end_body(self) -> None:
        self._left = 0

    def next(self, data: bytes, start: int) -> int:
        """Up to where `data` can be parsed from `start` on, not beyond the end of a head or a body.

        What cannot be told apart yet, such as half of an empty line, is left until more has come.
        """
        if self._left is None:
            end = self._next_in_chunks(data, start)
        elif self._left:
            end = min(len(data), start + self._left)
            self._left -= end - start
        else:
            return _end_of_lines(data, start)
        self._taken += end - start
        return end

    def read_bytes(self) -> int:
        """How many bytes to read at once: of a chunked body, any of which may be the last, no more than came before."""
        due = max(HEAD_READ_BYTES, self._taken) if self._left is None else self._left
        return min(due, BODY_READ_BYTES) or HEAD_READ_BYTES

    def _next_in_chunks(self, data: bytes, start: int) -> int:
        at = start + self._chunk_left
        while at < len(data):
            line_end = data.find(_LINE_END, at)
            if line_end < 0:
                break
            size = _CHUNK_SIZE.match(data, at)
            if size is None:
                return len(data)  # which the parser refuses
            if not int(size[0], 16):
                end = data.find(_EMPTY_LINE, line_end)
                if end < 0:
                    break
                at = end + len(_EMPTY_LINE)
                self._chunk_left = 0
                return at
            at = line_end + int(size[0], 16) + 2 * len(_LINE_END)
        self._chunk_left = max(0, at - len(data))
        return min(at, len(data))


def _end_of_lines(data: bytes, start: int) -> int:
    """Behind the next empty line; or else before what may become one."""
    found = data.find(_EMPTY_LINE, start)
    if found >= 0:
        return found + len(_EMPTY_LINE)
    end = len(data)
    for size in (3, 2, 1):
        if data.endswith(_EMPTY_LINE[:size], start):
            return end - size
    return end
