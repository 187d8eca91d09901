"""What a request handler needs to reach: the settings, the presets and the open services."""

from dataclasses import dataclass

import orjson
from anyio.abc import TaskGroup
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse

from imgsvc.api.budget import Budget
from imgsvc.api.connections import Connections
from imgsvc.api.health import Health
from imgsvc.jobs.events import Events
from imgsvc.jobs.queue import Queue
from imgsvc.links import Link
from imgsvc.metrics import ApiMetrics
from imgsvc.outbound import Outbound
from imgsvc.presets import Presets
from imgsvc.settings import Settings
from imgsvc.storage import Storage


@dataclass(frozen=True, slots=True)
class Services:
    """`link` makes the paths of uploads and files. `tasks` go on behind the answers; they end with the process."""

    settings: Settings
    presets: Presets
    queue: Queue
    events: Events
    storage: Storage
    outbound: Outbound
    health: Health
    connections: Connections
    uploads: Budget
    link: Link
    tasks: TaskGroup
    metrics: ApiMetrics


def services(request: Request) -> Services:
    return request.state.services


def is_draining(app: Starlette) -> bool:
    """Whether the process was told to stop, and only finishes what is under way."""
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
