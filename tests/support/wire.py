"""HTTP by hand: what no client library would send, and what it costs the process that it is sent to."""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Self

import orjson
import psutil

from tests.support.memory import memory_peak
from tests.support.service import Service

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: close() sends RST


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return orjson.loads(self.body)

    @property
    def code(self) -> str:
        return self.json["code"]

    def assert_problem(self, status: int, code: str) -> None:
        """It is a problem document, whole, and the last that is said on its connection."""
        document: dict[str, Any] = orjson.loads(self.body)
        assert (self.status, document["status"], document["code"]) == (status, status, code)
        assert self.headers["content-type"] == "application/problem+json"
        assert document.keys() == {"type", "title", "status", "detail", "code", "instance", "request_id"}
        assert document["request_id"] == self.headers["x-request-id"]
        assert document["detail"]


class Connection:
    """One TCP connection to the API."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    @asynccontextmanager
    async def to(cls, port: int, address: str = "127.0.0.1") -> AsyncGenerator[Self]:
        """A connection from `address`, one of the many that loopback has."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        connection = cls(reader, writer)
        try:
            yield connection
        finally:
            writer.transport.abort()

    async def send(self, data: bytes) -> None:
        """Returns once the network has taken it; what the server does not want to hear is no error here."""
        with suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def trickle(self, pieces: Iterable[bytes], pause_s: float) -> None:
        """Sends a piece at a time until all are sent or the server has had enough."""
        for piece in pieces:
            if self._reader.at_eof():
                return
            await self.send(piece)
            await asyncio.sleep(pause_s)

    async def answer(self, deadline_s: float = 10) -> Answer:
        async with asyncio.timeout(deadline_s):
            head = await self._reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(lines[0].split()[1]), headers, body)

    async def rest(self, deadline_s: float = 10) -> bytes:
        """What still comes until the server ends the connection."""
        async with asyncio.timeout(deadline_s):
            data = b""
            with suppress(ConnectionError):
                while piece := await self._reader.read(64 * 1024):
                    data += piece
            return data

    async def until_closed(self, deadline_s: float) -> float:
        """Seconds until the server ends the connection."""
        begin = monotonic()
        await self.rest(deadline_s)
        return monotonic() - begin

    async def read_some(self, size: int = 4096) -> bytes:
        return await self._reader.read(size)

    def is_held_by(self, pid: int) -> bool:
        """Whether that process still has the other end of it; it may be overlooked while the kernel's table changes."""
        port = self._writer.get_extra_info("sockname")[1]
        return any(c.raddr and c.raddr.port == port for c in psutil.Process(pid).net_connections("tcp"))

    def finish(self) -> None:
        """Says that nothing more is sent."""
        self._writer.write_eof()

    def reset(self) -> None:
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._writer.transport.abort()


async def exchange(port: int, data: bytes, deadline_s: float = 10) -> tuple[Answer, bytes]:
    """The answer to `data`, and what else is said until the server ends the connection."""
    async with Connection.to(port) as connection:
        sending = asyncio.create_task(connection.send(data))
        try:
            return await connection.answer(deadline_s), await connection.rest(deadline_s)
        finally:
            sending.cancel()


def request(head: str, body: bytes = b"", host: str = "localhost") -> bytes:
    """A request of these lines, the Host between its first and the others."""
    first, _, others = head.partition("\n")
    lines = [first, f"Host: {host}", *filter(None, others.split("\n"))]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@dataclass
class Cost:
    cpu_s: float = 0.0
    memory: int = 0
    """By how many bytes the most that was resident exceeded what was before."""

    def __str__(self) -> str:
        return f"CPU {self.cpu_s * 1000:.0f} ms, RSS {self.memory / 1024**2:+.1f} MiB"


@asynccontextmanager
async def metered(service: Service) -> AsyncGenerator[Cost]:
    """What the API process spends within the block (Linux)."""
    api, cost = psutil.Process(service.api.pid), Cost()
    Path(f"/proc/{api.pid}/clear_refs").write_text("5")  # the peak begins anew (proc(5))
    memory, cpu = api.memory_info().rss, _cpu_s(api)
    yield cost
    cost.cpu_s = _cpu_s(api) - cpu
    cost.memory = memory_peak(api.pid) - memory


def bytes_read(service: Service) -> int:
    """What the API process has read so far, from files and sockets alike (Linux)."""
    counters: Any = psutil.Process(service.api.pid).io_counters()
    return counters.read_chars


def _cpu_s(process: psutil.Process) -> float:
    """From the scheduler's own account in nanoseconds, which clock ticks are too coarse for."""
    tasks = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
