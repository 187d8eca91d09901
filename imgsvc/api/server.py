"""The API's process: uvicorn on one socket, and how it starts and stops."""

import asyncio
import logging
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import uvloop
from starlette.applications import Starlette
from starlette.types import ASGIApp
from uvicorn import Config, Server

from imgsvc.api.app import create_app
from imgsvc.api.http.context import drain, end_waiting, is_draining
from imgsvc.api.http.protocol import Protocol
from imgsvc.runtime.hangup import on_hangup
from imgsvc.runtime.listening import listening
from imgsvc.runtime.settings import Settings
from imgsvc.runtime.startup import allow_files, load_presets

log = logging.getLogger(__name__)

_OTHER_FILES = 512  # connections to Redis and S3, and those that are being refused


class _Server(Server):
    """uvicorn that stops in three steps: /readyz says so, then it closes its listeners, then it ends."""

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
        on_hangup(self._app.state.reload, partial(self._stop, signal.SIGTERM))
        yield

    def _stop(self, signum: int) -> None:
        if is_draining(self._app):  # the second signal
            self.handle_exit(signum, None)
            return
        drain(self._app)
        asyncio.get_running_loop().call_later(self._drain_delay_s, self.handle_exit, signum, None)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends what waits for a job only now: before, a client that reconnects would come to this process again."""
        end_waiting(self._app)
        await super().shutdown(sockets)


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then lets requests under way finish for `drain_s` seconds."""
    catalogue = load_presets(settings)
    allow_files(settings.max_connections + _OTHER_FILES)
    app = create_app(settings, catalogue)
    with listening(settings) as listeners:
        log.info("listening on %s", settings.where)
        uvloop.run(_Server(config_of(app, settings), app, settings.drain_delay_s).serve(sockets=listeners))


def config_of(app: ASGIApp, settings: Settings) -> Config:
    """uvicorn's configuration, nothing of it from the environment."""
    return Config(
        app,
        workers=1,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        proxy_headers=False,
    )
