"""What can be done with an upload that was accepted: it can be cancelled, retried and deleted."""

import logging

from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.http.access import owner
from imgsvc.api.http.context import Document, Services, services
from imgsvc.api.http.errors import ProblemError
from imgsvc.api.receive.admission import check_limits
from imgsvc.api.receive.options import no_query
from imgsvc.api.uploads.show import find, unknown_upload, upload_id_of
from imgsvc.jobs.record import RETRYABLE, files_prefix, original_key
from imgsvc.jobs.types import Admission
from imgsvc.storage import StorageError

log = logging.getLogger(__name__)


async def cancel(request: Request) -> Response:
    """The job is over at once for its readers; its worker hears of it, and its files are removed."""
    no_query(request)
    here, upload_id = services(request), upload_id_of(request)
    cancelled = await here.queue.cancel(upload_id, owner(request))
    if cancelled:
        here.metrics.cancelled()
        await _clear_files(upload_id, here)
    record = await find(request)
    if not cancelled:
        raise ProblemError("conflict", f"The job has ended in {record.status} already: there is nothing to cancel.")
    return Document(record.status_document())


async def retry(request: Request) -> Response:
    """The same limits hold for it as for an upload."""
    no_query(request)
    here = services(request)
    answer = await here.queue.retry(upload_id_of(request), owner(request))
    if answer is not None and answer.admission is not Admission.CONFLICT:
        check_limits(here, answer)
    record = await find(request)
    if answer is None or answer.admission is Admission.CONFLICT:
        detail = (
            "What is left of the cancelled job is still being cleared. Try again shortly."
            if record.status in RETRYABLE
            else f"The job is in {record.status}: only one that failed or was cancelled can be retried."
        )
        raise ProblemError("conflict", detail)
    return Document(record.status_document(), status_code=202)


async def delete(request: Request) -> Response:
    """Record first: from then on no worker can finish the job. Repeating it clears what a failure left."""
    no_query(request)
    upload_id = upload_id_of(request)
    here, whose = services(request), owner(request)
    if not await here.queue.delete(upload_id, whose):
        # its record may have expired before its files
        found = await here.storage.head(original_key(upload_id))
        is_theirs = found is not None and found.owner == whose
        if not is_theirs or not await here.queue.delete(upload_id, whose, has_files=True):
            raise unknown_upload()
    await here.storage.clear(original_key(upload_id))
    await here.storage.clear(files_prefix(upload_id))
    await here.queue.swept(upload_id)
    return Response(status_code=204)


async def _clear_files(upload_id: str, here: Services) -> None:
    try:
        await here.storage.clear(files_prefix(upload_id))
        await here.queue.swept(upload_id)
    except StorageError as error:
        log.warning("%s is cancelled; the sweeper will clear its files: %r", upload_id, error.__cause__)
