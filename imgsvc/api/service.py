"""The service as a whole: whether it is alive and ready, its metrics, and the presets and overlays that it offers."""

import asyncio
from collections.abc import Awaitable
from dataclasses import asdict
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.http.access import owner_of
from imgsvc.api.http.context import Document, is_draining, services_of
from imgsvc.api.http.errors import RETRY_AFTER_S
from imgsvc.domain.documents import Health, Readiness
from imgsvc.domain.presets import document as fields
from imgsvc.domain.presets_document import Presets
from imgsvc.jobs.exchange import QueueUnavailableError
from imgsvc.jobs.types import QueueStats
from imgsvc.runtime.metrics import CONTENT_TYPE, Dependency, Depth
from imgsvc.storage import StorageError

T = TypeVar("T")

SCRAPE_S = 1.0
"""How long /metrics waits for Redis and S3, in seconds."""


async def healthz(_: Request) -> Response:
    document: Health = {"status": "ok"}
    return Document(document)


async def readyz(request: Request) -> Response:
    """503 while Redis or S3 is unavailable, and while this process stops. That no worker runs is reported, but no
    reason to refuse uploads. Without a key, where there are keys, only the status is shown.
    """
    services = services_of(request)
    if is_draining(request.app):  # whatever Redis and S3 would answer, and when
        return _not_ready({"status": "draining"})
    checks = await services.health.checks()
    document: Readiness = {"status": "ready" if checks["queue"]["ok"] and checks["storage"]["ok"] else "not_ready"}
    if not services.settings.has_keys or owner_of(request):
        document["checks"] = checks
    return Document(document) if document["status"] == "ready" else _not_ready(document)


def _not_ready(document: Readiness) -> Response:
    return Document(document, status_code=503, headers={"retry-after": str(RETRY_AFTER_S)})


async def metrics(request: Request) -> Response:
    """Always 200, without what Redis and S3 did not answer in time."""
    services = services_of(request)
    stats, _ = await asyncio.gather(
        _in_time(services.queue.stats(), services.metrics.queue),
        _in_time(services.storage.ping(), services.metrics.storage),
    )
    services.metrics.depth = stats and _depth(stats)
    return Response(services.metrics.exposition(), headers={"content-type": CONTENT_TYPE})


async def presets(request: Request) -> Response:
    """Every preset that the caller may use, with its variants in full, as an upload's `variants` takes them, and the
    overlays.
    """
    services = services_of(request)
    owner = services.owners.current.of(owner_of(request))
    offered = services.offer.presets_of(owner)
    document: Presets = {
        "presets": {name: {variant.name: fields(variant) for variant in preset} for name, preset in offered.items()},
        "overlays": {
            name: {"sha256": file.sha256, "bytes": len(file.data), "content_type": file.media_type}
            for name, file in services.offer.overlays_of(owner).items()
        },
    }
    return Document(document)


async def _in_time(call: Awaitable[T], server: Dependency) -> T | None:
    """The call's result, or None where it failed or took too long."""
    try:
        async with asyncio.timeout(SCRAPE_S):
            return await call
    except TimeoutError:
        server.failed()
    except (QueueUnavailableError, StorageError):  # counted by the caller
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
        asdict(stats.fetches),
    )
