"""The writing side of a connection: its end neither cuts off the last answer nor waits for ever for its reader."""

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Callable
from contextlib import suppress

from imgsvc.api.http.pace import Pace

LINGER_S = 2.0
"""For how long the sender of a body that was answered early may be silent before its connection is closed."""

MAX_LINGER_S = 30.0
"""How long its sender is read from at most, in seconds. Many clients read the answer only once they have sent all
(wget, http.client), or lose it to a reset (the JDK's)."""

_LEAST_WATCH_S = 0.5
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time
_INT = struct.Struct("i")


class Transport(asyncio.Transport):
    """Wraps the event loop's transport.

    Args:
        pace: how slowly the client may read what waits for it.
        has_unread: whether a plain close could reset the connection, and so take the answer from its reader.
        discarded: how many bytes have come and were not looked at.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        pace: Pace,
        has_unread: Callable[[], bool],
        discarded: Callable[[], int],
    ) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._pace = pace
        self._has_unread = has_unread
        self._discarded = discarded
        self._lingers = False
        self._written = 0
        self._watch: asyncio.TimerHandle | None = None
        self._watch_start = (0.0, 0)  # the time, and the bytes that the client had taken by then

    def close(self) -> None:
        """Where its sender has not been read to the end, says that nothing more is sent, and reads on for a while."""
        if self.is_closing():
            return
        if self._has_unread():
            self._lingers = True
            self._transport.write_eof()
            self._transport.resume_reading()  # which a body that nobody took may have paused
            self._loop.call_later(LINGER_S, self._linger, self._loop.time() + MAX_LINGER_S, self._discarded())
        else:
            self._transport.close()
        self.watch()

    def _linger(self, end: float, discarded: int) -> None:
        """Reads on for as long as something comes."""
        if self._discarded() == discarded or self._loop.time() >= end:
            self._transport.close()
        elif not self._transport.is_closing():
            self._loop.call_later(LINGER_S, self._linger, end, self._discarded())

    def watch(self) -> None:
        """Starts the clock of a client that has data to read: one that reads too slowly is cut off."""
        if self._watch is None and self._transport.get_write_buffer_size():
            self._watch_start = self._loop.time(), self._taken
            self._watch = self._loop.call_later(max(_LEAST_WATCH_S, self._pace.left_s), self._judge)

    def unwatch(self) -> None:
        """Stops that clock: the client has read everything."""
        if self._watch is not None and not self.is_closing():
            self._watch.cancel()
            self._count()

    def _judge(self) -> None:
        self._count()
        if self._transport.get_write_buffer_size() and self._pace.left_s <= 0:
            self._reset()
        else:
            self.watch()

    def _reset(self) -> None:
        """Ends the connection and drops what the kernel holds of it: megabytes that it would go on serving, for hours
        to a reader as slow as this, after a plain close.
        """
        with suppress(OSError):  # it has ended meanwhile
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def _count(self) -> None:
        since, taken = self._watch_start
        self._pace.record(self._taken - taken, self._loop.time() - since)
        self._watch = None

    @property
    def _taken(self) -> int:
        """Bytes that the client's machine has acknowledged. What our kernel took says little: it takes megabytes at
        once, and then nothing for as long as an honest but slow reader needs for a third of them.
        """
        return self._written - self._transport.get_write_buffer_size() - self._in_kernel()

    def _in_kernel(self) -> int:
        """Bytes of the socket's send queue, or 0 where the system does not tell."""
        try:
            return _INT.unpack(fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(_INT.size)))[0]
        except (OSError, ValueError):  # closed meanwhile, or no TCP on Linux
            return 0

    @property
    def _socket(self) -> socket.socket:
        return self._transport.get_extra_info("socket")

    def is_closing(self) -> bool:
        return self._lingers or self._transport.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._written += len(data)
        self._transport.write(data)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._transport.get_extra_info(name, default)
