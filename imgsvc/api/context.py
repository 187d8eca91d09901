"""What a request handler needs to reach: the settings and the open services."""

from dataclasses import dataclass

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse

from imgsvc.jobs.queue import Queue
from imgsvc.settings import Settings
from imgsvc.storage import Storage


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    queue: Queue
    storage: Storage


def services(request: Request) -> Services:
    return request.state.services


class Document(JSONResponse):
    """A JSON answer."""

    def render(self, content: object) -> bytes:
        return orjson.dumps(content)
