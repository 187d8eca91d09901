"""What a request handler needs to reach: the settings, what is offered to whom, and the open services."""

from dataclasses import dataclass

import orjson
from anyio.abc import TaskGroup
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse

from imgsvc.api.http.budget import Budget
from imgsvc.api.http.connections import Connections
from imgsvc.api.http.offer import Offer
from imgsvc.api.http.overlays import StoredOverlays
from imgsvc.api.http.readiness import Health
from imgsvc.domain.file_urls import FileUrls
from imgsvc.jobs.events import Events
from imgsvc.jobs.queue import Queue
from imgsvc.outbound import Outbound
from imgsvc.runtime.metrics import ApiMetrics
from imgsvc.runtime.owners import OwnersTable
from imgsvc.runtime.settings import Settings
from imgsvc.storage import Storage


@dataclass(frozen=True, slots=True)
class Services:
    """`urls` makes the paths of uploads and files. `tasks` outlive their requests, and end with the process."""

    settings: Settings
    offer: Offer
    owners: OwnersTable
    overlays: StoredOverlays
    queue: Queue
    events: Events
    storage: Storage
    outbound: Outbound
    health: Health
    connections: Connections
    uploads: Budget
    urls: FileUrls
    tasks: TaskGroup
    metrics: ApiMetrics


def services_of(request: Request) -> Services:
    return request.state.services


def is_draining(app: Starlette) -> bool:
    """Whether the process is stopping, and only finishes the requests in progress."""
    return getattr(app.state, "draining", False)


def drain(app: Starlette) -> None:
    app.state.draining = True


def end_waiting(app: Starlette) -> None:
    """Ends all answers that wait for a job to change."""
    app.state.events.close()


class Document(JSONResponse):
    """A JSON answer."""

    def render(self, content: object) -> bytes:
        return orjson.dumps(content)
