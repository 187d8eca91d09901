"""`POST /upload/{id}/cancel`, `/retry` and `/release`, and `DELETE /upload/{id}`."""

import logging

from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.http.access import caller_of, owner_acted_for
from imgsvc.api.http.context import Document, Services, services_of
from imgsvc.api.http.errors import ProblemError
from imgsvc.api.http.rate_limit import fields_of
from imgsvc.api.receive.admission import check_limits
from imgsvc.api.receive.options import no_query
from imgsvc.api.uploads.show import find, may_see, original_of, unknown_upload, upload_id_of
from imgsvc.domain.states import RETRYABLE
from imgsvc.jobs.files import files_prefix
from imgsvc.jobs.record import Record, original_key
from imgsvc.jobs.types import Admission, Cancelled
from imgsvc.storage import StorageError

log = logging.getLogger(__name__)

_LACKS_OVERLAY = {"overlay_missing", "overlay_corrupt"}


async def cancel(request: Request) -> Response:
    """Ends the job, or the newest derivation, for its readers at once, notifies its worker, and removes its files."""
    no_query(request)
    services, upload_id = services_of(request), upload_id_of(request)
    cancelled = await services.queue.cancel(upload_id, owner_acted_for(request))
    if cancelled:
        services.metrics.cancelled()
    if cancelled is Cancelled.JOB:
        await _clear_files(upload_id, services)
    record = await find(request)
    if not cancelled:
        raise ProblemError("conflict", f"The job has already ended in {record.status}, so it cannot be cancelled.")
    return Document(record.status_document())


async def retry(request: Request) -> Response:
    """Queues a failed or cancelled job or derivation again, within the same limits as an upload."""
    no_query(request)
    services = services_of(request)
    record = await find(request)
    await _restore_overlays(record, services)
    answer = await services.queue.retry(record.id, record.owner)
    if answer is not None:
        check_limits(answer)
    record = await find(request)
    if answer is None or answer.admission is Admission.CONFLICT:
        detail = (
            "The files of the cancelled job are still being removed. Try again shortly."
            if record.status in RETRYABLE
            else f"The job is in {record.status}. Only a job that failed or was cancelled can be retried."
        )
        raise ProblemError("conflict", detail)
    return Document(record.status_document(), status_code=202, headers=fields_of(answer))


async def release(request: Request) -> Response:
    """Lets a job pass that the gate holds back; it is not asked about it again."""
    no_query(request)
    services, upload_id = services_of(request), upload_id_of(request)
    released = await services.queue.let_pass(upload_id, owner_acted_for(request))
    record = await find(request)
    if not released:
        detail = f"The job is in {record.status}, and no gate holds it back. Only a job that is held can be released."
        raise ProblemError("conflict", detail)
    return Document(record.status_document(), status_code=202)


async def delete(request: Request) -> Response:
    """Deletes the record first, so that no worker can finish the job. A repeated call removes what a failure left."""
    no_query(request)
    upload_id = upload_id_of(request)
    services = services_of(request)
    if not await services.queue.delete(upload_id, owner_acted_for(request)):
        # its record may have expired before its files
        found = await original_of(services, upload_id)
        if found is None or not may_see(caller_of(request), found.owner):
            raise unknown_upload()
        if not await services.queue.delete(upload_id, found.owner, has_files=True):
            raise unknown_upload()
    await services.storage.clear(original_key(upload_id))
    await services.storage.clear(files_prefix(upload_id))
    await services.queue.ack_sweep(upload_id)
    return Response(status_code=204)


async def _restore_overlays(record: Record, services: Services) -> None:
    """Stores the overlays again for want of which the job or its newest derivation failed."""
    if record.failure and record.failure.code in _LACKS_OVERLAY:
        await services.overlays.restore(record.options.variants)
    derivation = record.derivation
    if derivation and derivation.error and derivation.error["code"] in _LACKS_OVERLAY:
        await services.overlays.restore(derivation.variants)


async def _clear_files(upload_id: str, services: Services) -> None:
    try:
        await services.storage.clear(files_prefix(upload_id))
        await services.queue.ack_sweep(upload_id)
    except StorageError as error:
        log.warning("%s is cancelled; the sweeper will clear its files: %r", upload_id, error.__cause__)
