"""The end of an upload that was received in pieces: its parts become the original, and its job is queued.

Every step may be repeated, by any process: a client that got no answer asks again, and what is missing is done then.
"""

import hashlib
import logging
from typing import Any

from imgsvc.api.http.context import Services
from imgsvc.api.http.errors import ProblemError
from imgsvc.api.receive.options import is_gated
from imgsvc.jobs.record import Source, Submission, original_key
from imgsvc.jobs.resumable import Transfer
from imgsvc.storage import RESUMABLE_PART_BYTES, StorageError

log = logging.getLogger(__name__)


async def finish(transfer: Transfer, services: Services) -> None:
    """Queues the job of an upload that is complete.

    Raises:
        ProblemError: conflict, if S3 does not have the bytes that were received; then the upload is given up.
    """
    if transfer.is_queued:
        return
    assert transfer.multipart, "it is known with the first part"
    assert transfer.length is not None
    assert transfer.format
    upload = services.storage.resumable(transfer.original)
    etags = [part.etag for part in transfer.parts]
    is_proven = await upload.complete(transfer.multipart, etags, transfer.length)
    sha256 = transfer.sha256 if is_proven else None
    if sha256 is None:
        sha256 = await _compared(transfer, services)
    source = Source(transfer.length, sha256, transfer.format)
    gated = is_gated(transfer.options, services)
    submission = Submission(transfer.id, transfer.options, source, gated=gated)
    await services.queue.submit(submission, "" if transfer.original == original_key(transfer.id) else transfer.original)


async def _compared(transfer: Transfer, services: Services) -> str:
    """Returns the SHA-256 of the original, if its parts are those that were received."""
    whole, sums, at = hashlib.sha256(), list[Any](), 0
    async with services.storage.read(transfer.original) as found:
        if found is None:
            raise StorageError
        async for chunk in found[1]:
            rest = chunk
            while rest:
                if at % RESUMABLE_PART_BYTES == 0:
                    sums.append(hashlib.sha256())
                taken = rest[: RESUMABLE_PART_BYTES - at % RESUMABLE_PART_BYTES]
                whole.update(taken)
                sums[-1].update(taken)
                at, rest = at + len(taken), rest[len(taken) :]
    if [part.sha256 for part in transfer.parts] != [part.hexdigest() for part in sums]:
        log.error("%s: what S3 has is not what was received; the upload is given up", transfer.id)
        await discard(transfer, services)
        raise ProblemError("conflict", "The bytes of this upload were changed by another one of it. Start again.")
    return whole.hexdigest()


async def discard(transfer: Transfer, services: Services) -> bool:
    """Gives an upload up; returns False if there is none such any more. The sweeper removes what cannot be removed now,
    or is stored late.
    """
    if not await services.queue.transfers.drop(transfer.id, transfer.owner):
        return False
    try:
        await services.storage.clear(transfer.original)
    except StorageError as error:
        log.warning("%s is given up and could not be cleared: %r", transfer.id, error.__cause__)
    return True
