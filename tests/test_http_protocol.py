"""Clients that are slow, endless or ambiguous, below the application (rows H4 to H7 and H14 of the fault plan)."""

import asyncio
from collections.abc import AsyncGenerator
from time import monotonic

import pytest
import pytest_asyncio

from imgsvc.runtime.settings import MIB
from tests.support import images
from tests.support.service import Servers, Service, leftovers, until
from tests.support.slow_clients import PATIENCE_S, beside_five_hundred, seconds_of_a_trickle
from tests.support.wire import Connection, bytes_read, exchange, metered, request

PHOTO = images.photo()
POST = "POST /upload HTTP/1.1\nContent-Type: image/jpeg"

SLACK = 2
LATE_S = 5.0
"""What is due after PATIENCE_S must have come by then on any machine, and less than what the default deadlines are."""


@pytest_asyncio.fixture(scope="module")
async def impatient(servers: Servers) -> AsyncGenerator[Service]:
    """An API whose deadlines are short, so that a test need not wait for them."""
    timeouts = dict.fromkeys(
        ("header_timeout_s", "body_idle_timeout_s", "body_grace_s", "send_idle_timeout_s"), PATIENCE_S
    )
    async with Service.start(
        servers.environment(), workers=0, max_upload_bytes=MIB, upload_memory_bytes=16 * MIB, **timeouts
    ) as service:
        yield service


@pytest_asyncio.fixture
async def nothing_left(impatient: Service) -> AsyncGenerator[None]:
    """In the end, whatever was there before is there, and no more."""
    before = leftovers(impatient.environment)
    yield

    async def as_before() -> bool:
        return leftovers(impatient.environment) == before

    await until(as_before, 10)


async def test_h4_a_silent_connection_is_closed(impatient: Service) -> None:
    begin = monotonic()
    async with Connection.to(impatient.port) as connection:
        await connection.rest()
    seconds = monotonic() - begin
    print(f"closed after {seconds:.2f} s of {PATIENCE_S:g}")
    assert PATIENCE_S * 0.9 < seconds < LATE_S


async def test_h4_a_head_that_comes_byte_by_byte_is_answered_408(impatient: Service) -> None:
    begin = monotonic()
    async with Connection.to(impatient.port) as connection:
        head = request("GET /healthz HTTP/1.1\nX-Slow: " + "x" * 1000)
        sending = asyncio.create_task(connection.trickle((head[at : at + 1] for at in range(len(head))), 0.05))
        answer = await connection.answer()
        seconds = monotonic() - begin
        assert await connection.rest() == b""
        sending.cancel()
    print(f"408 after {seconds:.2f} s of {PATIENCE_S:g}")
    answer.assert_problem(408, "request_timeout")
    assert answer.headers["connection"] == "close"
    assert seconds < LATE_S


async def test_h4_the_next_head_on_a_connection_has_the_same_deadline(impatient: Service) -> None:
    async with Connection.to(impatient.port) as connection:
        await connection.send(request("GET /healthz HTTP/1.1"))
        assert (await connection.answer()).status == 200
        await connection.send(b"\r\n")  # which may stand before a request, and is none
        assert await connection.until_closed(10) < LATE_S


@pytest.mark.usefixtures("nothing_left")
async def test_h4_a_body_that_stalls_is_answered_408_and_leaves_nothing(impatient: Service) -> None:
    begin = monotonic()
    async with Connection.to(impatient.port) as connection:
        await connection.send(request(f"{POST}\nContent-Length: {MIB}", PHOTO[:5000]))
        answer = await connection.answer()
        seconds = monotonic() - begin
        await connection.rest()
    print(f"408 after {seconds:.2f} s of {PATIENCE_S:g}")
    answer.assert_problem(408, "request_timeout")
    assert seconds < LATE_S


async def test_h4_five_hundred_slow_clients_are_freed_and_hurt_no_good_one(impatient: Service) -> None:
    freed = await beside_five_hundred(impatient, PATIENCE_S)
    assert max(freed.values()) < LATE_S


async def test_h5_a_body_below_the_floor_rate_is_answered_408(impatient: Service) -> None:
    assert await seconds_of_a_trickle(impatient, 0.1) < LATE_S


