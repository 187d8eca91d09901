"""`POST /upload`: a stream from the client to storage, then one atomic step into the queue."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from uuid import uuid4

import anyio
from starlette.requests import Request
from starlette.responses import Response

from imgsvc import logs
from imgsvc.api import options
from imgsvc.api.budget import overloaded
from imgsvc.api.context import Document, Services, services
from imgsvc.api.errors import RETRY_AFTER_S, ProblemError
from imgsvc.api.multipart import FORM_OVERHEAD_BYTES, FormBody, RawBody, at_most, open_body, too_large
from imgsvc.api.webhooks import webhook_url
from imgsvc.formats import SNIFF_BYTES, Format, sniff
from imgsvc.jobs.queue import Admission, QueueUnavailableError
from imgsvc.jobs.record import Source, Submission, original_key
from imgsvc.storage import PART_BYTES, Digest, StorageError

log = logging.getLogger(__name__)

_ABANDON_AGAIN_S = 1.0
MESSAGE = "File uploaded successfully. Processing started in the background."

Sink = Callable[[AsyncIterator[bytes], str], Awaitable[Digest]]
"""Takes the file's chunks and its media type."""

Receive = Callable[[str, bool], Awaitable[Submission]]
"""Reads what the client sends as the upload of that id, and stores its file, or only looks at it."""


async def upload(request: Request) -> Response:
    """Answers 202 only when the original is durable and its job is queued.

    Whatever can be refused without the body is refused before it is read.
    """
    here = services(request)
    length = _length(request, here.settings.max_upload_bytes)
    key = options.idempotency_key(request)
    body = open_body(request, options.FIELDS, here.settings.body_idle_timeout_s)

    async def receive(upload_id: str, store: bool) -> Submission:
        sink = partial(here.storage.put_stream, original_key(upload_id)) if store else _digest
        return await _receive(upload_id, body, here, sink)

    with here.uploads.lend(min(length, 2 * PART_BYTES)), here.metrics.uploads.track_inprogress():
        return await submitted(here, key, receive)


async def submitted(here: Services, key: str, receive: Receive) -> Response:
    """Reserves an upload, has it received, and submits it; or else says why not."""
    reservation = await here.queue.reserve(str(uuid4()), key)
    logs.bind(upload_id=reservation.id)
    match reservation.admission:
        case Admission.RESERVED:
            submission = await _accept(reservation.id, receive, here)
        case Admission.REPLAY:
            submission = await _replay(reservation.id, receive, here)
        case Admission.IN_FLIGHT:
            detail = "The first upload with this Idempotency-Key is still under way. Ask again shortly."
            raise ProblemError("idempotency_in_flight", detail, {"retry-after": str(RETRY_AFTER_S)})
        case Admission.OVERLOADED:
            raise overloaded("Too many jobs are waiting. Try again later.")
    return _accepted(submission)


async def _accept(upload_id: str, receive: Receive, here: Services) -> Submission:
    try:
        async with _held(upload_id, here):
            submission = await receive(upload_id, True)
            await here.queue.submit(submission)
    except BaseException as error:
        with anyio.CancelScope(shield=True):
            await _give_up(upload_id, here, in_doubt=isinstance(error, StorageError | QueueUnavailableError))
        raise
    return submission


async def _replay(upload_id: str, receive: Receive, here: Services) -> Submission:
    """The upload that was accepted under this Idempotency-Key, provided that this one is the same."""
    submission = await receive(upload_id, False)
    first = await here.queue.get(upload_id)
    if first is None or not first.submission.is_repeated_by(submission):
        raise ProblemError(
            "idempotency_mismatch",
            "This Idempotency-Key was used for another file or other options. Use a new key for a new upload.",
        )
    return submission


async def _receive(upload_id: str, body: RawBody | FormBody, here: Services, sink: Sink) -> Submission:
    """Streams the file into `sink`; its fields are checked when all of them have come."""
    async with aclosing(at_most(body.chunks(), here.settings.max_upload_bytes)) as chunks:
        head, fmt = await _sniff(chunks)
        digest = await sink(_chain(head, chunks), fmt.media_type)
    preset, variants = options.preset(body.fields, here.presets)
    return Submission(
        id=upload_id,
        filename=body.filename,
        preset=preset,
        variants=variants,
        source=Source(digest.bytes, digest.sha256, fmt.name),
        metadata=options.metadata(body.fields),
        expires_in=options.expires_in(body.fields, here.settings.files_ttl),
        webhook_url=await webhook_url(body.fields, here),
    )


async def _sniff(chunks: AsyncGenerator[bytes]) -> tuple[bytes, Format]:
    """The file's beginning, and what it is, before anything of it is stored."""
    head = b""
    while len(head) < SNIFF_BYTES and (chunk := await anext(chunks, None)) is not None:
        head += chunk
    if not head:
        raise ProblemError("empty_file", "The file is empty.")
    fmt = sniff(head)
    if fmt is None:
        raise ProblemError(
            "unsupported_media_type",
            "The file's content is not an image that this service reads. Send JPEG, PNG, WebP, GIF, AVIF, TIFF or BMP.",
        )
    return head, fmt


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
async def _held(upload_id: str, here: Services) -> AsyncGenerator[None]:
    """Keeps the sweeper off while the upload is received, however slowly."""

    async def hold() -> None:
        while True:
            await asyncio.sleep(here.settings.reservation_ttl / 3)
            try:
                await here.queue.hold(upload_id)
            except QueueUnavailableError:
                continue  # should it stay away for too long, submit will find no reservation

    holding = asyncio.create_task(hold())
    try:
        yield
    finally:
        holding.cancel()


async def _give_up(upload_id: str, here: Services, *, in_doubt: bool) -> None:
    """Leaves nothing of a failed upload. What cannot be removed now is the sweeper's to find.

    Where it is in doubt whether a put or the submit went through after all, that may still leave something behind:
    the sweeper comes later, and clears everything.
    """
    try:
        await here.queue.abandon(upload_id)
        if not in_doubt:
            await here.storage.clear(original_key(upload_id))
            await here.queue.swept(upload_id)
    except StorageError as error:
        log.warning("%s failed and could not be cleared: %r", upload_id, error.__cause__)
    except QueueUnavailableError:
        here.tasks.start_soon(_abandon_at_last, upload_id, here)


async def _abandon_at_last(upload_id: str, here: Services) -> None:
    """Undoes an upload as soon as Redis is back: it may have been submitted without our hearing of it."""
    while True:
        await asyncio.sleep(_ABANDON_AGAIN_S)
        try:
            await here.queue.abandon(upload_id)
        except QueueUnavailableError:
            continue
        return


def _length(request: Request, max_bytes: int) -> int:
    """The body's length as its sender tells it, or else the longest that it may have."""
    text = request.headers.get("content-length", "")
    if not text.isdecimal():
        return max_bytes
    if int(text) > max_bytes + FORM_OVERHEAD_BYTES:
        raise too_large(max_bytes)
    return int(text)


def _accepted(submission: Submission) -> Response:
    path = f"/upload/{submission.id}"
    document = {
        "id": submission.id,
        "task_id": submission.id,
        "filename": submission.filename,
        "status_url": f"{path}/status",
        "result_url": f"{path}/result",
        "events_url": f"{path}/events",
        "message": MESSAGE,
    }
    return Document(document, status_code=202, headers={"location": f"{path}/status"})
