"""`POST /upload`: a stream from the client to storage, then one atomic step into the queue."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial

import anyio
from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.http.access import owner_of
from imgsvc.api.http.budget import client_holder
from imgsvc.api.http.context import Document, Services, services_of
from imgsvc.api.http.errors import ProblemError
from imgsvc.api.http.rate_limit import fields_of
from imgsvc.api.http.tokens import token_of
from imgsvc.api.receive import by_token
from imgsvc.api.receive.admission import admit, admit_by_token, token_used
from imgsvc.api.receive.body import paced
from imgsvc.api.receive.digests import verified
from imgsvc.api.receive.form import FORM_OVERHEAD_BYTES, FormBody, RawBody, at_most, open_body, too_large
from imgsvc.api.receive.options import idempotency_key, is_gated, options_of
from imgsvc.domain.documents import Accepted
from imgsvc.domain.formats import SNIFF_BYTES, Format, sniff
from imgsvc.domain.tokens import UploadToken
from imgsvc.jobs.exchange import QueueUnavailableError
from imgsvc.jobs.record import Source, Submission, key_of_try, original_key
from imgsvc.jobs.types import Admission, Reservation
from imgsvc.runtime import logs
from imgsvc.storage import PART_BYTES, Digest, StorageError

log = logging.getLogger(__name__)

LARGEST_BYTES = 2 * PART_BYTES
"""The memory of one upload: the part that is being stored, and the one that arrives meanwhile."""

_ABORT_RETRY_S = 1.0
MESSAGE = "File uploaded successfully. Processing started in the background."

Sink = Callable[[AsyncIterator[bytes], str], Awaitable[Digest]]
"""Consumes the file's chunks; the text is its media type."""

OnStore = Callable[[], None]
"""Called before anything is stored."""

Receive = Callable[[str, OnStore | None], Awaitable[Submission]]
"""Reads an upload and stores its file under that id; without an OnStore it only computes the digest."""


async def upload(request: Request) -> Response:
    """Answers 202 only once the original is durable and its job is queued.

    Everything that can be refused without the body is refused before the body is read.
    """
    services, owner, token = services_of(request), owner_of(request), token_of(request)
    limit = by_token.max_bytes(token, services.settings.max_upload_bytes)
    length = _length(request, limit)
    key = idempotency_key(request, owner)
    original = key_of_try(token.id) if token else ""
    with services.uploads.allocate(min(length, LARGEST_BYTES), *holders_of(request, owner)) as allocation:
        body = open_body(request, verified(request, paced(request, services.settings, allocation)))
        _check_declared(token, body)

        async def receive(upload_id: str, on_store: OnStore | None) -> Submission:
            sink = _digest
            if on_store is not None:
                put = partial(services.storage.put_stream, original or original_key(upload_id), owner=owner)
                sink = partial(put, on_begin=on_store, on_stored=allocation.release)
            return await _receive(upload_id, token, limit, body, services, owner, sink)

        with services.metrics.uploads.track_inprogress():
            if token:
                reservation = await admit_by_token(services, token, original, min(length, limit))
            else:
                reservation = await admit(services, owner, key, length)
            return await submitted(reservation, receive, services, original)


async def submitted(reservation: Reservation, receive: Receive, services: Services, original: str = "") -> Response:
    """Receives an admitted upload, submits it, and returns the answer.

    `original` is the key of its original if this is one of several tries by an upload token.
    """
    upload_id = reservation.id
    logs.bind(upload_id=upload_id)
    replayed = reservation.admission is Admission.REPLAY
    submission = await (_replay if replayed else _accept)(upload_id, receive, services, original)
    return _accepted(submission, services, fields_of(reservation))


async def _accept(upload_id: str, receive: Receive, services: Services, original: str) -> Submission:
    begun = asyncio.Event()
    try:
        async with _extended_reservation(upload_id, services, original):
            submission = await receive(upload_id, begun.set)
            await services.queue.submit(submission, original)
    except BaseException as error:
        in_doubt = isinstance(error, StorageError | QueueUnavailableError | asyncio.CancelledError)
        with anyio.CancelScope(shield=True):
            await _discard(upload_id, services, original, stored=begun.is_set(), in_doubt=in_doubt)
        raise
    return submission


async def _replay(upload_id: str, receive: Receive, services: Services, original: str) -> Submission:
    """Returns the submission if it repeats the upload that was accepted with this Idempotency-Key or token.

    With a token, what counts is the file.
    """
    submission = await receive(upload_id, None)
    first = await services.queue.get(upload_id)
    if original and first and first.source == submission.source:
        return first.submission
    if original:
        raise token_used()
    if first is None or not first.submission.is_repeated_by(submission):
        raise ProblemError(
            "idempotency_mismatch",
            "This Idempotency-Key was used for another file or other options. Use a new key for a new upload.",
        )
    return submission