async def test_h5_a_slow_body_above_the_floor_rate_is_taken(impatient: Service) -> None:
    """At 40 times the rate, and for twice the grace."""
    pieces = [PHOTO[at : at + len(PHOTO) // 20 + 1] for at in range(0, len(PHOTO), len(PHOTO) // 20 + 1)]
    async with Connection.to(impatient.port) as connection:
        await connection.send(request(f"{POST}\nContent-Length: {len(PHOTO)}"))
        await connection.trickle(pieces, PATIENCE_S / 10)
        assert (await connection.answer()).status == 202


HUGE = 60_000_000
CHUNKED = request(f"{POST}\nTransfer-Encoding: chunked")


@pytest.mark.parametrize(
    ("start", "filling", "status", "code"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Huge: ", b"x", 431, "headers_too_large", id="header"),
        pytest.param(b"GET / HTTP/1.1\r\n", b"x", 431, "headers_too_large", id="header's name"),
        pytest.param(b"GET /", b"x", 414, "uri_too_long", id="URL"),
        pytest.param(b"", b"\r\n", 431, "headers_too_large", id="empty lines"),
        pytest.param(b"", b"x", 400, "malformed_request", id="nothing"),
        pytest.param(CHUNKED + b"1;", b"x", 431, "headers_too_large", id="chunk extension"),
        pytest.param(CHUNKED + b"1\r\nx\r\n0\r\nX-Trailer: ", b"x", 431, "headers_too_large", id="trailer"),
    ],
)
async def test_h6_heads_of_60_mb_are_refused_at_their_limit(
    impatient: Service, start: bytes, filling: bytes, status: int, code: str
) -> None:
    await refused_cheaply(impatient, start + filling * (HUGE // len(filling)), status, code)


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        pytest.param(request("GET / HTTP/1.1" + "\nX-Many: 1" * 10_000), 431, "headers_too_large", id="10 000 headers"),
        pytest.param(request("GET / HTTP/1.1\nX-Long: " + "x" * 40_000), 431, "headers_too_large", id="40 kB header"),
        pytest.param(request(f"GET /{'x' * 65536} HTTP/1.1"), 414, "uri_too_long", id="64 KiB URL"),
    ],
)
async def test_h6_heads_over_the_limit_are_refused(impatient: Service, data: bytes, status: int, code: str) -> None:
    await refused_cheaply(impatient, data, status, code)


async def refused_cheaply(service: Service, data: bytes, status: int, code: str) -> None:
    async with metered(service) as cost:
        answer, rest = await exchange(service.port, data)
    print(cost)
    answer.assert_problem(status, code)
    assert rest == b""
    assert cost.memory < SLACK * 5e6


async def test_h6_a_head_within_the_limit_is_read(impatient: Service) -> None:
    async with Connection.to(impatient.port) as connection:
        await connection.send(request("GET /healthz?" + "q" * 15_000 + " HTTP/1.1\nX-Long: " + "x" * 30_000))
        assert (await connection.answer()).status == 200


@pytest.mark.parametrize(
    ("head", "size"),
    [
        pytest.param(f"{POST}\nContent-Length: {2 * MIB}", 0, id="by its Content-Length, before it is read"),
        pytest.param(f"{POST}\nContent-Length: {64 * MIB}", 64 * MIB, id="and is sent all the same"),
        pytest.param(f"{POST}\nTransfer-Encoding: chunked", 64 * MIB, id="chunked, at the limit"),
    ],
)
@pytest.mark.usefixtures("nothing_left")
async def test_h7_a_body_over_the_limit_is_answered_413(impatient: Service, head: str, size: int) -> None:
    before = bytes_read(impatient)
    sent = b"%x\r\n" % size * head.endswith("chunked") + (PHOTO + bytes(size)) * bool(size)
    answer, rest = await exchange(impatient.port, request(head, sent))
    read = bytes_read(impatient) - before
    print(f"{read} bytes read, of {len(sent)} sent and {MIB} allowed")
    answer.assert_problem(413, "upload_too_large")
    assert answer.headers["connection"] == "close", "or its client would send the next request behind it"
    assert rest == b""
    assert read < SLACK * (MIB + 64 * 1024)


@pytest.mark.parametrize("length", ["-1", "+5", "1e3", "0x10", "5 5", "5, 6", "99999999999999999999", "", "५"])
async def test_h7_a_content_length_that_is_none_is_refused(impatient: Service, length: str) -> None:
    answer, rest = await exchange(
        impatient.port, request(POST)[:-2] + b"Content-Length: " + length.encode() + b"\r\n\r\n" + PHOTO
    )
    answer.assert_problem(400, "malformed_request")
    assert rest == b""


@pytest.mark.usefixtures("nothing_left")
async def test_h7_a_form_longer_than_its_content_length_is_cut_there(impatient: Service) -> None:
    """And what lies beyond is not taken for a request."""
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n' + PHOTO + b"\r\n--b--\r\n"
    head = "POST /upload HTTP/1.1\nContent-Type: multipart/form-data; boundary=b\nContent-Length: 2000"
    async with Connection.to(impatient.port) as connection:
        await connection.send(request(head, form))
        first = await connection.answer()
        rest = await connection.rest()
    first.assert_problem(400, "malformed_body")
    assert rest == b"" or rest.startswith(b"HTTP/1.1 400 ")


@pytest.mark.usefixtures("nothing_left")
async def test_h7_a_body_shorter_than_its_content_length_leaves_nothing(impatient: Service) -> None:
    async with Connection.to(impatient.port) as connection:
        await connection.send(request(f"{POST}\nContent-Length: {len(PHOTO) + 1}", PHOTO))
        connection.finish()
        await connection.rest()


SECOND = request("GET /healthz HTTP/1.1")
SMUGGLED = {
    "Content-Length and Transfer-Encoding": request(
        f"{POST}\nContent-Length: 5\nTransfer-Encoding: chunked", b"0\r\n\r\n" + SECOND
    ),
    "Transfer-Encoding and Content-Length": request(
        f"{POST}\nTransfer-Encoding: chunked\nContent-Length: 5", b"0\r\n\r\n" + SECOND
    ),
    "two Content-Lengths": request(f"{POST}\nContent-Length: 0\nContent-Length: {len(SECOND)}", SECOND),
    "the same Content-Length twice": request(f"{POST}\nContent-Length: 5\nContent-Length: 5", b"hello" + SECOND),
    "xchunked": request(f"{POST}\nTransfer-Encoding: xchunked", b"0\r\n\r\n" + SECOND),
    "chunked, identity": request(f"{POST}\nTransfer-Encoding: chunked, identity", b"0\r\n\r\n" + SECOND),
    "chunked twice": request(f"{POST}\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked", b"0\r\n\r\n" + SECOND),
    "vertical tab before chunked": request(
        f"{POST}\nTransfer-Encoding: \x0bchunked".replace(": \x0b", ":\x0b"), b"0\r\n\r\n" + SECOND
    ),
    "space before the colon": request(f"{POST}\nTransfer-Encoding : chunked", b"0\r\n\r\n" + SECOND),
    "folded Transfer-Encoding": request(f"{POST}\nTransfer-Encoding:\n chunked", b"0\r\n\r\n" + SECOND),
    "NUL in a name": request(f"{POST}\nTransfer-Encoding\0: chunked", b"0\r\n\r\n" + SECOND),
    "bare CR in a header": request(f"{POST}\nX: a\rTransfer-Encoding: chunked", b"0\r\n\r\n" + SECOND),
    "line feeds only": b"GET /healthz HTTP/1.1\nHost: localhost\n\n" + SECOND,
    "line feeds only, from the second line on": b"GET /healthz HTTP/1.1\r\nHost: localhost\n\n" + SECOND,
    "chunk size that is no number": request(f"{POST}\nTransfer-Encoding: chunked", b"x\r\n\r\n" + SECOND),
    "chunk size with a sign": request(f"{POST}\nTransfer-Encoding: chunked", b"-1\r\n\r\n" + SECOND),
    "chunk size with 0x": request(f"{POST}\nTransfer-Encoding: chunked", b"0x5\r\nhello\r\n0\r\n\r\n" + SECOND),
    "chunk size that overflows": request(f"{POST}\nTransfer-Encoding: chunked", b"1" + b"0" * 16 + b"\r\n" + SECOND),
    "chunk longer than its size": request(f"{POST}\nTransfer-Encoding: chunked", b"2\r\nhello\r\n0\r\n\r\n" + SECOND),
    "chunk that ends in a line feed": request(f"{POST}\nTransfer-Encoding: chunked", b"5\r\nhello\n0\r\n\r\n" + SECOND),
    "chunk size that ends in a line feed": request(
        f"{POST}\nTransfer-Encoding: chunked", b"5\nhello\r\n0\r\n\r\n" + SECOND
    ),
    "HTTP/1.0 with Transfer-Encoding": request(
        "POST /upload HTTP/1.0\nContent-Type: image/jpeg\nTransfer-Encoding: chunked", b"0\r\n\r\n" + SECOND
    ),
    "two Hosts": request("GET /healthz HTTP/1.1\nHost: other", SECOND),
    "no Host": b"GET /healthz HTTP/1.1\r\n\r\n" + SECOND,
    "a Host that is none": request("GET /healthz HTTP/1.1", SECOND, host="a b"),
    "a Host with a path": request("GET /healthz HTTP/1.1", SECOND, host="localhost/files"),
    "gzip, chunked": request(f"{POST}\nTransfer-Encoding: gzip, chunked", b"0\r\n\r\n" + SECOND),
    "gzip and chunked in two lines": request(
        f"{POST}\nTransfer-Encoding: gzip\nTransfer-Encoding: chunked", b"0\r\n\r\n" + SECOND
    ),
    "identity": request(f"{POST}\nTransfer-Encoding: identity", SECOND),
    "chunked with a parameter": request(f"{POST}\nTransfer-Encoding: chunked;q=1", b"0\r\n\r\n" + SECOND),
    "CONNECT": request("CONNECT localhost:443 HTTP/1.1", SECOND),
    "CONNECT of a path": request("CONNECT /healthz HTTP/1.1", SECOND),
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SECOND,
    "HTTP/0.9": b"GET /healthz\r\n" + SECOND,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + SECOND,
}


@pytest.mark.parametrize("data", SMUGGLED.values(), ids=SMUGGLED.keys())
@pytest.mark.usefixtures("nothing_left")
async def test_h14_a_request_whose_end_is_in_doubt_is_the_last_of_its_connection(
    impatient: Service, data: bytes
) -> None:
    answer, rest = await exchange(impatient.port, data)
    answer.assert_problem(400, "malformed_request")
    assert answer.headers["connection"] == "close"
    assert rest == b"", "a second request was served"
