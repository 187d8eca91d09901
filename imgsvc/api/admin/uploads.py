"""`GET /admin/uploads`: all owners' uploads, searched page by page; how many match; what one of them went through."""

import re
from time import time

from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.admin import filters
from imgsvc.api.admin.access import for_operators
from imgsvc.api.http.context import Document, services_of
from imgsvc.api.http.errors import ProblemError
from imgsvc.api.uploads.list import LIMIT, from_cursor, to_cursor
from imgsvc.api.uploads.show import unknown_upload, upload_id_of
from imgsvc.domain.admin_documents import AdminCount, AdminStory, AdminUpload, AdminUploads
from imgsvc.domain.admin_documents import Note as NoteDocument
from imgsvc.domain.documents import MAX_PAGE
from imgsvc.jobs.overview import Note, Story
from imgsvc.jobs.record import Record
from imgsvc.jobs.rows import timestamp
from imgsvc.jobs.types import Position

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_COUNTED = 10_000


@for_operators
async def uploads(request: Request) -> Response:
    queue, asked = services_of(request).queue, request.query_params
    limit = asked.get("limit", str(LIMIT))
    if not _NUMBER.fullmatch(limit) or int(limit) > MAX_PAGE:
        raise ProblemError("invalid_field", f"'limit' must be a number from 1 to {MAX_PAGE}.")
    matches = await queue.administration.find(filters.from_query(asked), int(limit), _after(request))
    ids = [match.id for match in matches.found]
    hashes = await queue.read(ids) if ids else []
    found = [(Record.from_hash(*row), Story.from_hash(row[1])) for row in zip(ids, hashes, strict=True)]
    document: AdminUploads = {
        "uploads": [_row(record, story) for record, story in found if record],
        "searched": matches.seen,
        "next": matches.last and to_cursor(matches.last),
    }
    return Document(document)


@for_operators
async def count(request: Request) -> Response:
    """Counts what matches, among some thousand uploads at a time."""
    administration = services_of(request).queue.administration
    matches = await administration.find(filters.from_query(request.query_params), _COUNTED, _after(request))
    document: AdminCount = {
        "count": len(matches.found),
        "searched": matches.seen,
        "next": matches.last and to_cursor(matches.last),
    }
    return Document(document)


@for_operators
async def upload(request: Request) -> Response:
    upload_id = upload_id_of(request)
    (values,) = await services_of(request).queue.read([upload_id])
    record, story = Record.from_hash(upload_id, values), Story.from_hash(values)
    if record is None or record.has_expired(time() * 1000):
        raise unknown_upload()
    document: AdminStory = {
        **_row(record, story),
        "url": record.url,
        "bytes": record.source and record.source.bytes,
        "history": [_note(note) for note in story.notes],
        "webhook": record.webhook and record.webhook.document(),
    }
    return Document(document)


def _after(request: Request) -> Position | None:
    cursor = request.query_params.get("cursor")
    return None if cursor is None else from_cursor(cursor)


def _row(record: Record, story: Story) -> AdminUpload:
    return {
        **record.status_document(),
        "owner": record.owner,
        "worker": story.worker,
        "request_id": story.request_id,
    }


def _note(note: Note) -> NoteDocument:
    return {
        "event": note.event,
        "at": timestamp(note.at),
        "worker": note.worker,
        "attempt": note.attempt,
        "detail": note.detail,
        "request_id": note.request_id,
    }
