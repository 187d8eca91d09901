"""What one client may take of the API, so that there is room for the others (rows H27 to H32)."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from time import monotonic

import httpx
import psutil
import pytest

from imgsvc.runtime.settings import MIB
from tests.support import images
from tests.support.service import Servers, Service, until
from tests.support.wire import Connection, exchange, metered, request

PHOTO = images.photo(64, 48)
HEALTH = request("GET /healthz HTTP/1.1")
PRESETS = request("GET /presets HTTP/1.1")
HOSTILE, OTHER = "127.0.0.2", "127.0.0.3"
BIG = b"\xff\xd8\xff" + bytes(5 * MIB)
"""Begins as a JPEG does, which is all that an upload asks of it."""


def a_client_at(address: str, service: Service) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(local_address=address)
    return httpx.AsyncClient(base_url=service.url, transport=transport, timeout=60)


@asynccontextmanager
async def connected(service: Service, count: int, address: str = HOSTILE) -> AsyncGenerator[list[Connection]]:
    """So many connections of one client."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Connection.to(service.port, address)) for _ in range(count)]


def in_chunks(body: bytes, size: int, end: bytes = b"0\r\n\r\n") -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end
    return request("POST /upload HTTP/1.1\nContent-Type: image/jpeg\nTransfer-Encoding: chunked", framed)


async def test_h27_requests_in_a_row_are_answered_in_their_order(service: Service) -> None:
    async with Connection.to(service.port) as connection:
        await connection.send((HEALTH + PRESETS) * 50)
        found = [await connection.answer() for _ in range(100)]
    assert [b"presets" in answer.body for answer in found] == [False, True] * 50


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"00;a=b\r\nX-Checksum: 1\r\nX-More: 2\r\n\r\n"])
async def test_h27_wherever_the_network_cuts_requests_in_a_row(service: Service, end: bytes) -> None:
    """A body that is no image, with empty lines in it, by length and in chunks."""
    body = b"no image\r\n\r\n\r\n\r\n, all of it"
    by_length = request(f"POST /upload HTTP/1.1\nContent-Type: image/jpeg\nContent-Length: {len(body)}", body)
    chunked = in_chunks(body, 9, end)
    sent = chunked + by_length + PRESETS
    async with AsyncExitStack() as stack:
        for at in range(chunked.index(b"\r\n\r\n"), len(chunked) + 4):
            connection = await stack.enter_async_context(Connection.to(service.port))
            await connection.send(sent[:at])
            await asyncio.sleep(0)
            await connection.send(sent[at:])
            found = [await connection.answer() for _ in range(3)]
            assert [answer.status for answer in found] == [415, 415, 200], (at, found)


async def test_h27_uploads_in_a_row_are_taken(service: Service) -> None:
    """What is read of one body with the head before it, and behind its end, belongs to another upload."""
    photo = images.noise(300, 200)
    by_length = request(f"POST /upload HTTP/1.1\nContent-Type: image/png\nContent-Length: {len(photo)}", photo)
    async with Connection.to(service.port) as connection:
        sending = asyncio.create_task(connection.send((by_length + in_chunks(photo, 20_000)) * 3))
        found = [await connection.answer() for _ in range(6)]
        await sending
    assert [answer.status for answer in found] == [202] * 6
    for answer in found:
        assert (await service.result(answer.json["id"]))["original"]["bytes"] == len(photo)


