"""HTTP/1.1 below the application: httptools' strict parser, with deadlines and limits for everything a client does.

    connect ──────▶ head ──────▶ body ──────▶ answer ──────▶ keep-alive, and the next head
            header_timeout_s     body.py         send_idle_timeout_s  KEEP_ALIVE_S
            max_header_bytes     (idle, rate)

What is refused here is a problem document too, and the end of its connection: behind bytes that could not be
understood nothing can be told for sure, least of all where the next request begins.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, cast

import httptools
from starlette.types import Message, Send
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from imgsvc.api.errors import NOT_KEPT, RETRY_AFTER_S, problem
from imgsvc.problems import HTTP_PROBLEMS
from imgsvc.settings import Settings

KEEP_ALIVE_S = 30
LINGER_S = 2.0
"""For how long the sender of a body that was answered early may be silent before its connection is closed."""

MAX_LINGER_S = 30.0
"""How long it is heard out at most. Many clients look for an answer only once they have sent all (wget, http.client),
or are kept from it by a reset (the JDK's)."""

LINGER_BYTES = 64 * 1024
"""How much more than the largest body it may send meanwhile."""

MAX_URI_BYTES = 16 * 1024
MAX_HEADERS = 100
_HEADER_OVERHEAD_BYTES = 4  # ": " and CRLF


class _RefusedError(Exception):
    """Ends a request from within the parser's callbacks, with a code of HTTP_PROBLEMS and a detail."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._settings: Settings = app_state["services"].settings
        self._head_deadline: asyncio.TimerHandle | None = None
        self._in_head = False
        self._header_count = 0
        self._header_bytes = 0
        self._overhead = 0  # bytes since the last that were of use: a head, or some of a body
        self._deaf = False  # what still comes is not looked at
        self._discarded = 0
        self._body_bytes = 0  # of the request whose head came last

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] (as uvicorn's)
        super().connection_made(self._transport_of(transport))
        self._expect_head()
        if len(self.connections) > self._settings.max_connections:
            self._refuse("overloaded", "Too many connections are open. Try again shortly.")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._cancel_head_deadline()

    def data_received(self, data: bytes) -> None:
        if self._deaf or self.transport.is_closing() or self.parser is None:
            self._discard(len(data))
            return
        self._unset_keepalive_if_required()
        if self._latest is None or self._latest.response_complete:
            self._expect_head()
        self._overhead += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.cycle.keep_alive = False  # answered as the plain request that it is also; nothing else is spoken here
        except httptools.HttpParserError as error:
            reason = error.__context__
            self._refuse(*(reason.args if isinstance(reason, _RefusedError) else _MALFORMED))
        else:
            if self._overhead > self._settings.max_header_bytes:  # a head, or the framing of chunks
                self._refuse(*_HEADERS_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._header_count = self._header_bytes = self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_URI_BYTES:
            raise _RefusedError("uri_too_long", f"The request's target is longer than {MAX_URI_BYTES} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        self._header_bytes += len(name) + len(value) + _HEADER_OVERHEAD_BYTES
        if self._header_count > MAX_HEADERS or self._header_bytes > self._settings.max_header_bytes:
            raise _RefusedError(*_HEADERS_TOO_LARGE)
        if self._in_head:  # what trails a body is not let among the headers that the application reads
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._cancel_head_deadline()
        self._in_head = False
        self._overhead = 0
        if self.parser is not None and self.parser.get_http_version() != "1.1":
            self._check_old_version()
        super().on_headers_complete()
        _say_when_it_closes(self.cycle)

    def on_body(self, body: bytes) -> None:
        self._overhead = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:  # answered before its body had come
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._transport.watch()

    def _check_old_version(self) -> None:
        """What was before 1.1 knows no chunks: who announces them means something else (RFC 9112, 6.1)."""
        if any(name == b"transfer-encoding" for name, _ in self.headers):
            raise _RefusedError(*_MALFORMED)

    def _expect_head(self) -> None:
        if self._head_deadline is None:
            self._head_deadline = self.loop.call_later(self._settings.header_timeout_s, self._on_late_head)

    def _cancel_head_deadline(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _on_late_head(self) -> None:
        if self._in_head:
            self._refuse("request_timeout", f"No request came within {self._settings.header_timeout_s:g} seconds.")
        else:
            self.transport.close()

    def _refuse(self, code: str, detail: str) -> None:
        """Answers the bytes that just came, unless other answers are due before it; then ends the connection."""
        self._deaf = True
        self._cancel_head_deadline()
        cycle = self._latest
        if cycle is None or cycle.response_complete:
            self._answer(code, detail)
        elif not cycle.more_body or self.pipeline:  # a later request: the ones before it are answered, and no more
            cycle.keep_alive = False
        else:  # within the body of the one under way, whose handler is told that its client is gone
            if not cycle.response_started:
                self._answer(code, detail)
            cycle.disconnected = True
            cycle.message_event.set()
        if cycle is None or cycle.response_complete or cycle.disconnected:
            self.transport.close()

    def _answer(self, code: str, detail: str) -> None:
        request_id = secrets.token_hex(8)
        status = HTTP_PROBLEMS[code]
        body = problem(code, detail, "", request_id)
        headers = {
            "content-type": "application/problem+json",
            "content-length": str(len(body)),
            "x-request-id": request_id,
            "cache-control": NOT_KEPT,
            "connection": "close",
        } | ({"retry-after": str(RETRY_AFTER_S)} if status == 503 else {})
        lines = b"".join(
            b"%b: %b\r\n" % header
            for header in [
                *self.server_state.default_headers,
                *((name.encode(), value.encode()) for name, value in headers.items()),
            ]
        )
        self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)

    def _has_unread(self) -> bool:
        """Whether a plain close could reset the connection, and so take the answer from its reader."""
        return self._deaf or (self._latest is not None and self._latest.more_body)

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._body_bytes + self._discarded > self._settings.max_upload_bytes + LINGER_BYTES:
            self.transport.pause_reading()

    def _transport_of(self, transport: asyncio.Transport) -> "_Transport":
        idle_s = self._settings.send_idle_timeout_s
        return _Transport(transport, self.loop, idle_s, self._has_unread, lambda: self._discarded)

    @property
    def _latest(self) -> RequestResponseCycle | None:
        """The request whose head came last: under way, waiting for those before it, or answered."""
        return self.cycle

    @property
    def _transport(self) -> "_Transport":
        assert isinstance(self.transport, _Transport)
        return self.transport


def _say_when_it_closes(cycle: RequestResponseCycle) -> None:
    """An answer that comes before its request's body ends the connection: its client must not send another on it."""
    send: Send = cast("Any", cycle.send)

    async def send_and_say(message: Message) -> None:
        if message["type"] == "http.response.start" and cycle.more_body:
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await send(message)

    cast("Any", cycle).send = send_and_say


_MALFORMED = ("malformed_request", "The request is not valid HTTP/1.1.")
_HEADERS_TOO_LARGE = (
    "headers_too_large",
    f"The request has more headers than the {MAX_HEADERS} that this service reads, or longer ones. Send less of them.",
)


class _Transport(asyncio.Transport):
    """A transport whose end neither cuts off its last answer nor waits for ever for somebody to read it."""

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        send_idle_timeout_s: float,
        has_unread: Callable[[], bool],
        discarded: Callable[[], int],
    ) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._send_idle_timeout_s = send_idle_timeout_s
        self._has_unread = has_unread
        self._discarded = discarded
        self._lingers = False
        self._watched = False
        self._written = 0

    def close(self) -> None:
        """Where its sender has not been read to the end, says that nothing more is sent, and reads on for a while."""
        if self.is_closing():
            return
        if self._has_unread():
            self._lingers = True
            self._transport.write_eof()
            self._transport.resume_reading()  # which a body that nobody took may have paused
            self._loop.call_later(LINGER_S, self._linger, self._loop.time() + MAX_LINGER_S, self._discarded())
        else:
            self._transport.close()
        self.watch()

    def _linger(self, end: float, discarded: int) -> None:
        """Reads on for as long as something comes."""
        if self._discarded() == discarded or self._loop.time() >= end:
            self._transport.close()
        elif not self._transport.is_closing():
            self._loop.call_later(LINGER_S, self._linger, end, self._discarded())

    def watch(self) -> None:
        """Aborts the connection once its client has taken nothing for `send_idle_timeout_s`."""
        if self._transport.get_write_buffer_size() and not self._watched:
            self._watched = True
            self._loop.call_later(self._send_idle_timeout_s, self._check, self._taken())

    def _check(self, taken: int) -> None:
        self._watched = False
        if self._transport.get_write_buffer_size() and self._taken() == taken:
            self._transport.abort()
        else:
            self.watch()

    def _taken(self) -> int:
        return self._written - self._transport.get_write_buffer_size()

    def is_closing(self) -> bool:
        return self._lingers or self._transport.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._written += len(data)
        self._transport.write(data)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._transport.get_extra_info(name, default)
