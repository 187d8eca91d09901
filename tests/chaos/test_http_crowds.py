"""One client with very many connections of every unkind sort, and another that only wants to upload (rows H33, H37)."""

import asyncio
import resource
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from time import monotonic

import httpx
import pytest

from imgsvc.runtime.settings import MIB
from tests.support import images
from tests.support.service import Servers, Service, until
from tests.support.wire import Connection, metered, request

HOSTILE, OTHER = "127.0.0.2", "127.0.0.3"
IDLE, DRIPPING, READING = 2000, 40, 200
BIG = b"\xff\xd8\xff" + bytes(5 * MIB)
DRIP = request(f"POST /upload HTTP/1.1\nContent-Type: image/jpeg\nContent-Length: {32 * MIB}")
CUT_OFF_S = 120
"""Readers at 115 bytes a second are cut off after some 35 s of 30; a slow machine has this long."""


@pytest.fixture(autouse=True)
def many_files() -> Generator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Crowd:
    """Sockets of one address, each of which does something slowly until the service has had enough of it."""

    def __init__(self, service: Service, address: str) -> None:
        self._service, self._address = service, address
        self._tasks: list[asyncio.Task[float]] = []
        self._begun = 0

    @classmethod
    @asynccontextmanager
    async def of(cls, service: Service, address: str) -> AsyncGenerator["Crowd"]:
        crowd = cls(service, address)
        try:
            yield crowd
        finally:
            for task in crowd._tasks:
                task.cancel()
            await asyncio.gather(*crowd._tasks, return_exceptions=True)

    def idle(self) -> None:
        self._tasks.append(asyncio.create_task(self._use(b"", 0, 60)))

    def drip(self) -> None:
        self._tasks.append(asyncio.create_task(self._use(DRIP + BIG, 1, 10)))

    def read(self, path: str) -> asyncio.Task[float]:
        task = asyncio.create_task(self._use(request(f"GET {path} HTTP/1.1"), 0, 1, read=115))
        self._tasks.append(task)
        return task

    async def until_begun(self, count: int) -> None:
        """Until so many have sent what they send at first, or were cut off before."""
        await until(lambda: self._begun >= count, 60)

    async def _use(self, first: bytes, more: int, every_s: float, read: int = 4096) -> float:
        """Sends `first`, then `more` bytes and reads `read` of them at a time; seconds until the connection ends."""
        loop, begin = asyncio.get_running_loop(), monotonic()
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            sock.bind((self._address, 0))
            try:
                try:
                    await loop.sock_connect(sock, ("127.0.0.1", self._service.port))
                    await loop.sock_sendall(sock, first)
                finally:
                    self._begun += 1
                while await self._received(sock, read, every_s):
                    await loop.sock_sendall(sock, bytes(more))
            except ConnectionError:
                pass  # it is cut off
        return monotonic() - begin

    async def _received(self, sock: socket.socket, size: int, every_s: float) -> bool:
        """Waits a moment, and reads; whether the connection is still there."""
        await asyncio.sleep(every_s)
        try:
            return bool(sock.recv(size))
        except BlockingIOError:
            return True


async def test_h33_one_clients_crowd_leaves_another_its_upload_and_is_cut_off(servers: Servers) -> None:
    async with Service.start(servers.environment(), max_uploads_bytes=DRIPPING * len(BIG) - 1) as service:
        noise = images.encoded(images.Image.effect_noise((1500, 1500), 100).convert("RGB"), "PNG")
        upload_id = await service.upload(noise, variants='{"big": {"width": 1500, "format": "png"}}')
        path = (await service.result(upload_id))["result"]["big"]
        async with Crowd.of(service, HOSTILE) as crowd:
            readers = [crowd.read(path) for _ in range(READING)]
            for _ in range(DRIPPING):
                crowd.drip()
            await crowd.until_begun(READING + DRIPPING)
            for _ in range(IDLE):
                crowd.idle()
            await crowd.until_begun(READING + DRIPPING + IDLE)
            took = [await upload_takes_s(service, OTHER) for _ in range(3)]
            print(f"5 MB beside the crowd took {', '.join(f'{seconds:.2f}' for seconds in took)} s")
            done, still = await asyncio.wait(readers, timeout=CUT_OFF_S)
            cut = sorted(task.result() for task in done)
            print(f"slow readers cut off: {len(done)} of {READING}, the last after {cut[-1] if cut else 0:.1f} s")
            assert not still
    assert max(took) < 10


