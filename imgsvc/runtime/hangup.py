"""SIGHUP: a request to read files again; or, where a terminal was closed, to stop."""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)


def ignore() -> None:
    """Until `on_hangup`, since the signal would end the process."""
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda _number, _frame: None)


def on_hangup(read_again: Callable[[], Awaitable[object]], stop: Callable[[], object]) -> None:
    """Has the running loop call `read_again` at each SIGHUP, or `stop` if our terminal is gone.

    It is sent by an operator, or by the kernel when the terminal is closed; then nobody sees the process any more, and
    it ends as with Ctrl-C, unless it was started by nohup. Signals that come during a call cause one more after it.
    """
    loop = asyncio.get_running_loop()
    ends_with_terminal = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _has_terminal()
    wanted = asyncio.Event()

    async def read_when_wanted() -> None:
        while True:
            await wanted.wait()
            wanted.clear()
            try:
                await read_again()
            except Exception:  # what serves goes on
                log.exception("files could not be read again")

    reading: list[asyncio.Task[None]] = []

    def hung_up() -> None:
        if ends_with_terminal and not _has_terminal():
            stop()
            return
        wanted.set()
        if not reading:
            reading.append(loop.create_task(read_when_wanted()))

    loop.add_signal_handler(signal.SIGHUP, hung_up)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True
