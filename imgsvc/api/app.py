"""The HTTP application: its routes, and what lives as long as it does."""

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypedDict

import anyio
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.routing import Route

from imgsvc.api import files, pages, service
from imgsvc.api.admin import bulk, stats
from imgsvc.api.admin import uploads as all_uploads
from imgsvc.api.http.access import Access, Cors
from imgsvc.api.http.budget import Budget
from imgsvc.api.http.connections import Connections
from imgsvc.api.http.context import Services
from imgsvc.api.http.errors import HANDLERS
from imgsvc.api.http.middleware import AccessLog, BasePath, Envelope, PlainPath
from imgsvc.api.http.offer import Offer
from imgsvc.api.http.overlays import StoredOverlays
from imgsvc.api.http.readiness import Health
from imgsvc.api.http.reload import Reload
from imgsvc.api.http.tokens import Tokens
from imgsvc.api.receive import from_url, tokens, upload
from imgsvc.api.receive.form import FORM_OVERHEAD_BYTES
from imgsvc.api.resumable import tus
from imgsvc.api.uploads import actions, deliveries, derive, show, stream
from imgsvc.api.uploads import list as uploads
from imgsvc.domain.presets import Catalogue
from imgsvc.jobs.events import Events
from imgsvc.jobs.queue import Queue
from imgsvc.outbound import Outbound
from imgsvc.runtime.environment import PREFIX
from imgsvc.runtime.local_settings import SettingsError
from imgsvc.runtime.metrics import ApiMetrics
from imgsvc.runtime.owners import OwnersTable
from imgsvc.runtime.settings import Settings
from imgsvc.storage import Storage, StorageError

log = logging.getLogger(__name__)


class Upload(HTTPEndpoint):
    """One path for several calls, so that another method is answered with 405 and all of them in `Allow`."""

    get = staticmethod(show.show)
    patch = staticmethod(derive.change)
    delete = staticmethod(actions.delete)


ROUTES = [
    Route("/", pages.index, methods=["GET"]),
    Route("/upload", upload.upload, methods=["POST"]),
    Route("/upload/url", from_url.UploadUrl),
    Route("/upload/{id}", Upload),
    Route("/upload/{id}/status", show.status, methods=["GET"]),
    Route("/upload/{id}/result", show.result, methods=["GET"]),
    Route("/upload/{id}/events", stream.events, methods=["GET"]),
    Route("/upload/{id}/cancel", actions.cancel, methods=["POST"]),
    Route("/upload/{id}/retry", actions.retry, methods=["POST"]),
    Route("/upload/{id}/release", actions.release, methods=["POST"]),
    Route("/upload/{id}/variants", derive.variants, methods=["POST"]),
    Route("/upload/{id}/deliveries", deliveries.deliveries, methods=["GET"]),
    Route("/upload/{id}/deliveries/{n}/replay", deliveries.replay, methods=["POST"]),
    Route("/tokens", tokens.tokens, methods=["POST"]),
    Route("/tus", tus.Uploads),
    Route("/tus/{id}", tus.Upload),
    Route("/uploads", uploads.uploads, methods=["GET"]),
    Route("/presets", service.presets, methods=["GET"]),
    Route("/files/{path:path}", files.serve, methods=["GET", "HEAD"]),
    Route("/healthz", service.healthz, methods=["GET"]),
    Route("/readyz", service.readyz, methods=["GET"]),
    Route("/metrics", service.metrics, methods=["GET"]),
    Route("/admin", pages.admin, methods=["GET"]),
    Route("/admin/stats", stats.stats, methods=["GET"]),
    Route("/admin/uploads", all_uploads.uploads, methods=["GET"]),
    Route("/admin/uploads/{id}", all_uploads.upload, methods=["GET"]),
    Route("/admin/count", all_uploads.count, methods=["GET"]),
    Route("/admin/retry", bulk.retry, methods=["POST"]),
    Route("/admin/cancel", bulk.cancel, methods=["POST"]),
    Route("/admin/actions", bulk.actions, methods=["GET"]),
    Route("/admin/actions/{id}", bulk.action, methods=["GET"]),
    Route("/admin/actions/{id}/cancel", bulk.stop, methods=["POST"]),
    Route("/openapi.json", pages.openapi, methods=["GET"]),
    Route("/docs", pages.docs, methods=["GET"]),
    Route("/static/{folder}/{name}", pages.asset, methods=["GET"], include_in_schema=False),
]

_BUCKET_RETRY_S = 1.0


class State(TypedDict):
    services: Services


def create_app(settings: Settings, catalogue: Catalogue) -> Starlette:
    """The API of these settings.

    Raises:
        SettingsError: the owners file is wrong, the base path is that of a call, or the memory for uploads is too small
            for one.
    """
    _check_base_path(settings.base_path)
    _check_memory(settings)
    offer = Offer(catalogue)
    owners = OwnersTable(settings, catalogue.presets)
    metrics = ApiMetrics(owners.current.keys.callers)
    reload = Reload(settings, offer, owners, metrics)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[State]:
        async with (
            Queue.open(settings, metrics.queue, owners) as queue,
            Storage.open(settings, metrics.storage) as storage,
            Outbound.open(settings) as outbound,
            anyio.create_task_group() as tasks,
        ):
            overlays = StoredOverlays(storage, offer)
            tasks.start_soon(_prepare_bucket, storage, overlays)
            app.state.events = reload.events = events = Events(queue)
            tasks.start_soon(events.run)
            gc.freeze()  # or else each full collection goes through all of botocore, and stops the loop for 50 ms
            try:
                services = Services(
                    settings=settings,
                    offer=offer,
                    owners=owners,
                    overlays=overlays,
                    queue=queue,
                    events=events,
                    storage=storage,
                    outbound=outbound,
                    health=Health(queue, storage),
                    connections=Connections(settings, metrics),
                    uploads=Budget(settings.upload_memory_bytes, settings.client_share, upload.LARGEST_BYTES),
                    urls=settings.file_urls,
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
        Middleware(Tokens, settings.signing_secrets),
        Middleware(Cors, settings),
        Middleware(Access, settings, owners),
    ]
    app = Starlette(routes=ROUTES, middleware=middleware, exception_handlers=HANDLERS, lifespan=lifespan)
    app.state.reload = reload
    app.router.redirect_slashes = False  # it would redirect to whatever the client's Host says
    return app


def _check_base_path(base_path: str) -> None:
    first = base_path.split("/")[:2]
    if base_path and any(route.path.split("/")[:2] == first for route in ROUTES):
        raise SettingsError(f"{PREFIX}BASE_PATH={base_path} begins as a call of the API does: choose another one")


def _check_memory(settings: Settings) -> None:
    """One upload must fit, also one of unknown length: it counts as the largest."""
    least = min(upload.LARGEST_BYTES, settings.max_upload_bytes + FORM_OVERHEAD_BYTES)
    if settings.upload_memory_bytes < least:
        raise SettingsError(
            f"{PREFIX}UPLOAD_MEMORY_BYTES={settings.upload_memory_bytes} is less than one upload may hold in memory: "
            f"set it to {least} or more"
        )


async def _prepare_bucket(storage: Storage, overlays: StoredOverlays) -> None:
    """Creates the bucket as soon as S3 is available, which may be later, and puts the overlays there."""
    while True:
        try:
            await storage.ensure_bucket()
            await overlays.store_all()
        except StorageError as error:
            log.warning("storage is not available yet: %r", error.__cause__)
            await asyncio.sleep(_BUCKET_RETRY_S)
        else:
            return
