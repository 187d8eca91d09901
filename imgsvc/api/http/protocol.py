"""HTTP/1.1 below the application: httptools' strict parser, with deadlines and limits for everything a client does.

    connect ──────▶ head ──────▶ body ──────▶ answer ──────▶ keep-alive, and the next head
    connections.py  header_timeout_s   body.py     transport.py      keep_alive_s
                    max_header_bytes   (idle, rate)   (rate)

A refusal is a problem document here too, and the end of its connection: after bytes that could not be parsed, nothing
is certain, least of all where the next request begins.
"""

import asyncio
import re
import secrets
import socket
from collections.abc import Iterable, Iterator
from typing import Any, cast

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from imgsvc.api.http.budget import Allocation
from imgsvc.api.http.connections import Verdict
from imgsvc.api.http.context import Services
from imgsvc.api.http.errors import NO_STORE, RETRY_ADVICE, RETRY_AFTER_S, ProblemError, problem
from imgsvc.api.http.framing import frame_answers
from imgsvc.api.http.pace import Pace
from imgsvc.api.http.peer import peer_address
from imgsvc.api.http.reading import BODY_READ_BYTES, DemandFlow, RequestEnds, SizedReads
from imgsvc.api.http.transport import Transport
from imgsvc.domain.problems import HTTP_PROBLEMS

LINGER_BYTES = 64 * 1024
"""How much more than the largest body a client may send that was answered early."""

MAX_URI_BYTES = 16 * 1024
MAX_HEADERS = 100
UNCOUNTED_BYTES = 16 * 1024
"""What any connection may hold of heads and of what waits, beyond which it counts in the memory for uploads."""