async def test_h27_megabytes_of_tiny_requests_cost_little_and_hold_up_nobody(servers: Servers) -> None:
    flood = HEALTH * (10 * MIB // len(HEALTH) // 40)
    async with Service.start(servers.environment(), workers=0) as service:
        await service.client.get("/healthz")
        async with connected(service, 40) as connections, metered(service) as cost:
            sending = [asyncio.create_task(connection.send(flood)) for connection in connections]
            for connection in connections:
                assert (await connection.answer()).status == 200
            begin = monotonic()
            async with a_client_at(OTHER, service) as client:
                for _ in range(5):
                    assert (await client.get("/healthz")).status_code == 200
            seconds = (monotonic() - begin) / 5
            for task in sending:
                task.cancel()
    print(f"{cost}; another client's answer after {seconds:.2f} s")
    assert cost.memory < 20 * MIB
    assert seconds < 1


async def test_h28_health_is_answered_when_connections_are_full(servers: Servers) -> None:
    async with (
        Service.start(servers.environment(), workers=0, max_connections=20) as service,
        connected(service, 15),
        connected(service, 5, OTHER),
    ):
        for path in ("/healthz", "/readyz?x=1"):
            answer, rest = await exchange(service.port, request(f"GET {path} HTTP/1.1"))
            assert (answer.status, answer.headers["connection"], rest) == (200, "close", b"")
        for _ in range(3):
            answer, rest = await exchange(service.port, PRESETS)
            answer.assert_problem(503, "overloaded")
            assert answer.headers["retry-after"]
            assert rest == b""
        metrics, _ = await exchange(service.port, HEALTH)
        assert metrics.status == 200


async def test_h28_refusals_are_counted_each_and_logged_once(
    servers: Servers, capfd: pytest.CaptureFixture[str]
) -> None:
    async with Service.start(servers.environment(), workers=0, max_connections=10) as service:
        async with connected(service, 7), connected(service, 3, OTHER):
            for _ in range(5):
                (await exchange(service.port, PRESETS))[0].assert_problem(503, "overloaded")
        text = (await service.client.get("/metrics")).text
        assert 'imgsvc_http_problems_total{code="overloaded"} 5.0' in text
    lines = [line for line in capfd.readouterr().err.splitlines() if "too many connections" in line]
    assert len(lines) == 1
    assert '"client":"127.0.0.1"' in lines[0]


async def test_h29_one_client_cannot_have_all_connections(servers: Servers) -> None:
    async with (
        Service.start(servers.environment(), workers=0, max_connections=100) as service,
        connected(service, 90),
        a_client_at(HOSTILE, service) as hostile,
        a_client_at(OTHER, service) as other,
    ):
        assert (await hostile.get("/presets")).status_code == 503
        assert (await other.get("/presets")).status_code == 200


async def test_h29_a_proxy_may_have_all_connections_and_its_clients_are_told_apart(servers: Servers) -> None:
    trusted = f"{HOSTILE}, 10.0.0.0/8"
    async with (
        Service.start(servers.environment(), workers=0, max_connections=20, trusted_proxies=trusted) as service,
        connected(service, 18),
        a_client_at(HOSTILE, service) as proxy,
    ):
        assert (await proxy.get("/presets")).status_code == 200


async def test_h30_a_burst_does_not_pay_for_dripping(servers: Servers) -> None:
    """Half a megabyte at once would be worth minutes at the least rate; the grace is all that it is worth."""
    async with Service.start(servers.environment(), workers=0, body_grace_s=1.5, min_body_rate=1024) as service:
        async with Connection.to(service.port) as connection:
            head = f"POST /upload HTTP/1.1\nContent-Type: image/jpeg\nContent-Length: {MIB}"
            await connection.send(request(head, BIG[: MIB // 2]))
            dripping = asyncio.create_task(connection.trickle([b"x"] * 600, 0.1))
            answer = await connection.answer(50)
            dripping.cancel()
        answer.assert_problem(408, "request_timeout")


async def test_h31_drip_feeders_leave_another_client_its_place(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=0, upload_memory_bytes=64 * MIB) as service:
        head = f"POST /upload HTTP/1.1\nContent-Type: image/jpeg\nContent-Length: {32 * MIB}"
        async with connected(service, 40) as connections:
            sending = [asyncio.create_task(connection.send(request(head, BIG))) for connection in connections]
            refused = asyncio.create_task(until_refused(connections))
            await refused
            async with a_client_at(OTHER, service) as client:
                answer = await client.post("/upload", content=BIG, headers={"content-type": "image/jpeg"})
            assert answer.status_code == 202, answer.text
            for task in sending:
                task.cancel()


async def until_refused(connections: list[Connection]) -> None:
    """Until one of them is told that its client has all that it may have."""
    waiting = [asyncio.create_task(connection.answer(60)) for connection in connections]
    done, others = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    for task in done:
        task.result().assert_problem(503, "overloaded")


async def test_h31_what_is_stored_no_longer_counts(servers: Servers) -> None:
    """An upload of more parts than there is memory for is taken where they come one after the other."""
    async with Service.start(servers.environment(), workers=0, upload_memory_bytes=24 * MIB) as service:
        photo = b"\xff\xd8\xff" + bytes(40 * MIB)
        first = await service.client.post("/upload", content=photo, headers={"content-type": "image/jpeg"})
        assert first.status_code == 202, first.text


async def test_h32_who_reads_an_answer_too_slowly_is_cut_off(servers: Servers) -> None:
    """Not only who reads nothing. The answer is larger than what the sockets hold."""
    async with Service.start(servers.environment(), send_idle_timeout_s=1, min_send_rate=10_000) as service:
        upload_id = await service.upload(images.noise(1500, 1500), variants='{"big": {"width": 1500, "format": "png"}}')
        path = (await service.result(upload_id))["result"]["big"]
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(("127.0.0.1", service.port))
            reader.sendall(request(f"GET {path} HTTP/1.1"))
            port, received = reader.getsockname()[1], 0

            def cut_off() -> bool:
                nonlocal received
                with suppress(ConnectionError):
                    received += len(reader.recv(10))  # a kilobyte a second, as often as this is asked
                return all(c.raddr.port != port for c in api.net_connections("tcp") if c.raddr)

            api = psutil.Process(service.api.pid)
            await until(cut_off, 60)
        assert received > 0


async def test_h32_http_1_0_gets_its_answer_without_chunks(service: Service) -> None:
    upload_id = await service.upload(PHOTO)
    await service.result(upload_id)
    answer, rest = await exchange(service.port, request(f"GET /upload/{upload_id}/events HTTP/1.0"))
    assert "transfer-encoding" not in answer.headers
    assert answer.headers["connection"] == "close"
    assert (answer.body + rest).startswith(b"retry: ")


async def test_h32_an_answer_says_how_long_its_connection_may_be_idle(service: Service) -> None:
    answer = await service.client.get("/healthz")
    assert (answer.headers["connection"], answer.headers["keep-alive"]) == ("keep-alive", "timeout=75")
