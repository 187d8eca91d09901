"""The API's process: uvicorn on one socket, with its own answers in our shape."""

import asyncio
import logging
import secrets
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager

import uvloop
from starlette.applications import Starlette
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from imgsvc.api.app import create_app
from imgsvc.api.context import drain, end_waiting, is_draining
from imgsvc.api.errors import problem
from imgsvc.process import listen, load_presets
from imgsvc.settings import Settings

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 30
LINGER_BYTES = 64 * 1024
LINGER_S = 2.0
"""What is still read of a body that was answered early, so that its sender gets to see the answer."""


class Protocol(HttpToolsProtocol):
    """httptools' strict parser; what it refuses before there is a request is a problem document too."""

    _discarded = 0

    def send_400_response(self, msg: str) -> None:
        request_id = secrets.token_hex(8)
        body = problem("malformed_request", "The request is not valid HTTP/1.1.", "", request_id)
        head = (
            b"content-type: application/problem+json\r\nconnection: close\r\n"
            b"x-request-id: %b\r\ncontent-length: %d\r\n\r\n" % (request_id.encode(), len(body))
        )
        self.transport.write(STATUS_LINE[400] + head + body)
        self.transport.close()

    def on_response_complete(self) -> None:
        unread = self.cycle.more_body
        super().on_response_complete()
        if unread:  # uvicorn alone would read it to its end, which may never come
            self._discarded = 0
            self._unset_keepalive_if_required()
            self.loop.call_later(LINGER_S, self._end_linger, self.cycle)

    def on_body(self, body: bytes) -> None:
        if self.cycle.response_complete:
            self._discarded += len(body)
            if self._discarded > LINGER_BYTES:
                self.flow.pause_reading()  # a close now would reset the connection under the answer
        super().on_body(body)

    def _end_linger(self, cycle: object) -> None:
        if self.cycle is cycle and self.cycle.more_body:
            self.transport.close()


class _Server(Server):
    """uvicorn that stops in three steps: it says so in /readyz, then takes no more connections, then ends."""

    def __init__(self, config: Config, app: Starlette, drain_delay_s: float) -> None:
        super().__init__(config)
        self._app = app
        self._drain_delay_s = drain_delay_s

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """uvicorn's own raises the signal again after a clean stop, and so ends with 143 where 0 is meant."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, self._stop, signum)
        yield

    def _stop(self, signum: int) -> None:
        if is_draining(self._app):  # told twice: at once
            self.handle_exit(signum, None)
            return
        drain(self._app)
        asyncio.get_running_loop().call_later(self._drain_delay_s, self.handle_exit, signum, None)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends what waits for a job only now: before, who comes again would come to this process again."""
        end_waiting(self._app)
        await super().shutdown(sockets)


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then lets requests under way finish for `drain_s` seconds."""
    presets = load_presets(settings)
    listener = listen(settings)
    app = create_app(settings, presets)
    config = Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        proxy_headers=False,
    )
    log.info("listening on http://%s:%d", settings.host, settings.port)
    uvloop.run(_Server(config, app, settings.drain_delay_s).serve(sockets=[listener]))
