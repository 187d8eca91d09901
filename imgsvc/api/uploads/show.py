"""`GET /upload/{id}`, its status and its result."""

import logging
import re
from time import time

from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.http.access import caller_of
from imgsvc.api.http.context import Document, Services, services_of
from imgsvc.api.http.errors import ProblemError
from imgsvc.api.uploads.wait import WaitPreference, until_done
from imgsvc.jobs.record import Record, original_key
from imgsvc.jobs.resumable import PIECES
from imgsvc.runtime.api_keys import Caller
from imgsvc.storage import ObjectInfo

log = logging.getLogger(__name__)

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


async def show(request: Request) -> Response:
    """The upload as a whole."""
    record = await find(request)
    document = record.document(services_of(request).urls)
    if record.webhook:
        document["webhook"] = record.webhook.document()
    return Document(document)


async def status(request: Request) -> Response:
    preference = WaitPreference.of(request)
    record = await _awaited(request, preference)
    return Document(record.status_document(), headers=preference.headers)


async def result(request: Request) -> Response:
    preference = WaitPreference.of(request)
    record = await _awaited(request, preference)
    document = record.result_document(services_of(request).urls)
    if record.has_result:
        return Document(document, headers=preference.headers)
    return Document(document, status_code=202, headers={"retry-after": "1"} | preference.headers)


async def _awaited(request: Request, preference: WaitPreference) -> Record:
    """Returns the record once its job has ended, or as it is when the wait is over."""
    found = await find(request)
    if found.done or not preference.seconds:
        return found
    await until_done(request, found.id, preference.seconds)
    return await find(request)


async def find(request: Request) -> Record:
    """Returns the upload that the request's path names; one that its caller may not see counts as unknown.

    Raises:
        ProblemError: not_found or expired.
    """
    services, upload_id, caller = services_of(request), upload_id_of(request), caller_of(request)
    record = await services.queue.get(upload_id)
    if record is None:
        # files may be kept longer than records
        original = await original_of(services, upload_id)
        if original and may_see(caller, original.owner) and not await services.queue.is_deleted(upload_id):
            raise _expired()
        raise unknown_upload()
    if not may_see(caller, record.owner):
        raise unknown_upload()
    if record.has_expired(time() * 1000):
        raise _expired()
    return record


async def original_of(services: Services, upload_id: str) -> ObjectInfo | None:
    """Returns what is stored as the original of an upload that has no record (record.key_of_try).

    The pieces of one that is still being received are no original.
    """
    keys = [key for key in await services.storage.keys(original_key(upload_id)) if PIECES not in key]
    return await services.storage.head(keys[0]) if keys else None


def may_see(caller: Caller, owner: str) -> bool:
    """Whether an owner's uploads may be seen, and acted on, by a caller."""
    return caller.admin or owner == caller.owner


def upload_id_of(request: Request) -> str:
    upload_id = request.path_params["id"]
    if not _ID.fullmatch(upload_id):
        raise unknown_upload()
    return upload_id


def unknown_upload() -> ProblemError:
    return ProblemError("not_found", "There is no such upload. It may have been deleted.")


def _expired() -> ProblemError:
    return ProblemError("expired", "This upload has expired; its status is no longer available.")
