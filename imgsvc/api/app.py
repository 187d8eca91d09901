"""The HTTP application: its routes, and what lives as long as it does."""

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypedDict

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from imgsvc.api import events, files, jobs, listing, ops, presets, reference, uploads, urls
from imgsvc.api.access import Access, Cors
from imgsvc.api.accesslog import AccessLog
from imgsvc.api.budget import Budget
from imgsvc.api.connections import Connections
from imgsvc.api.context import Services
from imgsvc.api.errors import HANDLERS
from imgsvc.api.health import Health
from imgsvc.api.middleware import BasePath, Envelope, PlainPath
from imgsvc.api.page import routes as page
from imgsvc.jobs.events import Events
from imgsvc.jobs.queue import Queue
from imgsvc.links import link_of
from imgsvc.metrics import ApiMetrics
from imgsvc.outbound import Outbound
from imgsvc.presets import Presets
from imgsvc.settings import PREFIX, Settings, SettingsError
from imgsvc.storage import Storage, StorageError

log = logging.getLogger(__name__)

ROUTES = [
    Route("/", page.index, methods=["GET"]),
    Route("/page/{name}", page.asset, methods=["GET"], include_in_schema=False),
    Route("/upload", uploads.upload, methods=["POST"]),
    Route("/upload/url", urls.UploadUrl),
    Route("/upload/{id}", jobs.Upload),
    Route("/upload/{id}/status", jobs.status, methods=["GET"]),
    Route("/upload/{id}/result", jobs.result, methods=["GET"]),
    Route("/upload/{id}/events", events.events, methods=["GET"]),
    Route("/upload/{id}/cancel", jobs.cancel, methods=["POST"]),
    Route("/upload/{id}/retry", jobs.retry, methods=["POST"]),
    Route("/uploads", listing.uploads, methods=["GET"]),
    Route("/presets", presets.presets, methods=["GET"]),
    Route("/files/{path:path}", files.serve, methods=["GET", "HEAD"]),
    Route("/healthz", ops.healthz, methods=["GET"]),
    Route("/readyz", ops.readyz, methods=["GET"]),
    Route("/metrics", ops.metrics, methods=["GET"]),
    Route("/openapi.json", reference.openapi, methods=["GET"]),
    Route("/docs", reference.docs, methods=["GET"]),
    Route("/docs/{name}", reference.docs_asset, methods=["GET"], include_in_schema=False),
]

_BUCKET_RETRY_S = 1.0


class State(TypedDict):
    services: Services


def create_app(settings: Settings, known: Presets) -> Starlette:
    """Raises SettingsError where the base path is that of a call, which requests could not be told from."""
    _check_base_path(settings.base_path)
    metrics = ApiMetrics(settings.known_keys.callers if settings.known_keys else ())

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[State]:
        async with (
            Queue.open(settings, metrics.queue) as queue,
            Storage.open(settings, metrics.storage) as storage,
            Outbound.open(settings) as outbound,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(_ensure_bucket, storage)
            app.state.events = told = Events(queue)
            tasks.start_soon(told.run)
            gc.freeze()  # or else each full collection goes through all of botocore, and nobody is served for 50 ms
            try:
                services = Services(
                    settings=settings,
                    presets=known,
                    queue=queue,
                    events=told,
                    storage=storage,
                    outbound=outbound,
                    health=Health(queue, storage),
                    connections=Connections(settings, metrics),
                    uploads=Budget(settings.max_uploads_bytes, settings.client_share, uploads.LARGEST_BYTES),
                    link=link_of(settings),
                    tasks=tasks,
                    metrics=metrics,
                )
                yield {"services": services}
            finally:
                tasks.cancel_scope.cancel()

    templates = {route.endpoint: route.path_format for route in ROUTES}
    middleware = [
        Middleware(Envelope),
        Middleware(AccessLog, templates=templates, metrics=metrics, proxies=settings.known_proxies),
        *([Middleware(BasePath, settings.base_path)] if settings.base_path else []),
        Middleware(PlainPath),
        *([Middleware(Cors, settings)] if settings.cors_origins else []),
        Middleware(Access, settings),
    ]
    app = Starlette(routes=ROUTES, middleware=middleware, exception_handlers=HANDLERS, lifespan=lifespan)
    app.router.redirect_slashes = False  # it would redirect to whatever the client's Host says
    return app


def _check_base_path(base_path: str) -> None:
    first = base_path.split("/")[:2]
    if base_path and any(route.path.split("/")[:2] == first for route in ROUTES):
        raise SettingsError(f"{PREFIX}BASE_PATH={base_path} begins as a call of the API does: choose another one")


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
