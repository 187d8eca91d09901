"""Servers on loopback that stand for what clients name: hosts to fetch from, and receivers of webhooks."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import orjson
from standardwebhooks.webhooks import Webhook

from tests.support.service import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
HOLD = b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"decision": "hold"}'
"""What a gate answers that has somebody look at an image."""

EVIL_URLS = (
    "http://127.0.0.1:{port}/",
    "http://localhost:{port}/",
    "http://localhost.:{port}/",
    "http://LOCALHOST:{port}/",
    "http://0.0.0.0:{port}/",
    "http://0:{port}/",
    "http://127.1:{port}/",
    "http://127.255.255.254:{port}/",
    "http://2130706433:{port}/",
    "http://017700000001:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.1:{port}/",
    "http://0177.0.0.0x1:{port}/",
    "http://\uff11\uff12\uff17.0.0.1:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[64:ff9b::127.0.0.1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://[fe80::1%25lo]:{port}/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://100.100.100.200/latest/meta-data/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "https://127.0.0.1:{port}/",
    "http://user:password@127.0.0.1:{port}/",
    "http://example.com@127.0.0.1:{port}/",
    "http://example.com\\@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\r\nX-Injected: 1/",
    "http://127.0.0.1:0/",
    "http://127.0.0.1:65536/",
    "http:///path",
    "http:127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "127.0.0.1:{port}",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_GET",
    "ftp://127.0.0.1:{port}/",
    "data:image/png;base64,AAAA",
    "http://[::1",
    "http://" + "a" * 64 + ".example/",
    "http://example.com/" + "a" * 2048,
    "",
)
"""Refused wherever they are given; {port} is that of a canary."""

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
    async def start(cls, answer: bytes | Peer = OK, host: str = "127.0.0.1") -> AsyncGenerator["Listener"]:
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

        server = await asyncio.start_server(connected, host, 0)
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
        self.will_answer(*answers)
        self.told: list[Told] = []
        self.port = 0
        self._heads: list[bytes] = []

    def will_answer(self, *answers: bytes | None) -> None:
        self.answers = list(answers)

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
