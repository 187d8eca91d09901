"""The API's process: uvicorn on one socket, with its own answers in our shape."""

import logging
import secrets

import uvloop
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from imgsvc.api.app import create_app
from imgsvc.api.errors import problem
from imgsvc.process import listen
from imgsvc.settings import Settings

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 30


class Protocol(HttpToolsProtocol):
    """httptools' strict parser; what it refuses before there is a request is a problem document too."""

    def send_400_response(self, msg: str) -> None:
        request_id = secrets.token_hex(8)
        body = problem("malformed_request", "The request is not valid HTTP/1.1.", "", request_id)
        head = (
            b"content-type: application/problem+json\r\nconnection: close\r\n"
            b"x-request-id: %b\r\ncontent-length: %d\r\n\r\n" % (request_id.encode(), len(body))
        )
        self.transport.write(STATUS_LINE[400] + head + body)
        self.transport.close()


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then lets requests under way finish for `drain_s` seconds."""
    listener = listen(settings)
    config = Config(
        create_app(settings),
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=round(settings.drain_s),
        proxy_headers=False,
    )
    log.info("listening on http://%s:%d", settings.host, settings.port)
    uvloop.run(Server(config).serve(sockets=[listener]))
