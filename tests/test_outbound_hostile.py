"""Hosts that answer so as to hurt: they cost little CPU, little memory and at most the deadline (rows O4 to O11)."""

import asyncio
import gzip
import hashlib
import inspect
import random
import resource
import socket
import ssl
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, cast
from unittest.mock import AsyncMock, patch

import aiohttp
import pytest
import uvloop
from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_proto import ResponseHandler
from aiohttp.streams import StreamReader

from imgsvc.outbound import Outbound, Timeouts, UnreachableError, UrlNotAllowedError
from imgsvc.outbound.protocol import BoundedResponseHandler
from imgsvc.worker.webhooks import MAX_RETRY_AFTER_S, backoff_s, retry_after_s
from tests.support.flood import LoopLoad, flood
from tests.support.peers import Listener
from tests.support.service import settings_of

MIB = 1024 * 1024
STATUS = b"HTTP/1.1 200 OK\r\n"
CHUNKED = STATUS + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "interim answers": (b"", b"HTTP/1.1 100 \r\n\r\n"),
    "status line": (b"HTTP/1.1 200 ", b"a"),
    "header": (STATUS + b"a: ", b"b"),
    "headers": (STATUS, b"a: b\r\n"),
    "trailers": (CHUNKED + b"5\r\nhello\r\n0\r\n", b"a: b\r\n"),
    "chunk length": (CHUNKED, b"0"),
    "chunk extension": (CHUNKED + b"5;", b"a"),
    "chunk extensions": (CHUNKED, b"5;" + b"a" * 100 + b"\r\nhello\r\n"),
    "chunks of one byte": (CHUNKED, b"1\r\nx\r\n"),
    "answers after the answer": (CHUNKED, b"0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "body of 204": (b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", b"1\r\nx\r\n"),
    "body of 304": (b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "protocol after 101": (b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", b"x"),
}
TIMEOUTS = Timeouts(total_s=60, idle_s=60)


def opened() -> AbstractAsyncContextManager[Outbound]:
    return Outbound.open(settings_of({"IMGSVC_REDIS_URL": "redis://x", "IMGSVC_OUTBOUND_ALLOW": "127.0.0.1"}))


async def get(url: str, timeouts: Timeouts = TIMEOUTS, *, max_bytes: int = 50 * MIB) -> tuple[int, bytes]:
    async with opened() as out, out.request("GET", url, timeouts, redirects=3) as answer:
        return answer.status, b"".join([chunk async for chunk in answer.chunks(max_bytes)])


@pytest.mark.parametrize("name", ENDLESS)
def test_o4_an_answer_without_end_is_cut_off_before_it_stalls_the_event_loop(name: str) -> None:
    load = LoopLoad()

    async def fetch(port: int) -> int | None:
        watching = asyncio.create_task(load.watch())
        try:
            return (await get(f"http://127.0.0.1:{port}/"))[0]
        except UnreachableError:
            return None
        finally:
            watching.cancel()

    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with flood(*ENDLESS[name]) as port:
        begin = monotonic()
        status = uvloop.run(fetch(port))  # which hands over as much as there is, unlike asyncio's own loop
    assert status in {None, 200, 204, 304, 101}
    assert monotonic() - begin < 30, "it ends at a bound, not at the deadline"
    assert load.longest_s < 0.1
    assert load.total_s < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 32 * 1024


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_o4_an_answer_in_odd_pieces_to_a_slow_reader_arrives_whole(run: Callable[..., bytes]) -> None:
    pieces = random.Random(4)
    body = pieces.randbytes(4 * MIB)
    wire, at = bytearray(CHUNKED), 0
    while at < len(body):
        chunk = body[at : at + pieces.choice((1, 20, 4_000, 300_000))]
        wire += b"%x\r\n%b\r\n" % (len(chunk), chunk)
        at += len(chunk)
    wire += b"0\r\n\r\n"

    async def fetch() -> bytes:
        received = bytearray()
        async with (
            Listener.start(bytes(wire)) as host,
            opened() as out,
            out.request("GET", f"http://127.0.0.1:{host.port}/", TIMEOUTS) as answer,
        ):
            async for chunk in answer.chunks(len(body)):
                received += chunk
                await asyncio.sleep(0.001)
        return bytes(received)

    assert hashlib.sha256(run(fetch())).digest() == hashlib.sha256(body).digest()


def test_o4_an_answer_over_tls_of_a_fast_host_that_hangs_up_arrives_whole(tmp_path: Path) -> None:
    """uvloop drops what it holds of a connection with TLS that is paused when its host closes it."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -addext subjectAltName=IP:127.0.0.1"
    files = ("-keyout", key, "-out", certificate, "-subj", "/CN=host")
    subprocess.run(["openssl", *request.split(), *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    body = random.Random(5).randbytes(8 * MIB)

    def serve(listener: socket.socket) -> None:
        with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
            connection.recv(64 * 1024)
            connection.sendall(STATUS + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    trusting = ssl.create_default_context(cafile=certificate)
    with patch("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusting), ThreadPoolExecutor() as threads:
        for _ in range(5):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                served = threads.submit(serve, listener)
                assert uvloop.run(get(f"https://127.0.0.1:{listener.getsockname()[1]}/")) == (200, body)
                served.result(10)


async def test_o4_few_interim_answers_before_the_answer_are_taken() -> None:
    async with Listener.start(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 15 + STATUS + b"\r\nhello") as host:
        assert await get(f"http://127.0.0.1:{host.port}/") == (200, b"hello")


async def test_o4_aiohttp_still_has_what_the_bounds_override() -> None:
    """pyproject.toml pins aiohttp for this. Where it fails, compare outbound/protocol.py with aiohttp's new code."""
    for name in ("connection_made", "connection_lost", "data_received", "feed_data", "set_exception"):
        ours, theirs = (inspect.signature(getattr(kind, name)) for kind in (BoundedResponseHandler, ResponseHandler))
        assert list(ours.parameters) == list(theirs.parameters), name
    handler = ResponseHandler(asyncio.get_running_loop())
    for name in ("_parser", "_payload", "_reading_paused", "transport"):
        assert hasattr(handler, name), name
    parsing = inspect.getsource(ResponseHandler.data_received)
    assert "self.feed_data((message, payload), 0)" in parsing, "heads are no longer counted where they are queued"
    assert 'self.data_received(b"")' in inspect.getsource(BaseProtocol.resume_reading), "a pause would never end"
    assert StreamReader(handler, 1).total_bytes == 0
    async with aiohttp.TCPConnector() as connector:
        factory = cast(Any, connector)._factory
        assert isinstance(factory, partial)
        assert (factory.func, set(factory.keywords)) == (ResponseHandler, {"loop"})


async def test_o4_every_connection_has_the_bounds() -> None:
    seen = list[object]()
    made = BoundedResponseHandler.connection_made

    def record(self: BoundedResponseHandler, transport: asyncio.BaseTransport) -> None:
        seen.append(self)
        made(self, transport)

    async with Listener.start() as host:
        with patch.object(BoundedResponseHandler, "connection_made", record):
            await get(f"http://127.0.0.1:{host.port}/")
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("first", "repeated"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 ", b"a"),
        (STATUS + b"a: ", b"b"),
        (STATUS, b"a: b\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (CHUNKED + b"5", b";"),
    ],
    ids=["nothing", "status line", "header", "headers", "interim answers", "chunk extension"],
)
async def test_o5_a_head_that_drips_ends_with_the_whole_deadline(first: bytes, repeated: bytes) -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            await writer.drain()
            await asyncio.sleep(0.1)
            writer.write(repeated)

    async with Listener.start(drip) as host:
        begin = monotonic()
        with pytest.raises(UnreachableError):
            await get(f"http://127.0.0.1:{host.port}/", Timeouts(total_s=0.8, idle_s=0.7))
        assert monotonic() - begin < 10


async def test_o6_a_compressed_bomb_stays_compressed() -> None:
    bomb = gzip.compress(bytes(100 * MIB))
    head = STATUS + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with Listener.start(head + bomb) as host:
        assert await get(f"http://127.0.0.1:{host.port}/") == (200, bomb)


async def test_o7_a_client_is_not_told_what_answers_at_a_port() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    details = set[str]()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        urls = [f"http://127.0.0.1:{closed.getsockname()[1]}/"]
    async with Listener.start(b"SSH-2.0-OpenSSH_9.6\r\n") as ssh, Listener.start(hang_up) as rude:
        urls += [f"http://127.0.0.1:{ssh.port}/", f"http://127.0.0.1:{rude.port}/", f"https://127.0.0.1:{ssh.port}/"]
        for url in urls:
            with pytest.raises(UnreachableError) as raised:
                await get(url)
            details.add(raised.value.detail)
    assert len(details) == 1


async def test_o8_a_host_gets_no_cookie_and_no_password_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redirect = b"HTTP/1.1 302 Found\r\nLocation: /end\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
        writer.write(redirect if len(host.requests) == 1 else STATUS + b"Content-Length: 0\r\n\r\n")

    async with Listener.start(answer) as host:
        await get(f"http://127.0.0.1:{host.port}/")
    assert len(host.requests) == 2
    for request in host.requests:
        assert not any(name in request.lower() for name in (b"cookie", b"authorization"))


@pytest.mark.parametrize(("length", "expected"), [(2048, None), (2049, UrlNotAllowedError), (20_000, UnreachableError)])
async def test_o9_redirects_are_followed_to_urls_of_bounded_length(
    length: int, expected: type[Exception] | None
) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        base = f"http://127.0.0.1:{host.port}/{len(host.requests)}"
        location = base + "a" * (length - len(base))
        is_last = len(host.requests) == 4
        writer.write(
            STATUS + b"Content-Length: 2\r\n\r\nok"
            if is_last
            else b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % location.encode()
        )

    async with Listener.start(answer) as host:
        with pytest.raises(expected) if expected else nullcontext():
            assert await get(f"http://127.0.0.1:{host.port}/") == (200, b"ok")
        assert host.connections == (1 if expected else 4)


@pytest.mark.parametrize("location", [b"http://\xff/", b"http://[::1", b"http://:80/", b"http://a b/"])
async def test_o9_a_redirect_to_nonsense_is_refused(location: bytes) -> None:
    async with Listener.start(b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % location) as host:
        with pytest.raises(UrlNotAllowedError):
            await get(f"http://127.0.0.1:{host.port}/")


async def test_o10_a_connection_to_its_own_socket_is_aborted_before_a_byte_is_sent() -> None:
    """Connecting to a free port in the range that the system takes source ports from may choose that very port."""
    itself = socket.socket()
    itself.bind(("127.0.0.1", 0))
    itself.connect(itself.getsockname())
    itself.setblocking(False)
    received = list[bytes]()

    def receive(_: BoundedResponseHandler, data: bytes) -> None:
        received.append(data)

    with (
        patch("aiohappyeyeballs.start_connection", AsyncMock(return_value=itself)),
        patch.object(BoundedResponseHandler, "data_received", receive),
        pytest.raises(UnreachableError) as raised,
    ):
        await get(f"http://127.0.0.1:{itself.getsockname()[1]}/")
    assert isinstance(raised.value.__cause__, aiohttp.ClientError)
    assert not received, "what a socket sends to itself is its own request"


@pytest.mark.parametrize(
    "value",
    [
        "9" * 8000,
        "-1",
        "1e999",
        "\u0663",
        "(" * 8000,
        "Mon, " * 1600,
        " " * 8000,
        format_datetime(datetime(9999, 12, 31, tzinfo=UTC), usegmt=True),
        "Mon, 01 Jan 99999999999 00:00:00 GMT",
        "Mon, 01 Jan 0000 00:00:00 GMT",
        "Mon, 01 Jan 2030 00:00:00 +99999999",
        "Mon, 01 Jan 0001 00:00:00 -0000",
    ],
    ids=lambda value: value[:20],
)
def test_o11_a_receiver_cannot_put_its_webhooks_off_for_long(value: str) -> None:
    begin = monotonic()
    assert 0 <= backoff_s(1, retry_after_s(value)) <= MAX_RETRY_AFTER_S
    assert monotonic() - begin < 1
