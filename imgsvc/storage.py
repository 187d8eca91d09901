"""Object storage: originals and results in one S3 bucket. The only place that knows S3.

Every call has a deadline and ends in our own words: StorageError for what may pass, None for what is not there.
"""

import asyncio
import hashlib
import io
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self, cast

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, HTTPClientError
from botocore.handlers import add_expect_header

from imgsvc.metrics import Dependency, Metrics
from imgsvc.problems import CodedError
from imgsvc.settings import MIB, Settings

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

PART_BYTES = 8 * MIB
"""Size of an upload's parts. Two of them, one on its way and one filling, are all that an upload holds in memory."""

_READ_BYTES = 64 * 1024
_SLICE_BYTES = 256 * 1024
_CONNECTIONS = 64
_TRIES = 8
_PAUSES_S = (0.05, 0.5)
_EXPIRES_AT = "expires-at"
_OWNER = "owner"
_REFUSED = "S3 refuses the credentials: check the access key, its secret, and what it may do with the bucket"
_MISSING = {"404", "NoSuchKey", "NoSuchUpload", "NotFound"}
_on_sent: ContextVar[Callable[[int], None]] = ContextVar("on_sent")
"""Told by a body how much of it is sent. aiohttp sends it in a task of its own, which inherits the caller's."""


class StorageError(CodedError):
    """S3 is away, too slow, or answers with an error. The same call may succeed later.

    `reason` is set where an operator must do something about it.
    """

    def __init__(self, reason: str | None = None) -> None:
        super().__init__("storage_unavailable", "Object storage is not available at the moment. Try again shortly.")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Digest:
    """What went through a stream: its size in bytes and its SHA-256 in hex."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object's headers. `etag` is quoted, as HTTP wants it; `expires_at` is in ms since the epoch; `owner` is
    whose key it was uploaded with, "" where there was none.
    """

    size: int
    etag: str
    last_modified: datetime
    content_type: str
    expires_at: int | None
    owner: str


