"""Hosts on loopback from which originals are fetched: slow ones, and what a test counts of them."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from tests.support import images
from tests.support.peers import Listener, Peer
from tests.support.service import Service

PHOTO = images.photo(320, 240)
ANYWHERE: dict[str, Any] = {"outbound_allow": "127.0.0.0/8", "drain_s": 1, "decoders": 1}
"""Settings of services that fetch from loopback, and are stopped while they do."""

_PIECE_BYTES = 64 * 1024


def whole(body: bytes) -> bytes:
    """An answer that comes at once."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An image that begins and never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + PHOTO[:1000])
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.5)


def stopping(body: bytes, after: int, go_on: asyncio.Event, *, length: bool = True) -> Peer:
    """Sends the first `after` bytes of an image, and the rest once it may go on, to a client that is still there."""

    async def may_go_on(reader: asyncio.StreamReader) -> bool:
        waits = [asyncio.ensure_future(go_on.wait()), asyncio.ensure_future(reader.read())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
        return go_on.is_set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"Content-Length: %d\r\n" % len(body) if length else b""
        writer.write(b"HTTP/1.1 200 OK\r\n%s\r\n" % head)
        for at in range(0, len(body), _PIECE_BYTES):
            if at >= after and not go_on.is_set() and not await may_go_on(reader):
                return
            writer.write(body[at : at + _PIECE_BYTES])
            await writer.drain()

    return answer


@asynccontextmanager
async def listeners(count: int, answer: bytes | Peer) -> AsyncGenerator[list[Listener]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Listener.start(answer)) for _ in range(count)]


async def fetched_by(service: Service, key: str, host: Listener, **fields: object) -> str:
    """Has an owner's image fetched; returns its id."""
    body = {"url": f"http://127.0.0.1:{host.port}/photo.jpg", **fields}
    headers = {"authorization": f"Bearer {key}"} if key else {}
    answer = await service.client.post("/upload/url", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def asked(hosts: list[Listener]) -> Callable[[], int]:
    return lambda: sum(host.connections for host in hosts)
