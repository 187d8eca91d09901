"""The sweeper: removes from storage what the queue lists as obsolete.

These are uploads of API processes that died, cancelled jobs, expired files, files that a late process may have stored
after a DELETE, and of uploads that stay: files that a derivation has replaced, and those that no record has, of a
derivation that made nothing or of an attempt that did not end its job.
Every worker runs one; the queue gives an upload to one sweeper at a time (sweep.lua, obsolete.lua).
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass

from imgsvc.jobs.exchange import QueueUnavailableError
from imgsvc.jobs.files import files_prefix, revision_of
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import original_key
from imgsvc.jobs.resumable import original_of
from imgsvc.jobs.types import Obsolete, SweepItem
from imgsvc.storage import Storage, StorageError

log = logging.getLogger(__name__)

BATCH = 20
"""Number of uploads that a sweeper clears within its claim, even from slow storage."""


@dataclass(frozen=True, slots=True)
class Sweeper:
    queue: Queue
    storage: Storage
    interval_s: float

    async def run(self) -> None:
        """Sweeps until it is cancelled. What cannot be cleared now is listed again later."""
        skipped: Sequence[int] = (0, 0, 0)
        while True:
            # jittered, so that many workers do not all ask at once
            await asyncio.sleep(self.interval_s * random.uniform(0.5, 1))  # noqa: S311 (no secret)
            try:
                while await self.sweep() == BATCH:
                    pass
                while await self.sweep_obsolete() == BATCH:
                    pass
                is_more = True
                while is_more:
                    skipped, is_more = await self.queue.administration.forget(skipped)
            except QueueUnavailableError:
                continue  # the queue logs its own outages

    async def sweep(self) -> int:
        """Clears what is due, at most one batch; returns the number of uploads that it cleared."""
        cleared = 0
        for upload in await self.queue.sweep(BATCH):
            try:
                await self._clear(upload)
            except StorageError as error:  # it is listed again, and must not block the others
                log.warning("%s cannot be cleared now: %r", upload.id, error.__cause__)
                if not await self.storage.is_there():
                    break
            else:
                await self.queue.ack_sweep(upload.id)
                cleared += 1
        return cleared

    async def sweep_obsolete(self) -> int:
        """Removes obsolete files of uploads that stay, at most one batch; returns how many entries are done."""
        done = 0
        for obsolete in await self.queue.obsolete(BATCH):
            try:
                await self._remove(obsolete)
            except StorageError as error:
                log.warning("%s cannot be removed now: %r", obsolete.member, error.__cause__)
                if not await self.storage.is_there():
                    break
            else:
                await self.queue.ack_obsolete(obsolete)
                done += 1
        return done

    async def _remove(self, obsolete: Obsolete) -> None:
        if obsolete.key:
            await self.storage.clear(obsolete.key)
            if original := original_of(obsolete.key):  # a late writer may have begun the parts anew
                await self.storage.abort_uploads(original)
            return
        upload_id, revision = obsolete.of_revision
        keys = [key for key in await self.storage.keys(files_prefix(upload_id)) if revision_of(key) == revision]
        if not keys or (record := await self.queue.get(upload_id)) is None:  # then its files are another one's to clear
            return
        if not record.has_result:  # it was retried, and is listed anew when that has ended
            return
        # what is not in it now never will be: a retry has another attempt, and other names
        kept = record.keys(record.success.files if record.success else ())
        for key in keys:
            if key not in kept and not await self.queue.is_replaced(key):
                log.info("%s: removing %s", upload_id, key)
                await self.storage.clear(key)

    async def _clear(self, upload: SweepItem) -> None:
        log.info("%s: clearing %s", upload.id, "all of it" if upload.with_original else "its files")
        await self.storage.clear(files_prefix(upload.id))
        if upload.with_original:
            await self.storage.clear(original_key(upload.id))