class Storage:
    """One bucket. Open it once in the life of a process with `Storage.open`: making a client takes 100 ms and more."""

    def __init__(self, client: "S3Client", bucket: str, timeout_s: float, health: Dependency) -> None:
        self._client = client
        self._bucket = bucket
        self._timeout_s = timeout_s
        self._health = health

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, health: Dependency | None = None) -> AsyncGenerator[Self]:
        """Connects when it is first used, so that an S3 that is still starting stops nobody."""
        key, secret = settings.s3_access_key_id, settings.s3_secret_access_key
        session = aioboto3.Session(
            aws_access_key_id=key.get_secret_value() if key else None,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            region_name=settings.s3_region,
        )
        config = AioConfig(
            connect_timeout=settings.s3_timeout_s,
            read_timeout=3 * settings.s3_timeout_s,  # _call comes first
            max_pool_connections=_CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": 1},  # _again has the say
            s3={"addressing_style": "path" if settings.s3_endpoint_url else "auto"},
            # newer botocore adds checksums that many S3 servers do not know
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        opening = cast(Any, session).client("s3", endpoint_url=settings.s3_endpoint_url, config=config)
        async with opening as client:
            # a silent server may hold the 100-continue for ever, past any read timeout
            client.meta.events.unregister("before-call.s3", add_expect_header)
            client.meta.events.register("before-send.s3", _send_in_slices)
            client.meta.events.register("needs-retry.s3", _again)
            yield cls(client, settings.s3_bucket, settings.s3_timeout_s, health or Metrics().storage)

    async def put_stream(
        self, key: str, chunks: AsyncIterator[bytes], content_type: str, *, owner: str, on_begin: Callable[[], None]
    ) -> Digest:
        """Stores what `chunks` yields, part by part as it comes; a body below one part takes a single PUT.

        Where it raises, or is cancelled, `clear` removes what is left behind, if it had told `on_begin`.
        """
        parts = _Parts(chunks)
        whole = await parts.whole()
        on_begin()
        if whole is not None:
            await self.put(key, whole, content_type, owner=owner)
        else:
            await self._put_parts(key, parts, content_type, owner)
        return parts.digest()

    async def put(
        self,
        key: str,
        data: bytes | bytearray,
        content_type: str,
        expires_at: int | None = None,
        *,
        owner: str = "",
    ) -> None:
        """Stores an object, and with it when it is no longer to be served: who serves it asks nobody else."""
        metadata = _metadata(expires_at, owner)
        async with self._call():
            await self._client.put_object(
                Bucket=self._bucket, Key=key, Body=cast(bytes, data), ContentType=content_type, Metadata=metadata
            )

    async def head(self, key: str) -> ObjectInfo | None:
        try:
            async with self._call():
                answer = await self._client.head_object(Bucket=self._bucket, Key=key)
        except _MissingError:
            return None
        return _info(answer)

    @asynccontextmanager
    async def read(
        self, key: str, span: tuple[int, int] | None = None
    ) -> AsyncGenerator[tuple[ObjectInfo, AsyncIterator[bytes]] | None]:
        """Streams an object, or its bytes from `span[0]` to `span[1]`, both included. None where there is none.

        `size` is that of the whole object either way. The connection is freed on leaving.
        """
        wanted: dict[str, Any] = {"Range": f"bytes={span[0]}-{span[1]}"} if span else {}
        try:
            async with self._call():
                answer = await self._client.get_object(Bucket=self._bucket, Key=key, **wanted)
        except _MissingError:
            yield None
            return
        body = cast(Any, answer["Body"])
        try:
            yield _info(answer), self._chunks(body, answer["ContentLength"])
        finally:
            body.close()

    async def clear(self, prefix: str) -> None:
        """Removes all that is stored under `prefix`, unfinished uploads too. Safe to repeat."""
        await self._abort_uploads(prefix)
        async with self._call():
            objects = await self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix)
        for item in objects.get("Contents", []):
            async with self._call():
                await self._client.delete_object(Bucket=self._bucket, Key=item.get("Key", ""))
        if objects.get("IsTruncated"):
            await self.clear(prefix)

    async def ensure_bucket(self) -> None:
        try:
            async with self._call():
                await self._client.head_bucket(Bucket=self._bucket)
        except _MissingError:
            async with self._call():
                await self._client.create_bucket(Bucket=self._bucket)

    async def ping(self) -> float:
        """Asks for the bucket's headers; the answer's time in milliseconds."""
        begin = perf_counter()
        async with self._call():
            await self._client.head_bucket(Bucket=self._bucket)
        return round((perf_counter() - begin) * 1000, 2)

    async def is_there(self) -> bool:
        try:
            await self.ping()
        except StorageError:
            return False
        return True

    async def _put_parts(self, key: str, parts: "_Parts", content_type: str, owner: str) -> None:
        async with self._call():
            begun = await self._client.create_multipart_upload(
                Bucket=self._bucket, Key=key, ContentType=content_type, Metadata=_metadata(None, owner)
            )
        upload_id = begun["UploadId"]
        # an earlier try may have begun one too, without our hearing of it
        if begun["ResponseMetadata"]["RetryAttempts"]:
            await self._abort_uploads(key, but=upload_id)
        try:
            etags = await self._send_parts(key, upload_id, parts)
            async with self._call():
                await self._client.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=key,
                    UploadId=upload_id,
                    MultipartUpload={"Parts": [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]},
                )
        except _MissingError:
            if await self.head(key) is None:  # else an earlier try completed it, without our hearing of it
                raise

    async def _abort_uploads(self, prefix: str, but: str | None = None) -> None:
        async with self._call():
            uploads = await self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=prefix)
        for upload in uploads.get("Uploads", []):
            key, upload_id = upload.get("Key", ""), upload.get("UploadId", "")
            if upload_id != but:
                with suppress(_MissingError):  # someone else was faster
                    async with self._call():
                        await self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)
        if uploads.get("IsTruncated"):
            await self._abort_uploads(prefix, but)

    async def _send_parts(self, key: str, upload_id: str, parts: "_Parts") -> list[str]:
        """Sends each part while the next one fills; their ETags in order."""
        etags: list[str] = []
        part = await parts.next()
        while part:
            sending = asyncio.create_task(self._send_part(key, upload_id, len(etags) + 1, part))
            del part  # the task alone holds it, so that it is freed as soon as it is sent
            try:
                part = await parts.next()
                etags.append(await sending)
            finally:
                sending.cancel()
                await asyncio.wait([sending])
        return etags

    async def _send_part(self, key: str, upload_id: str, number: int, data: bytearray) -> str:
        async with self._call():
            answer = await self._client.upload_part(
                Bucket=self._bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=cast(bytes, data)
            )
        return answer["ETag"]

    async def _chunks(self, body: Any, size: int) -> AsyncIterator[bytes]:
        left = size
        while left > 0:
            async with self._call(timed=False):
                chunk = await body.read(min(_READ_BYTES, left))
            if not chunk:
                raise StorageError  # cut short: what came must not be taken for the whole
            left -= len(chunk)
            yield chunk

    @asynccontextmanager
    async def _call(self, *, timed: bool = True) -> AsyncGenerator[None]:
        """The deadline and the errors of one exchange with S3, or of a part of one, which is not `timed`.

        The deadline is one of silence: as long as S3 takes some of a large body, it is put off.
        """
        missing: ClientError | None = None
        with self._health.call(StorageError, timed=timed):
            try:
                async with asyncio.timeout(self._timeout_s) as deadline:
                    _on_sent.set(partial(_put_off, deadline, self._timeout_s))
                    yield
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") not in _MISSING:
                    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
                    raise StorageError(_REFUSED if status in {401, 403} else None) from error
                missing = error  # an answer like any other, from an S3 that is there
            except (BotoCoreError, aiohttp.ClientError, OSError, TimeoutError) as error:
                raise StorageError from error
        if missing:
            raise _MissingError from missing


