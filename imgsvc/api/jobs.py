"""What can be asked of an upload that was accepted: its status and result; to be cancelled, retried, deleted."""

import logging
import re
from time import time

from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.access import owner
from imgsvc.api.admission import check_limits
from imgsvc.api.context import Document, Services, services
from imgsvc.api.errors import ProblemError
from imgsvc.api.options import no_query
from imgsvc.api.waiting import Patience, until_done
from imgsvc.jobs.answers import Admission
from imgsvc.jobs.record import RETRYABLE, Record, files_prefix, original_key
from imgsvc.storage import StorageError

log = logging.getLogger(__name__)

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class Upload(HTTPEndpoint):
    """One upload as a whole."""

    async def get(self, request: Request) -> Response:
        record = await find(request)
        webhook = {"webhook": record.webhook.document()} if record.webhook else {}
        return Document(record.document(services(request).link) | webhook)

    async def delete(self, request: Request) -> Response:
        """Record first: from then on no worker can finish the job. Repeating it clears what a failure left."""
        no_query(request)
        upload_id = _upload_id(request)
        here, whose = services(request), owner(request)
        if not await here.queue.delete(upload_id, whose):
            # its record may have expired before its files
            found = await here.storage.head(original_key(upload_id))
            is_theirs = found is not None and found.owner == whose
            if not is_theirs or not await here.queue.delete(upload_id, whose, has_files=True):
                raise _unknown()
        await here.storage.clear(original_key(upload_id))
        await here.storage.clear(files_prefix(upload_id))
        await here.queue.swept(upload_id)
        return Response(status_code=204)


async def status(request: Request) -> Response:
    patience = Patience.of(request)
    record = await _awaited(request, patience)
    return Document(record.status_document(), headers=patience.headers)


async def result(request: Request) -> Response:
    patience = Patience.of(request)
    record = await _awaited(request, patience)
    document = record.result_document(services(request).link)
    if record.done:
        return Document(document, headers=patience.headers)
    return Document(document, status_code=202, headers={"retry-after": "1"} | patience.headers)


async def cancel(request: Request) -> Response:
    """The job is over at once for its readers; its worker hears of it, and its files are removed."""
    no_query(request)
    here, upload_id = services(request), _upload_id(request)
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
    answer = await here.queue.retry(_upload_id(request), owner(request))
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


async def _clear_files(upload_id: str, here: Services) -> None:
    try:
        await here.storage.clear(files_prefix(upload_id))
        await here.queue.swept(upload_id)
    except StorageError as error:
        log.warning("%s is cancelled; the sweeper will clear its files: %r", upload_id, error.__cause__)


async def _awaited(request: Request, patience: Patience) -> Record:
    """The record once its job has ended, or as it stands when patience does."""
    found = await find(request)
    if found.done or not patience.seconds:
        return found
    await until_done(request, found.id, patience.seconds)
    return await find(request)


async def find(request: Request) -> Record:
    """The upload that the request's path names, which is the caller's own: another's is as unknown as none.

    Raises:
        ProblemError: there is none, or its time is up.
    """
    here, upload_id, whose = services(request), _upload_id(request), owner(request)
    record = await here.queue.get(upload_id)
    if record is None:
        # a record is kept for some days, its files for longer
        original = await here.storage.head(original_key(upload_id))
        if original and original.owner == whose and not await here.queue.is_deleted(upload_id):
            raise _expired()
        raise _unknown()
    if record.owner != whose:
        raise _unknown()
    if record.has_expired(time() * 1000):
        raise _expired()
    return record


def _upload_id(request: Request) -> str:
    upload_id = request.path_params["id"]
    if not _ID.fullmatch(upload_id):
        raise _unknown()
    return upload_id


def _unknown() -> ProblemError:
    return ProblemError("not_found", "There is no such upload. It may have been deleted.")


def _expired() -> ProblemError:
    return ProblemError("expired", "This upload's time is up, and its status is no longer kept.")
