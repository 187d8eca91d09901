"""The HTTP application: its routes, and what lives as long as it does."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypedDict

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from imgsvc.api import files, jobs, ops, presets, uploads, urls
from imgsvc.api.budget import Budget
from imgsvc.api.context import Services
from imgsvc.api.errors import HANDLERS
from imgsvc.api.middleware import RequestId
from imgsvc.api.page import routes as page
from imgsvc.jobs.queue import Queue
from imgsvc.outbound import Outbound
from imgsvc.presets import Presets
from imgsvc.settings import Settings
from imgsvc.storage import Storage, StorageError

log = logging.getLogger(__name__)

ROUTES = [
    Route("/", page.index, methods=["GET"]),
    Route("/page/{name}", page.asset, methods=["GET"]),
    Route("/upload", uploads.upload, methods=["POST"]),
    Route("/upload/url", urls.upload_url, methods=["POST"]),
    Route("/upload/{id}", jobs.Upload),
    Route("/upload/{id}/status", jobs.status, methods=["GET"]),
    Route("/upload/{id}/result", jobs.result, methods=["GET"]),
    Route("/upload/{id}/cancel", jobs.cancel, methods=["POST"]),
    Route("/upload/{id}/retry", jobs.retry, methods=["POST"]),
    Route("/presets", presets.presets, methods=["GET"]),
    Route("/files/{path:path}", files.serve, methods=["GET", "HEAD"]),
    Route("/healthz", ops.healthz, methods=["GET"]),
    Route("/readyz", ops.readyz, methods=["GET"]),
]

_BUCKET_RETRY_S = 1.0


class State(TypedDict):
    services: Services


def create_app(settings: Settings, known: Presets) -> Starlette:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[State]:
        async with (
            Queue.open(settings) as queue,
            Storage.open(settings) as storage,
            Outbound.open(settings) as outbound,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(_ensure_bucket, storage)
            try:
                budget = Budget(settings.max_uploads_bytes)
                yield {"services": Services(settings, known, queue, storage, outbound, budget, tasks)}
            finally:
                tasks.cancel_scope.cancel()

    return Starlette(routes=ROUTES, middleware=[Middleware(RequestId)], exception_handlers=HANDLERS, lifespan=lifespan)


async def _ensure_bucket(storage: Storage) -> None:
    """Makes the bucket as soon as S3 is there: the API may well start first."""
    while True:
        try:
            await storage.ensure_bucket()
        except StorageError as error:
            log.warning("storage is not there yet: %r", error.__cause__)
            await asyncio.sleep(_BUCKET_RETRY_S)
        else:
            return
