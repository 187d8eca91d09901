"""What an operator asks: is the process alive, and can it serve."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.context import Document, Services, services
from imgsvc.jobs.queue import Census, QueueUnavailableError
from imgsvc.storage import StorageError


async def healthz(_: Request) -> Response:
    return Document({"status": "ok"})


async def readyz(request: Request) -> Response:
    """503 while Redis or S3 is away. That no worker is alive is reported, and no reason to refuse uploads."""
    here = services(request)
    census, storage = await asyncio.gather(_census(here), _storage(here))
    checks: dict[str, dict[str, Any]] = {
        "queue": {"ok": census is not None, "latency_ms": census and census.latency_ms},
        "storage": storage,
        "workers": {
            "ok": bool(census and census.workers),
            "alive": len(census.workers) if census else None,
            "queued": census and census.queued,
            "sandbox": census and _weakest({worker.sandbox for worker in census.workers}),
        },
    }
    ready = checks["queue"]["ok"] and checks["storage"]["ok"]
    document = {"status": "ready" if ready else "not_ready", "checks": checks}
    return Document(document, status_code=200 if ready else 503)


def _weakest(postures: set[str]) -> str | None:
    """One word for all workers: "full" only where every one of them says so."""
    return ", ".join(sorted(postures - {"full"} or postures)) or None


async def _census(here: Services) -> Census | None:
    try:
        return await here.queue.census()
    except QueueUnavailableError:
        return None


async def _storage(here: Services) -> dict[str, Any]:
    try:
        return {"ok": True, "latency_ms": await here.storage.ping()}
    except StorageError:
        return {"ok": False, "latency_ms": None}
