"""A host that sends without end, from a thread of its own, so that the event loop under test only receives."""

import asyncio
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from time import thread_time

_BLOCK_BYTES = 1024 * 1024


@contextmanager
def flood(first: bytes, repeated: bytes) -> Generator[int]:
    """Listens on loopback and yields the port: sends `first`, then `repeated` for as long as the client takes it."""
    block = repeated * max(1, _BLOCK_BYTES // len(repeated))

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):  # the client has gone
                    connection.recv(64 * 1024)
                    connection.sendall(first)
                    while True:
                        connection.sendall(block)

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve, args=(listener,))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        listener.close()
        thread.join(10)


class LoopLoad:
    """Measures the CPU time, in seconds, that passes of the running event loop take."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.total_s = 0.0

    async def watch(self) -> None:
        """Measures until it is cancelled; CPU time, so that a busy machine does not count."""
        last = thread_time()
        while True:
            await asyncio.sleep(0)
            now = thread_time()
            self.longest_s = max(self.longest_s, now - last)
            self.total_s += now - last
            last = now
