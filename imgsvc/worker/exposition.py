"""A worker's metrics over HTTP: short answers, to a few connections at a time."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from imgsvc.runtime.metrics import CONTENT_TYPE, Metrics

DEADLINE_S = 5.0
MAX_CONNECTIONS = 8
_MAX_HEAD_BYTES = 8 * 1024


@asynccontextmanager
async def exposed(metrics: Metrics, listener: socket.socket | None) -> AsyncGenerator[None]:
    """Serves the metrics at `listener`, if there is one, until the context is left."""
    if listener is None:
        yield
        return
    connections = set[asyncio.Task[None]]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(connections) < MAX_CONNECTIONS:
                connections.add(task)
                await _answer(metrics, reader, writer)
        finally:
            connections.discard(task)
            writer.transport.abort()  # the answer is in the kernel's buffer by now

    server = await asyncio.start_server(answer, sock=listener, limit=_MAX_HEAD_BYTES)
    try:
        yield
    finally:
        server.close()
        for task in connections:
            task.cancel()


async def _answer(metrics: Metrics, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # a client that hangs up, is too slow or sends too much gets no answer
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        async with asyncio.timeout(DEADLINE_S):
            head = await reader.readuntil(b"\r\n\r\n")
            found = head.startswith(b"GET /metrics ")
            body = metrics.exposition() if found else b""
            writer.write(
                b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
                % (b"200 OK" if found else b"404 Not Found", CONTENT_TYPE.encode(), len(body))
            )
            writer.write(body)
            writer.transport.set_write_buffer_limits(high=0)  # so that drain waits for all of it
            await writer.drain()
