"""One client with very many connections of every unkind sort, and another that only wants to upload (row H33)."""

import asyncio
import resource
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from time import monotonic

import httpx
import pytest

from imgsvc.runtime.settings import MIB
from tests.support import images
from tests.support.service import Servers, Service, until
from tests.support.wire import request

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


async def upload_takes_s(service: Service, address: str) -> float:
    transport = httpx.AsyncHTTPTransport(local_address=address)
    begin = monotonic()
    async with httpx.AsyncClient(base_url=service.url, transport=transport, timeout=60) as client:
        answer = await client.post("/upload", content=BIG, headers={"content-type": "image/jpeg"})
    assert answer.status_code == 202, answer.text
    return monotonic() - begin
