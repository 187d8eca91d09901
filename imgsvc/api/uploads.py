"""`POST /upload`: a stream from the client to storage, then one atomic step into the queue."""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import uuid4

import anyio
import orjson
from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.context import Document, Services, services
from imgsvc.api.errors import ProblemError
from imgsvc.api.multipart import FORM_OVERHEAD_BYTES, FormBody, RawBody, at_most, open_body, too_large
from imgsvc.formats import SNIFF_BYTES, Format, sniff
from imgsvc.jobs.queue import QueueUnavailableError
from imgsvc.jobs.record import Source, Submission, original_key
from imgsvc.presets import DEFAULT, PRESETS
from imgsvc.storage import StorageError

log = logging.getLogger(__name__)

FIELDS = frozenset({"preset", "metadata"})
MAX_METADATA_BYTES = 4096
MESSAGE = "File uploaded successfully. Processing started in the background."


async def upload(request: Request) -> Response:
    """Answers 202 only when the original is durable and its job is queued."""
    here = services(request)
    _check_length(request, here.settings.max_upload_bytes)
    body = open_body(request, FIELDS, here.settings.body_idle_timeout_s)
    upload_id = str(uuid4())
    await here.queue.reserve(upload_id)  # a Redis that is away says so before a byte of the body is read
    try:
        submission = await _receive(upload_id, body, here)
        await here.queue.submit(submission)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await _give_up(upload_id, here)
        raise
    return _accepted(submission)


async def _receive(upload_id: str, body: RawBody | FormBody, here: Services) -> Submission:
    """Streams the file to storage; its fields are checked when all of them have come."""
    async with aclosing(at_most(body.chunks(), here.settings.max_upload_bytes)) as chunks:
        head, fmt = await _sniff(chunks)
        digest = await here.storage.put_stream(original_key(upload_id), _chain(head, chunks), fmt.media_type)
    return Submission(
        id=upload_id,
        filename=body.filename,
        preset=_preset(body.fields.get("preset", DEFAULT)),
        source=Source(digest.bytes, digest.sha256, fmt.name),
        metadata=_metadata(body.fields.get("metadata", "{}")),
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


async def _give_up(upload_id: str, here: Services) -> None:
    """Leaves nothing of a failed upload. What cannot be removed now stays reserved, for the sweeper to find."""
    try:
        await here.queue.abandon(upload_id)
        await here.storage.clear(original_key(upload_id))
        await here.queue.forget(upload_id)
    except (QueueUnavailableError, StorageError) as error:
        log.warning("%s failed and could not be cleared: %s", upload_id, error)


def _check_length(request: Request, max_bytes: int) -> None:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes + FORM_OVERHEAD_BYTES:
        raise too_large(max_bytes)


def _preset(name: str) -> str:
    if name not in PRESETS:
        raise ProblemError("invalid_preset", f"There is no preset {name[:80]!r}. There are: {', '.join(PRESETS)}.")
    return name


def _metadata(text: str) -> dict[str, str]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if len(text.encode()) > MAX_METADATA_BYTES:
        raise ProblemError("invalid_field", f"'metadata' is longer than {MAX_METADATA_BYTES} bytes.")
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ProblemError("invalid_field", "'metadata' must be a JSON object whose values are strings.")
    return value


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