WAITING, PER_CONNECTION_BYTES = 300, 128 * 1024
LARGE = request("GET /healthz HTTP/1.1\nX-Large: " + "x" * 30_000)
LATE = "GET /upload/{id}/status?wait=30 HTTP/1.1"


@pytest.mark.parametrize(
    ("head", "more"),
    [
        pytest.param(LATE, LARGE * 15, id="heads"),
        pytest.param(LATE, DRIP + BIG, id="a body"),
        pytest.param(f"{LATE}\nContent-Length: {len(BIG)}", BIG, id="its own body"),
        pytest.param(f"{LATE}\nTransfer-Encoding: chunked", b"1\r\nx\r\n0\r\n\r\n" + LARGE * 15, id="behind chunks"),
        pytest.param(f"{LATE}\nTransfer-Encoding: chunked", b"1\r\nx\r\n0\r\nX: " + bytes(40_000), id="half a trailer"),
        pytest.param(f"{LATE}\nX-Large: {'x' * 30_000}", LARGE[:-4], id="half a head"),
    ],
)
async def test_h37_what_waits_on_connections_stays_with_the_kernel(servers: Servers, head: str, more: bytes) -> None:
    async with Service.start(servers.environment(), workers=0) as service, AsyncExitStack() as stack:
        upload_id = await service.upload(images.photo(64, 48))
        sent = request(head.format(id=upload_id)) + more
        async with metered(service) as cost:
            tasks = stack.enter_context(cancelled_at_the_end())
            for _ in range(WAITING):
                connection = await stack.enter_async_context(Connection.to(service.port, HOSTILE))
                tasks.append(asyncio.create_task(connection.send(sent)))
            took: list[float] = []
            for _ in range(20):
                begin = monotonic()
                assert (await service.client.get("/healthz")).status_code == 200
                took.append(monotonic() - begin)
                await asyncio.sleep(0.05)
    print(f"{cost}; another client waited {max(took):.2f} s at most")
    assert cost.memory < WAITING * PER_CONNECTION_BYTES
    assert max(took) < 3


@contextmanager
def cancelled_at_the_end() -> Generator[list[asyncio.Task[None]]]:
    tasks: list[asyncio.Task[None]] = []
    yield tasks
    for task in tasks:
        task.cancel()


async def test_h38_large_heads_count_in_the_memory_for_uploads(servers: Servers) -> None:
    """Of one client half of 17 MiB: 250 heads of 50 kB, 16 KiB of each uncounted, are more than it may hold."""
    settings = {"max_upload_bytes": MIB, "max_uploads_bytes": 17 * MIB, "client_share": 0.5, "max_connections": 1000}
    async with Service.start(servers.environment(), workers=0, **settings) as service, AsyncExitStack() as stack:
        head = request("GET /healthz?" + "q" * 16_000 + " HTTP/1.1\nX-Large: " + "x" * 30_000)[:-4]
        connections = [
            await stack.enter_async_context(Connection.to(service.port, HOSTILE)) for _ in range(2 * WAITING)
        ]
        for connection in connections:
            await connection.send(head)
        (await connections[-1].answer()).assert_problem(503, "overloaded")
        answer = await service.client.post("/upload", content=BIG[:MIB], headers={"content-type": "image/jpeg"})
        assert answer.status_code == 202, answer.text


async def upload_takes_s(service: Service, address: str) -> float:
    transport = httpx.AsyncHTTPTransport(local_address=address)
    begin = monotonic()
    async with httpx.AsyncClient(base_url=service.url, transport=transport, timeout=60) as client:
        answer = await client.post("/upload", content=BIG, headers={"content-type": "image/jpeg"})
    assert answer.status_code == 202, answer.text
    return monotonic() - begin