async def _receive(
    upload_id: str,
    token: UploadToken | None,
    limit: int,
    body: RawBody | FormBody,
    services: Services,
    owner: str,
    sink: Sink,
) -> Submission:
    """Streams the file into `sink`, then checks the fields, which are complete only then."""
    async with aclosing(at_most(body.chunks(), limit)) as chunks:
        head, fmt = await _sniff(chunks)
        _check_declared(token, body)
        if token:
            by_token.check_format(token, fmt)
        digest = await sink(_chain(head, chunks), fmt.media_type)
    source = Source(digest.bytes, digest.sha256, fmt.name)
    fields = by_token.merged(token, body.fields) if token else body.fields
    options = await options_of(fields, services, owner)
    return Submission(upload_id, options, source, gated=is_gated(options, services))


def _check_declared(token: UploadToken | None, body: RawBody | FormBody) -> None:
    """Of a form, the type is known once the file has begun."""
    if token:
        by_token.check_declared(token, body.media_type)


async def _sniff(chunks: AsyncGenerator[bytes]) -> tuple[bytes, Format]:
    """Returns the file's first bytes and its format, before anything is stored."""
    head = b""
    while len(head) < SNIFF_BYTES and (chunk := await anext(chunks, None)) is not None:
        head += chunk
    return head, format_of(head)


def format_of(head: bytes) -> Format:
    """Returns the format of a file by its first SNIFF_BYTES.

    Raises:
        ProblemError: empty_file or unsupported_media_type.
    """
    if not head:
        raise ProblemError("empty_file", "The file is empty.")
    fmt = sniff(head)
    if fmt is None:
        raise ProblemError(
            "unsupported_media_type",
            "The file's content is not an image that this service reads. Send JPEG, PNG, WebP, GIF, AVIF, TIFF or BMP.",
        )
    return fmt


async def _chain(head: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    yield head
    async for chunk in rest:
        yield chunk


async def _digest(chunks: AsyncIterator[bytes], _: str) -> Digest:
    size, sha256 = 0, hashlib.sha256()
    async for chunk in chunks:
        size += len(chunk)
        sha256.update(chunk)
    return Digest(size, sha256.hexdigest())


@asynccontextmanager
async def _extended_reservation(upload_id: str, services: Services, original: str) -> AsyncGenerator[None]:
    """Extends the reservation while the upload is received, so that the sweeper does not remove it."""

    async def extend() -> None:
        while True:
            await asyncio.sleep(services.settings.reservation_ttl_s / 3)
            try:
                await services.queue.extend(upload_id, original)
            except QueueUnavailableError:
                continue  # if Redis is away for too long, submit finds no reservation

    extending = asyncio.create_task(extend())
    try:
        yield
    finally:
        extending.cancel()


async def _discard(upload_id: str, services: Services, original: str, *, stored: bool, in_doubt: bool) -> None:
    """Removes what a failed upload has stored. The sweeper removes what cannot be removed now.

    If it is in doubt whether a put or the submit succeeded, the sweeper clears everything later.
    """
    try:
        await services.queue.abort(upload_id, original)
        if not in_doubt:
            if stored:
                await services.storage.clear(original or original_key(upload_id))
            if not original:
                await services.queue.ack_sweep(upload_id, is_final=True)
    except StorageError as error:
        log.warning("%s failed and could not be cleared: %r", upload_id, error.__cause__)
    except QueueUnavailableError:
        services.tasks.start_soon(_abort_later, upload_id, services, original)


async def _abort_later(upload_id: str, services: Services, original: str) -> None:
    """Aborts an upload as soon as Redis is back: it may have been submitted although no answer arrived."""
    while True:
        await asyncio.sleep(_ABORT_RETRY_S)
        try:
            await services.queue.abort(upload_id, original)
        except QueueUnavailableError:
            continue
        return


def holders_of(request: Request, owner: str) -> list[str]:
    """Returns who the memory of an upload counts for: its client, and its owner if it has one."""
    client = client_holder(request.scope["imgsvc.client"])
    return [client, f"owner {owner}"] if owner else [client]


def _length(request: Request, max_bytes: int) -> int:
    """Returns the declared length of the body, or else the largest that is allowed."""
    text = request.headers.get("content-length", "")
    if not text.isdecimal():
        return max_bytes
    if int(text) > max_bytes + FORM_OVERHEAD_BYTES:
        raise too_large(max_bytes)
    return int(text)


def _accepted(submission: Submission, services: Services, fields: Mapping[str, str]) -> Response:
    path = services.urls.upload(submission.id)
    document: Accepted = {
        "id": submission.id,
        "task_id": submission.id,
        "filename": submission.options.filename,
        "status_url": f"{path}/status",
        "result_url": f"{path}/result",
        "events_url": f"{path}/events",
        "url": path,
        "message": MESSAGE,
    }
    return Document(document, status_code=202, headers={"location": f"{path}/status", **fields})
