"""`GET /uploads`: the caller's uploads, or for an administrator those of any owner, newest first, page by page."""

import base64
import hashlib
import re
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.http.access import caller_of
from imgsvc.api.http.context import Document, services_of
from imgsvc.api.http.errors import ProblemError
from imgsvc.domain.documents import MAX_PAGE, Uploads
from imgsvc.domain.states import Status
from imgsvc.jobs.types import Position, Query
from imgsvc.runtime.api_keys import NAME, NAME_RULE

LIMIT = 50

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_MS_BYTES, _CHECK_BYTES = 6, 8
_CURSOR_BYTES = _MS_BYTES + 16 + _CHECK_BYTES


async def uploads(request: Request) -> Response:
    page = await services_of(request).queue.page(_query(request))
    document: Uploads = {
        "uploads": [record.status_document() for record in page.records],
        "next": to_cursor(page.last) if page.last else None,
    }
    return Document(document)


def _query(request: Request) -> Query:
    asked = request.query_params
    limit, status, cursor = asked.get("limit", str(LIMIT)), asked.get("status"), asked.get("cursor")
    if not _NUMBER.fullmatch(limit) or int(limit) > MAX_PAGE:
        raise ProblemError("invalid_field", f"'limit' must be a number from 1 to {MAX_PAGE}.")
    if status is not None and status not in set(Status):
        raise ProblemError("invalid_field", f"'status' must be one of {', '.join(Status)}.")
    return Query(
        limit=int(limit),
        statuses=tuple(Status) if status is None else (Status(status),),
        after=None if cursor is None else from_cursor(cursor),
        owner=_listed_owner(request),
    )


def _listed_owner(request: Request) -> str:
    caller, asked = caller_of(request), request.query_params.get("owner")
    if asked is None or asked == caller.owner:
        return caller.owner
    if not caller.admin:
        raise ProblemError("forbidden", "Only an administrator's key lists the uploads of another owner.")
    if not NAME.fullmatch(asked):
        raise ProblemError("invalid_field", f"'owner' must be an owner's name of {NAME_RULE}.")
    return asked


def to_cursor(position: Position) -> str:
    ms, upload_id = position
    body = ms.to_bytes(_MS_BYTES) + UUID(upload_id).bytes
    return base64.urlsafe_b64encode(body + _check(body)).decode()


def from_cursor(cursor: str) -> Position:
    """Returns the position in a cursor of `to_cursor`.

    Raises:
        ProblemError: the cursor is not one of this service.
    """
    try:
        raw = base64.b64decode(cursor, altchars=b"-_", validate=True)
    except ValueError:
        raw = b""
    if len(raw) == _CURSOR_BYTES:
        position = int.from_bytes(raw[:_MS_BYTES]), str(UUID(bytes=raw[_MS_BYTES:-_CHECK_BYTES]))
        if to_cursor(position) == cursor:
            return position
    raise ProblemError("invalid_field", "'cursor' must be the value of 'next' from another page, unchanged.")


def _check(body: bytes) -> bytes:
    """Returns a checksum that detects made-up or truncated cursors. It needs no secret: a cursor grants no access."""
    return hashlib.blake2b(body, digest_size=_CHECK_BYTES, person=b"imgsvc cursor").digest()
