"""The protocol of a connection to a host that a client named: bounds what its answer costs the event loop.

aiohttp parses all that one read brings before it returns, and queues every head of an answer without a limit. uvloop
hands over megabytes at a time, so that a host that floods interim answers (1xx) stopped the worker's event loop for
2.9 s at a time, and took 65 MiB of memory and more, until the deadline of the fetch. Therefore

* data is parsed in slices of SLICE_BYTES, and the bounds are checked after each of them;
* an answer has at most MAX_HEADS heads;
* what is not body (heads, chunk sizes and extensions, trailers) takes at most MAX_OVERHEAD_BYTES, and a quarter of the
  body's bytes more: a body in chunks of one byte costs seconds of CPU for each megabyte.

While a transport with TLS is paused, uvloop drops what it holds when the host closes the connection: one in seven
answers of a fast host broke off. Therefore the bounds do not pause it, and a body's buffer is so large that aiohttp
does not pause it either for a reader that keeps up.

This overrides parts of aiohttp that are not public; test_outbound_hostile.py compares them with the installed version.
"""

import asyncio
from collections import deque
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

SLICE_BYTES = 32 * 1024
MAX_HEADS = 16
MAX_OVERHEAD_BYTES = 128 * 1024
_BODY_PER_OVERHEAD = 4
_BUFFER_BYTES = 4 * 1024 * 1024  # aiohttp pauses at twice as much: what uvloop reads in one pass of the event loop


class BoundedResponseHandler(ResponseHandler):
    """Reads one answer in slices, and aborts the connection when the answer exceeds a bound."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._pending: deque[bytes] = deque()  # received and not parsed: the body's reader is slower than its host
        self._parsed_bytes = 0
        self._heads = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # connecting to a free port of the machine's ephemeral range may choose that very port as the source
        if transport.get_extra_info("sockname") == transport.get_extra_info("peername"):
            self._abort("the connection leads to its own socket")

    def data_received(self, data: bytes) -> None:
        """Parses what is received; aiohttp resumes its parser with empty `data`."""
        if self._parser is None:  # no request is sent yet: aiohttp keeps the data, up to a bound of its own
            super().data_received(data)
            return
        if not data:
            self._parse(b"")
        self._pending.extend(data[at : at + SLICE_BYTES] for at in range(0, len(data), SLICE_BYTES))
        while self._pending and not self._reading_paused:
            self._parse(self._pending.popleft())

    def connection_lost(self, exc: BaseException | None) -> None:
        while self._pending:  # the host has closed before the reader got so far
            self._parse(self._pending.popleft())
        super().connection_lost(exc)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Takes one head, and the stream of its body, from aiohttp's parser."""
        self._heads += 1
        data[1].set_read_chunk_size(_BUFFER_BYTES)
        super().feed_data(data, size)

    def _parse(self, data: bytes) -> None:
        if self.transport is None or self.exception() is not None:
            self._pending.clear()
            return
        super().data_received(data)
        self._parsed_bytes += len(data)
        body_bytes = self._payload.total_bytes if self._payload is not None else 0
        if self._heads > MAX_HEADS:
            self._abort(f"the answer has more than {MAX_HEADS} heads")
        elif self._parsed_bytes - body_bytes > MAX_OVERHEAD_BYTES + body_bytes // _BODY_PER_OVERHEAD:
            self._abort("the answer consists of little else than heads, chunk headers and trailers")

    def _abort(self, reason: str) -> None:
        error = aiohttp.ClientPayloadError(reason)
        self.set_exception(error)
        if self._payload is not None:
            self._payload.set_exception(error)
        if self.transport is not None:
            self.transport.abort()
