"""Whether Redis and S3 can be worked with: asked a few times a second at most, however many ask us."""

import asyncio

from imgsvc.domain.documents import Checks, Dependency, Workers
from imgsvc.jobs.queue import Queue, QueueUnavailableError
from imgsvc.jobs.types import QueueStats
from imgsvc.storage import Storage, StorageError

_FRESH_S = 0.25
"""How long an answer stands for those who ask after it: anybody may, and it costs a call to each server."""


class Health:
    """What `/readyz` says of the servers that this process needs, and of the workers."""

    def __init__(self, queue: Queue, storage: Storage) -> None:
        self._queue = queue
        self._storage = storage
        self._asking: asyncio.Task[Checks] | None = None
        self._stands_until = 0.0

    async def checks(self) -> Checks:
        """The newest answer, or that to a question under way."""
        loop = asyncio.get_running_loop()
        if self._asking is None or (self._asking.done() and loop.time() >= self._stands_until):
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)  # whoever asked first may leave first

    async def _ask(self) -> Checks:
        (queue, stats), storage = await asyncio.gather(self._ask_queue(), self._ask_storage())
        self._stands_until = asyncio.get_running_loop().time() + _FRESH_S
        workers: Workers = {
            "ok": bool(stats and stats.workers),
            "alive": len(stats.workers) if stats else None,
            "queued": stats.queued if stats else None,
            "sandbox": _weakest({worker.sandbox for worker in stats.workers}) if stats else None,
        }
        return {"queue": queue, "storage": storage, "workers": workers}

    async def _ask_queue(self) -> tuple[Dependency, QueueStats | None]:
        try:
            stats = await self._queue.stats(writes=True)
        except QueueUnavailableError as error:
            return _failed(error.reason), None
        return {"ok": True, "latency_ms": stats.latency_ms}, stats

    async def _ask_storage(self) -> Dependency:
        try:
            return {"ok": True, "latency_ms": await self._storage.ping()}
        except StorageError as error:
            return _failed(error.reason)


def _failed(reason: str | None) -> Dependency:
    failed: Dependency = {"ok": False, "latency_ms": None}
    if reason:
        failed["error"] = reason
    return failed


def _weakest(sandboxes: set[str]) -> str | None:
    """One word for all workers: "full" only where every one of them says so."""
    return ", ".join(sorted(sandboxes - {"full"} or sandboxes)) or None