_HEADER_OVERHEAD_BYTES = 4  # ": " and CRLF
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(rb"[a-z][a-z0-9+.-]*://([^/?#]*)", re.IGNORECASE)  # a target as clients of a proxy write it
_FRAMING = (b"content-length", b"transfer-encoding")


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
        services: Services = app_state["services"]
        self._settings = services.settings
        self._limits = services.connections
        self._uploads = services.uploads
        self._verdict = Verdict.REFUSE
        self._head_deadline: asyncio.TimerHandle | None = None
        self._in_head = False
        self._header_count = 0
        self._header_bytes = 0
        self._head_bytes = 0  # of the request whose head came last: uvicorn keeps it until the next one begins
        self._overhead = 0  # bytes since the last complete head or byte of a body
        self._refusing = False  # further bytes are discarded
        self._discarded = 0
        self._body_bytes = 0  # of the request whose head came last
        self._upgrading = False  # the head that came last asks for another protocol
        self._replaying = False  # the parser is fed a head that was read already
        self._ends = RequestEnds()
        self._unread = b""  # received after the end of the request in progress

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] (as uvicorn's)
        super().connection_made(self._transport_of(transport))
        transport.set_protocol(SizedReads(self, self._read_bytes))
        self.flow = DemandFlow(self.transport, self._has_enough)
        self._expect_head()
        self._memory = Allocation(self._uploads, self._limits.holders(self._peer))
        self._verdict = self._limits.open(self._peer)
        if self.client is None and transport.get_extra_info("socket").family != socket.AF_UNIX:
            transport.abort()  # reset before it was accepted: what it sent would count as a trusted proxy's
        elif self._verdict is Verdict.REFUSE:
            self._refuse(*_FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unread = b""
        self._memory.hold(0)
        self._cancel_head_deadline()
        self._limits.close(self._peer, self._verdict)

    def data_received(self, data: bytes) -> None:
        if self._refusing or self.transport.is_closing() or self.parser is None:
            self._discard(len(data))
            return
        self._unset_keepalive_if_required()
        if self._is_idle:
            self._expect_head()
        try:
            self._unread = self._parse(self._unread + data)
        except httptools.HttpParserError as error:
            reason = error.__context__
            self._refuse(*(reason.args if isinstance(reason, _RefusedError) else _MALFORMED))
        else:
            if self._unread or self._overhead or self._head_bytes > UNCOUNTED_BYTES or self._memory.held:
                self._check_memory()

    def _check_memory(self) -> None:
        """Refuses what is too long, or more than there is memory for; and leaves later requests to the kernel."""
        if self._is_waiting:
            if self._unread:
                self.flow.pause_reading()
        elif self._overhead + len(self._unread) > MAX_URI_BYTES + self._settings.max_header_bytes:
            self._refuse(*_HEADERS_TOO_LARGE)  # of a head, or the framing of chunks
            return
        head_bytes = self._overhead if self._in_head else self._head_bytes
        try:
            self._memory.hold(max(0, head_bytes + len(self._unread) - UNCOUNTED_BYTES))
        except ProblemError as error:
            self._refuse(error.code, error.detail)

    def _parse(self, data: bytes) -> bytes:
        """Hands bytes to the parser, as far as the end of a request. Returns the others."""
        start = 0
        while start < len(data) and not self._is_waiting:
            end = self._ends.next(data, start)
            if end == start:
                break
            self._overhead += end - start
            self._feed(data[start:end])
            start = end
        # empty lines before a request mean nothing (RFC 9112, 2.2), and nobody waits for an answer to them
        return data[start:].lstrip(b"\r\n") if self._is_waiting else data[start:]

    def _feed(self, piece: bytes) -> None:
        """Where a head asks for another protocol (h2c, as the JDK's client and `curl --http2` do), the parser takes all
        that follows for that protocol. None is spoken here, so the request is the plain one that it is also
        (RFC 9110, 7.8), its body included: a new parser is given its framing, and reads on.
        """
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            framing = [header for header in self.headers if header[0] in _FRAMING]
            self._upgrading, self._replaying = False, True
            self.parser = cast("Any", httptools.HttpRequestParser(self))
            self.parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *_lines(framing), b"\r\n"]))
            self._replaying = False

    def on_message_begin(self) -> None:
        if self._replaying:
            return
        if self._is_waiting:  # the parser and RequestEnds disagree about where it begins
            raise _RefusedError(*_MALFORMED)
        super().on_message_begin()
        self._in_head = True
        self._header_count = self._header_bytes = self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        if self._replaying:
            return
        super().on_url(url)
        if len(self.url) > MAX_URI_BYTES:
            raise _RefusedError("uri_too_long", f"The request's target is longer than {MAX_URI_BYTES} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._replaying:
            return
        self._header_count += 1
        self._header_bytes += len(name) + len(value) + _HEADER_OVERHEAD_BYTES
        if self._header_count > MAX_HEADERS or self._header_bytes > self._settings.max_header_bytes:
            raise _RefusedError(*_HEADERS_TOO_LARGE)
        if self._in_head:  # trailers are kept from the headers that the application reads
            super().on_header(name, value.strip(b" \t"))  # the parser leaves trailing blanks (RFC 9110, 5.5)

    def on_headers_complete(self) -> None:
        if self._replaying:
            return
        self._cancel_head_deadline()
        self._in_head = False
        self._head_bytes, self._overhead = self._overhead, 0
        version = self.parser.get_http_version()
        self._check_framing(version)
        if self._verdict is Verdict.HEALTH_ONLY and not self._asks_for_health():
            raise _RefusedError(*_FULL)
        self._upgrading = self.parser.should_upgrade()
        self._ends.begin_body(_body_length(self.headers))
        super().on_headers_complete()
        if self._verdict is Verdict.HEALTH_ONLY:
            self.cycle.keep_alive = False
        frame_answers(self.cycle, version, self.config.timeout_keep_alive)

    def on_body(self, body: bytes) -> None:
        self._overhead = 0
        self._body_bytes += len(body)
        super().on_body(body)
        self.flow.pause_reading()  # until the handler asks for more

    def on_message_complete(self) -> None:
        if not self._upgrading:  # or else the body is still to come
            self._ends.end_body()
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.more_body:  # answered before its body had come
            self.transport.close()
        elif self._unread:
            self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        """Parses what was received while the request before it was answered."""
        if self._unread and not self.transport.is_closing():
            self.data_received(b"")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._transport.watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._transport.unwatch()

    def _check_framing(self, version: str) -> None:
        """Refuses what two readers could take for two requests, or for one to two hosts (RFC 9112, 3.2 and 6.1)."""
        if version not in {"1.0", "1.1"}:
            raise _RefusedError(*_MALFORMED)
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (version == "1.1" and not hosts):
            raise _RefusedError("malformed_request", "Send exactly one Host header.")
        if hosts and not _HOST.fullmatch(hosts[0]):
            raise _RefusedError("malformed_request", "The Host header is not a valid host.")
        absolute = _ABSOLUTE.match(self.url)
        if absolute and hosts and _authority(absolute[1]) != _authority(hosts[0]):
            raise _RefusedError("malformed_request", "The request's target and its Host header name different hosts.")
        codings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings and (version != "1.1" or codings != [b"chunked"]):
            raise _RefusedError("malformed_request", "The only Transfer-Encoding supported is chunked, in HTTP/1.1.")
        if self.parser.get_method() == b"CONNECT":
            raise _RefusedError("malformed_request", "CONNECT is not supported: this is not a proxy.")

    def _asks_for_health(self) -> bool:
        path = self.url.partition(b"?")[0].decode("latin-1").removeprefix(self._settings.base_path)
        return path in {"/healthz", "/readyz"}

    def _expect_head(self) -> None:
        if self._head_deadline is None:
            self._head_deadline = self.loop.call_later(self._settings.header_timeout_s, self._on_late_head)

    def _cancel_head_deadline(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _on_late_head(self) -> None:
        if self._in_head:
            self._refuse(
                "request_timeout",
                f"The request's headers did not arrive within {self._settings.header_timeout_s:g} seconds.",
            )
        else:
            self.transport.close()

    def _refuse(self, code: str, detail: str) -> None:
        """Answers the bytes received last, unless another answer is due before it; then ends the connection."""
        self._refusing, self._unread = True, b""
        self._cancel_head_deadline()
        cycle = self._latest
        if cycle is None or cycle.response_complete:
            self._answer(code, detail)
        elif not cycle.more_body:  # a later request: the one before it is answered, and no more
            cycle.keep_alive = False
        else:  # within the body of a request in progress: its handler takes its client for disconnected
            if not cycle.response_started:
                self._answer(code, detail)
            cycle.disconnected = True
            cycle.message_event.set()
        if cycle is None or cycle.response_complete or cycle.disconnected:
            self.transport.close()

    def _answer(self, code: str, detail: str) -> None:
        self._limits.refused(code, self._peer)
        request_id = secrets.token_hex(8)
        status = HTTP_PROBLEMS[code]
        body = problem(code, detail, "", request_id)
        headers = {
            "content-type": "application/problem+json",
            "content-length": str(len(body)),
            "x-request-id": request_id,
            "cache-control": NO_STORE,
            "connection": "close",
        } | ({"retry-after": str(RETRY_AFTER_S)} if status == 503 else {})
        own = ((name.encode(), value.encode()) for name, value in headers.items())
        head = b"".join(_lines([*self.server_state.default_headers, *own]))
        self.transport.write(STATUS_LINE[status] + head + b"\r\n" + body)

    def _has_unread(self) -> bool:
        """Whether a plain close could reset the connection, and so take the answer from its reader."""
        return self._refusing or bool(self._unread) or (self._latest is not None and self._latest.more_body)

    def _has_enough(self) -> bool:
        """Whether received bytes are to be used up first: a body's, or those of a later request."""
        return not self._is_idle and bool(self.cycle.body or (self._unread and not self.cycle.more_body))

    def _read_bytes(self) -> int:
        return BODY_READ_BYTES if self._refusing or self.transport.is_closing() else self._ends.read_bytes()

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._body_bytes + self._discarded > self._settings.max_upload_bytes + LINGER_BYTES:
            self.transport.pause_reading()

    def _transport_of(self, transport: asyncio.Transport) -> Transport:
        pace = Pace(self._settings.send_idle_timeout_s, self._settings.min_send_rate)
        return Transport(transport, self.loop, pace, self._has_unread, lambda: self._discarded)

    @property
    def _peer(self) -> str:
        return peer_address(self.client)

    @property
    def _is_idle(self) -> bool:
        """Whether no request is in progress."""
        return self._latest is None or self._latest.response_complete

    @property
    def _is_waiting(self) -> bool:
        """Whether a request was received completely, and is not answered yet."""
        cycle = self.cycle
        return cycle is not None and not cycle.more_body and not cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]

    @property
    def _latest(self) -> RequestResponseCycle | None:
        """The request whose head was received last: in progress, or answered."""
        return self.cycle

    @property
    def _transport(self) -> Transport:
        assert isinstance(self.transport, Transport)
        return self.transport


def _authority(host: bytes) -> bytes:
    return host.lower().removesuffix(b":80")


def _body_length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """As RequestEnds.begin_body wants it. The parser has checked the headers."""
    found = dict(headers)
    return None if b"transfer-encoding" in found else int(found.get(b"content-length", 0))


def _lines(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    return (b"%b: %b\r\n" % header for header in headers)


_MALFORMED = ("malformed_request", "The request is not valid HTTP/1.1.")
_HEADERS_TOO_LARGE = (
    "headers_too_large",
    f"The request has more than {MAX_HEADERS} headers, or too long ones. Send fewer or shorter headers.",
)
_FULL = ("overloaded", f"Too many connections are open. {RETRY_ADVICE}")
