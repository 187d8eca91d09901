"""Whether Redis and S3 can be used: asked a few times a second at most, however many clients ask."""

import asyncio

from imgsvc.domain.documents import Checks, Dependency, Workers
from imgsvc.jobs.exchange import QueueUnavailableError
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.types import QueueStats
from imgsvc.storage import Storage, StorageError

_MAX_AGE_S = 0.25
"""How long an answer is reused, in seconds: anybody may ask, and each check costs a call to each server."""


class Health:
    """Checks the servers that this process needs, and the workers, for `/readyz`."""

    def __init__(self, queue: Queue, storage: Storage) -> None:
        self._queue = queue
        self._storage = storage
        self._check: asyncio.Task[Checks] | None = None
        self._fresh_until = 0.0

    async def checks(self) -> Checks:
        """The last result, or that of a check in progress."""
        loop = asyncio.get_running_loop()
        if self._check is None or (self._check.done() and loop.time() >= self._fresh_until):
            self._check = asyncio.create_task(self._run())
        return await asyncio.shield(self._check)  # the first to ask may be cancelled first

    async def _run(self) -> Checks:
        (queue, stats), storage = await asyncio.gather(self._check_queue(), self._check_storage())
        self._fresh_until = asyncio.get_running_loop().time() + _MAX_AGE_S
        workers: Workers = {
            "ok": bool(stats and stats.workers),
            "alive": len(stats.workers) if stats else None,
            "queued": stats.queued if stats else None,
            "sandbox": _weakest({worker.sandbox for worker in stats.workers}) if stats else None,
        }
        return {"queue": queue, "storage": storage, "workers": workers}

    async def _check_queue(self) -> tuple[Dependency, QueueStats | None]:
        try:
            stats = await self._queue.stats(writes=True)
        except QueueUnavailableError as error:
            return _failed(error.reason), None
        return {"ok": True, "latency_ms": stats.latency_ms}, stats

    async def _check_storage(self) -> Dependency:
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
