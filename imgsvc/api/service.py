"""The service as a whole: whether it is alive and ready, its metrics, and the presets it offers."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.http.access import owner_of
from imgsvc.api.http.context import Document, is_draining, services_of
from imgsvc.api.http.errors import RETRY_AFTER_S
from imgsvc.domain.documents import Health, Presets, Readiness
from imgsvc.domain.presets import document as fields
from imgsvc.jobs.queue import QueueUnavailableError
from imgsvc.jobs.types import QueueStats
from imgsvc.runtime.metrics import CONTENT_TYPE, Dependency, Depth
from imgsvc.storage import StorageError

T = TypeVar("T")

SCRAPE_S = 1.0
"""How long what is away may hold up /metrics."""


async def healthz(_: Request) -> Response:
    document: Health = {"status": "ok"}
    return Document(document)


async def readyz(request: Request) -> Response:
    """503 while Redis or S3 is away, and while this process stops. That no worker is alive is reported, and no reason
    to refuse uploads. Strangers learn no more than whether it is ready.
    """
    services = services_of(request)
    if is_draining(request.app):  # whatever Redis and S3 would answer, and when
        return _not_ready({"status": "draining"})
    checks = await services.health.checks()
    document: Readiness = {"status": "ready" if checks["queue"]["ok"] and checks["storage"]["ok"] else "not_ready"}
    if services.settings.api_keys is None or owner_of(request):
        document["checks"] = checks
    return Document(document) if document["status"] == "ready" else _not_ready(document)


def _not_ready(document: Readiness) -> Response:
    return Document(document, status_code=503, headers={"retry-after": str(RETRY_AFTER_S)})


async def metrics(request: Request) -> Response:
    """Always 200, with what is known."""
    services = services_of(request)
    stats, _ = await asyncio.gather(
        _asked(services.queue.stats(), services.metrics.queue),
        _asked(services.storage.ping(), services.metrics.storage),
    )
    services.metrics.depth = stats and _depth(stats)
    return Response(services.metrics.exposition(), headers={"content-type": CONTENT_TYPE})


async def presets(request: Request) -> Response:
    """Each preset with its variants in full, so that one may be sent back as an upload's own."""
    known = services_of(request).presets
    document: Presets = {
        "presets": {name: {variant.name: fields(variant) for variant in preset} for name, preset in known.items()}
    }
    return Document(document)


async def _asked(question: Awaitable[T], server: Dependency) -> T | None:
    """The answer, or None where there is none in time."""
    try:
        async with asyncio.timeout(SCRAPE_S):
            return await question
    except TimeoutError:
        server.failed()
    except (QueueUnavailableError, StorageError):  # counted where it was asked
        pass
    return None


def _depth(stats: QueueStats) -> Depth:
    return Depth(
        stats.waiting,
        stats.leased,
        stats.delayed,
        stats.oldest_waiting_ms / 1000,
        len(stats.workers),
        stats.webhooks,
    )
