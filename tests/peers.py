"""Servers on loopback that stand for what clients name: hosts to fetch from, and receivers of webhooks."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import orjson
from standardwebhooks.webhooks import Webhook

from tests.service import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listener:
    """A server on loopback: what it was asked, and by how many connections."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.requests: list[bytes] = []

    async def until_asked(self) -> None:
        async def asked() -> bool:
            return bool(self.requests)

        await until(asked)

    @classmethod
    @asynccontextmanager
    async def start(cls, answer: bytes | Peer = OK) -> AsyncGenerator["Listener"]:
        """Answers every request with the same bytes, or has `answer` speak."""
        listener = cls()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            listener.connections += 1
            try:
                listener.requests.append(await reader.readuntil(b"\r\n\r\n"))
                if isinstance(answer, bytes):
                    writer.write(answer)
                else:
                    await answer(reader, writer)
                await writer.drain()
            except (OSError, asyncio.IncompleteReadError):
                pass  # the client has gone: that is what some tests want of it
            finally:
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        async with server:
            listener.port = server.sockets[0].getsockname()[1]
            yield listener


class Endless:
    """Answers with ten gigabytes, for as long as they are taken."""

    def __init__(self) -> None:
        self.sent = 0

    async def __call__(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
        while True:
            writer.write(bytes(64 * 1024))
            await writer.drain()
            self.sent += 64 * 1024


class Told:
    """One webhook request as it came."""

    def __init__(self, head: bytes, body: bytes) -> None:
        lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:] if line]
        self.headers = {name.lower(): value for name, _, value in lines}
        self.body = body
        self.at = monotonic()

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        return orjson.loads(self.body)

    def verify(self, secret: str) -> None:
        """As a receiver would, by the public library."""
        Webhook(secret).verify(self.body, self.headers)


class Receiver:
    """Gives its answers in turn, and the last one from then on. None is no answer at all."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.told: list[Told] = []
        self.port = 0
        self._heads: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=1"

    @classmethod
    @asynccontextmanager
    async def start(cls, *answers: bytes | None) -> AsyncGenerator["Receiver"]:
        receiver = cls(*answers)
        async with Listener.start(receiver._answer) as listener:
            receiver.port = listener.port
            receiver._heads = listener.requests
            yield receiver

    async def until_told(self, times: int = 1) -> Told:
        """The request of that number, once it has come."""

        async def told() -> bool:
            return len(self.told) >= times

        await until(told)
        return self.told[times - 1]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = self._heads[-1]
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        self.told.append(Told(head, await reader.readexactly(length)))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
