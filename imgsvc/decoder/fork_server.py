"""The fork server, seen from the pool: one warm process that never sees an image, and forks the decoders that do.

Starting an interpreter with Pillow in it and warming it up takes some 150 ms of CPU; forking one that is warm takes 5.
So a decoder costs little enough to be started when it is needed, and to be thrown away when another owner's image
comes; and all of them share most of their memory.
"""

import asyncio
import os
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from anyio import wait_readable

from imgsvc.decoder import pipes, wire
from imgsvc.decoder.process import START_TIMEOUT_S, Decoder, DecoderStartError

_CLOSE_GRACE_S = 5.0
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class ForkServer:
    """The server and its reports about its decoders.

    The kernel kills the server when the thread that started it ends, and the decoders when the server does: start it
    from a thread that stays.

    Raises:
        DecoderStartError: the command cannot be run.
    """

    def __init__(self, command: Sequence[str], greeting: wire.Greeting) -> None:
        self._process, self._control = _spawn(command)
        assert self._process.stderr is not None
        os.set_blocking(self._process.stderr.fileno(), False)
        self._stderr = pipes.Stderr(self._process.stderr.fileno())
        self._exits: dict[int, asyncio.Future[int | None]] = {}
        self._forked: asyncio.Future[tuple[int, int | None]] | None = None
        self._send(wire.frame(greeting))
        self._watcher = asyncio.create_task(self._watch())

    @property
    def is_alive(self) -> bool:
        return not self._watcher.done()

    async def fork(self) -> Decoder:
        """One more decoder, locked down. One is asked for at a time.

        Raises:
            DecoderStartError: it did not come up, and is dead now; so may be the server.
        """
        try:
            (requests_there, requests), (replies, replies_there), (errors, errors_there) = pipes.make(3)
        except OSError as error:
            raise DecoderStartError(f"a decoder did not start: {error}") from error
        for fd in (requests, replies, errors):
            os.set_blocking(fd, False)
        pipes.enlarge(requests)
        pipes.enlarge(replies)
        self._forked = asyncio.get_running_loop().create_future()
        try:
            self._send(wire.frame(wire.Fork()), requests_there, replies_there, errors_there)
            async with asyncio.timeout(START_TIMEOUT_S):
                pid, pidfd = await self._forked
        except (pipes.HungUpError, TimeoutError) as error:
            pipes.close((requests, replies, errors))
            await self.close()
            raise DecoderStartError(f"the decoders' fork server did not start: {self._exit_report()}") from error
        except BaseException:  # DecoderStartError among them, where the machine has no place for another process
            pipes.close((requests, replies, errors))
            raise
        finally:
            self._forked = None
            pipes.close((requests_there, replies_there, errors_there))
        decoder = Decoder(pid, pidfd, self._exits[pid], requests, replies, errors)
        try:
            await decoder.greet()
        except BaseException:
            decoder.kill("closing")
            await decoder.wait_closed()
            raise
        return decoder

    async def close(self) -> None:
        """End the server and what is left of its decoders, and wait until they are gone."""
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)  # at which it kills its decoders, and leaves
        await asyncio.shield(self._watcher)

    def _exit_report(self) -> str:
        return f"exit status {self._process.returncode}; stderr tail: {self._stderr.tail!r}"

    def _send(self, frame: bytes, *fds: int) -> None:
        """The few bytes that it is ever sent always fit into the socket: it is asked for one decoder at a time."""
        with suppress(ConnectionError):  # it has gone, which its watcher is about to see
            socket.send_fds(self._control, [frame], fds)

    async def _watch(self) -> None:
        stderr = asyncio.create_task(self._stderr.read())
        await self._listen()
        if self._forked is not None and not self._forked.done():
            self._forked.set_exception(pipes.HungUpError())
        try:
            await asyncio.to_thread(self._process.wait, _CLOSE_GRACE_S)
        except subprocess.TimeoutExpired:  # it is stopped, or gone wrong; the kernel ends its decoders with it
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        await stderr  # for its last lines
        for exit_status in self._exits.values():
            exit_status.set_result(None)
        self._exits.clear()
        self._control.close()
        assert self._process.stderr is not None
        self._process.stderr.close()

    async def _listen(self) -> None:
        """Read its reports until it closes the pipe."""
        received, handles = b"", list[int]()
        while True:
            await wait_readable(self._control)
            try:
                data, fds, _, _ = socket.recv_fds(self._control, pipes.PIPE_BYTES, 1, _CLOEXEC)
            except BlockingIOError:
                continue
            except ConnectionError:
                return
            if not data:
                return
            received += data
            handles += fds
            while (split := wire.split_frame(received)) is not None:
                header, received = split
                self._take(wire.read_notice(header), handles)

    def _take(self, notice: wire.Forked | wire.NotForked | wire.Exited, handles: list[int]) -> None:
        match notice:
            case wire.Forked(pid):
                self._exits[pid] = asyncio.get_running_loop().create_future()
                pidfd = handles.pop(0) if handles else None
                if self._forked is not None and not self._forked.done():
                    self._forked.set_result((pid, pidfd))
            case wire.NotForked(reason):
                if self._forked is not None and not self._forked.done():
                    self._forked.set_exception(DecoderStartError(f"a decoder did not start: {reason}"))
            case wire.Exited(pid, status):
                self._exits.pop(pid).set_result(status)


def _spawn(command: Sequence[str]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    try:
        ours, theirs = socket.socketpair()
    except OSError as error:
        raise DecoderStartError(f"a decoder did not start: {error}") from error
    with theirs:
        try:
            process = subprocess.Popen(  # noqa: S603 (the command is this package's own)
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                bufsize=0,
                env={},  # ours holds the S3 keys
                cwd="/",
                start_new_session=True,  # a Ctrl-C on our terminal is ours to handle
            )
        except OSError as error:
            ours.close()
            raise DecoderStartError(f"a decoder did not start: cannot run {command[0]}: {error}") from error
    ours.setblocking(False)
    return process, ours
