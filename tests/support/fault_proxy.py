"""A TCP proxy in front of Valkey or S3, through which a test breaks the network between them and the service."""

import asyncio
import math
import random
import re
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from imgsvc.jobs import scripts

_READ_BYTES = 64 * 1024
_CLOSE_S = 1.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: close() sends RST


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, on connections that are open already too.

    It strikes every request and its answer; or only those in which the pattern `on` is found (in HTTP: in the head),
    or a random `share` of them, or the first `times`. A request is what a Redis client writes at once, or one of HTTP.
    """

    on: bytes = b""
    share: float = 1.0
    times: float = math.inf
    latency_s: float = 0.0
    """Of each piece, either way."""
    bytes_per_s: float = math.inf
    """Of each connection, each way."""
    silent: bool = False
    """Nothing passes either way, and nobody is told. What was held back goes on its way when the fault is lifted."""
    cut_after: float = math.inf
    """Bytes of a connection, both ways together, before it is closed; with `on`, of the request and its answer."""
    statuses: tuple[int, ...] = ()
    """One of these is answered to an HTTP request that the server never sees."""
    drop_reply: bool = False
    """The server does what it is asked, but its answer is lost with the connection."""

    @property
    def picks(self) -> bool:
        return bool(self.on) or self.share < 1 or self.times < math.inf


NONE = Fault()


def script(name: str) -> bytes:
    """What a Redis client calls a Lua script of ours by: a pattern for `on`."""
    return scripts.script(name)[1].encode()


class Proxy:
    """Set `fault` at any time; NONE lifts it. `struck` counts the requests that met it."""

    def __init__(self, host: str, port: int, seed: int) -> None:
        self._target = host, port
        self._socket = _bound(0)
        self.port: int = self._socket.getsockname()[1]
        self._random = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._lines: dict[_Line, asyncio.Task[None]] = {}
        self._fault = NONE
        self.changed = asyncio.Event()
        self.struck = 0

    @classmethod
    @asynccontextmanager
    async def to(cls, host: str, port: int, *, seed: int = 0) -> AsyncGenerator[Self]:
        proxy = cls(host, port, seed)
        try:
            await proxy.accept()
            yield proxy
        finally:
            running = list(proxy._lines.values())
            proxy.refuse()
            proxy._socket.close()
            await asyncio.gather(*running)

    def url(self, original: str) -> str:
        """The same URL, with the proxy's port."""
        parts = urlsplit(original)
        return parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{self.port}")).geturl()

    def lead_to(self, port: int) -> None:
        """New connections go to that port, as when a name stands for another server; those that are open stay."""
        self._target = self._target[0], port

    def forget(self) -> None:
        """Passes nothing any more on what is open, and tells nobody, as a NAT does after an idle hour."""
        for line in self._lines:
            line.is_forgotten = True

    @property
    def fault(self) -> Fault:
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        self._fault, self.struck = fault, 0
        self.changed.set()
        self.changed = asyncio.Event()

    async def accept(self) -> None:
        """Listens again after `refuse`."""
        self._server = await asyncio.start_server(self._connected, sock=self._socket)

    def refuse(self) -> None:
        """Resets what is open and refuses what comes, as when the server's process is gone."""
        if self._server:
            self._server.close()
            self._server = None
            self._socket = _bound(self.port)  # bound, so that nobody else takes the port, and not listening
        self.reset()

    def reset(self) -> None:
        """Ends all open connections by RST."""
        for line, running in self._lines.items():
            line.reset()
            running.cancel()

    def strikes(self, request: bytes) -> bool:
        fault = self._fault
        struck = (
            bool(re.search(fault.on, request)) and self.struck < fault.times and self._random.random() < fault.share
        )
        self.struck += struck
        return struck

    def a_status(self) -> int:
        return self._random.choice(self._fault.statuses)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = _Line(self, reader, writer)
        if self._server is None:  # it was taken just before nobody listened any more
            line.reset()
            return
        running = self._lines[line] = asyncio.create_task(line.run(*self._target))
        running.add_done_callback(lambda _: self._lines.pop(line))


class _Line:
    """One connection of the service, and the one to the server behind it."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = reader, writer
        self._struck: Fault | None = None
        self._passed = 0
        self.is_forgotten = False

    def reset(self) -> None:
        with suppress(OSError):  # its client was faster
            self._client[1].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._client[1].transport.abort()

    async def run(self, host: str, port: int) -> None:
        reader, writer = self._client
        writers = [writer]
        pumps: list[asyncio.Task[None]] = []
        with suppress(OSError, asyncio.CancelledError):
            try:
                server = await asyncio.open_connection(host, port)
                writers.append(server[1])
                pumps += [
                    asyncio.create_task(self._requests(reader, server[1])),
                    asyncio.create_task(self._answers(server[0], writer)),
                ]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                await _stop(pumps)
                await _close(writers)

    async def _requests(self, client: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        left = status = 0
        while piece := await self._read(client):
            if left == 0:
                if not piece.startswith(b"*"):  # not Redis, so HTTP: its head at once
                    piece += b"" if b"\r\n\r\n" in piece else await client.readuntil(b"\r\n\r\n")
                left = _size(piece)
                status = self._begin(piece)
            left -= len(piece)
            if not status:
                await self._pass(piece, server)
            elif left == 0:
                await self._pass(_answer(status), self._client[1])

    async def _answers(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while piece := await self._read(server):
            if self._fault.drop_reply:
                return
            await self._pass(piece, client)

    def _begin(self, request: bytes) -> int:
        """A new request: is it struck, and is it answered here, and by which status?"""
        fault = self._proxy.fault
        self._struck = fault if self._proxy.strikes(request.partition(b"\r\n\r\n")[0]) else None
        if fault.on:
            self._passed = 0
        return self._proxy.a_status() if self._struck and fault.statuses else 0

    @property
    def _fault(self) -> Fault:
        fault = self._proxy.fault
        return NONE if fault.picks and self._struck is not fault else fault

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        return await reader.read(max(1, int(min(_READ_BYTES, self._fault.bytes_per_s / 20))))

    async def _pass(self, piece: bytes, writer: asyncio.StreamWriter) -> None:
        if delay := self._fault.latency_s + len(piece) / self._fault.bytes_per_s:
            await asyncio.sleep(delay)
        while self._fault.silent or self.is_forgotten:
            await self._proxy.changed.wait()
        room = self._fault.cut_after - self._passed
        self._passed += len(piece)
        writer.write(piece if len(piece) <= room else piece[: max(0, int(room))])
        await writer.drain()
        if len(piece) > room:
            raise ConnectionAbortedError


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _size(request: bytes) -> int:
    """Bytes of the request that `request` begins."""
    head, end, _ = request.partition(b"\r\n\r\n")
    if request.startswith(b"*") or not end:
        return len(request)
    length = _LENGTH.search(head)
    return len(head) + len(end) + (int(length[1]) if length else 0)


def _answer(status: int) -> bytes:
    body = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
    return (
        b"HTTP/1.1 %d Fault\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body
    )


async def _stop(pumps: list[asyncio.Task[None]]) -> None:
    for pump in pumps:
        pump.cancel()
    for pump in pumps:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await pump


async def _close(writers: list[asyncio.StreamWriter]) -> None:
    """Flushes what was written, unless its reader does not want it."""
    for writer in writers:
        writer.close()
    try:
        async with asyncio.timeout(_CLOSE_S):
            for writer in writers:
                with suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        for writer in writers:
            writer.transport.abort()