class _MissingError(StorageError):
    """S3 knows no such key or bucket. Where nobody expects that, it counts as any other failure."""


class _Parts:
    """Cuts a stream into parts of PART_BYTES, and knows what went through."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._first: bytearray | None = None
        self._rest = b""
        self._size = 0
        self._sha256 = hashlib.sha256()

    async def whole(self) -> bytearray | None:
        """All of the stream where it is shorter than a part; else None, and the parts are still to come."""
        self._first = await self.next()
        return self._first if len(self._first) < PART_BYTES else None

    async def next(self) -> bytearray:
        """The next part; shorter than PART_BYTES at the stream's end, empty behind it."""
        if self._first:
            part, self._first = self._first, None
            return part
        part = bytearray(self._rest)
        self._rest = b""
        # equal parts, since some S3 servers refuse others
        while len(part) < PART_BYTES and (chunk := await anext(self._chunks, None)) is not None:
            self._size += len(chunk)
            self._sha256.update(chunk)
            room = PART_BYTES - len(part)
            part += chunk[:room]
            self._rest = chunk[room:]
        return part

    def digest(self) -> Digest:
        return Digest(self._size, self._sha256.hexdigest())


def _send_in_slices(request: Any, **_: Any) -> None:
    """Hands aiohttp a body as bytes, and a large one in slices.

    botocore wraps bytes in a file, which aiohttp reads in a thread, 64 KiB at a time; a large body given at once
    is copied behind the headers.
    """
    body = request.body.getvalue() if isinstance(request.body, io.BytesIO) else request.body
    request.body = _Slices(body) if body and len(body) > _SLICE_BYTES else body


class _Slices:
    def __init__(self, body: bytes | bytearray) -> None:
        self._body = memoryview(body)

    async def __aiter__(self) -> AsyncGenerator[memoryview]:
        for at in range(0, len(self._body), _SLICE_BYTES):
            yield self._body[at : at + _SLICE_BYTES]
            _on_sent.get()(at)

    def seek(self, _: int) -> None:
        """botocore rewinds a body before it is sent again; this one begins anew by itself."""


def _put_off(deadline: asyncio.Timeout, timeout_s: float, sent: int) -> None:
    """What is sent may still stand in the sockets' buffers, so the more it is, the longer its answer may take."""
    with suppress(RuntimeError):  # it has passed already
        deadline.reschedule(asyncio.get_running_loop().time() + timeout_s * (1 + sent / PART_BYTES))


def _again(attempts: int, response: Any, caught_exception: Exception | None, **_: Any) -> float | None:
    """Seconds until a call that failed is tried again, or None where that is of no use.

    botocore's own pauses grow so fast that few tries fit into a call's deadline. With these, 30 % of failures on the
    way make a call fail once in 15 000 times, and an S3 that is away is told within two seconds or so.
    """
    failed = response is not None and response[0].status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
    if attempts >= _TRIES or not (failed or isinstance(caught_exception, EndpointConnectionError | HTTPClientError)):
        return None
    return random.uniform(0.5, 1) * min(_PAUSES_S[1], _PAUSES_S[0] * 2 ** (attempts - 1))  # noqa: S311 (no secret)


def _metadata(expires_at: int | None, owner: str) -> dict[str, str]:
    return ({} if expires_at is None else {_EXPIRES_AT: str(expires_at)}) | ({_OWNER: owner} if owner else {})


def _info(answer: Any) -> ObjectInfo:
    whole = answer.get("ContentRange", "").rpartition("/")[2]
    size = int(whole) if whole else answer["ContentLength"]
    metadata = answer["Metadata"]
    expires_at = int(metadata[_EXPIRES_AT]) if _EXPIRES_AT in metadata else None
    return ObjectInfo(
        size, answer["ETag"], answer["LastModified"], answer["ContentType"], expires_at, metadata.get(_OWNER, "")
    )
