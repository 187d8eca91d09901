"""Cuts streams into parts of equal size, and uploads them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from imgsvc.storage.body import PART_BYTES
from imgsvc.storage.calls import Calls

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

__all__ = ["PART_BYTES", "Digest", "PartsUpload", "StreamParts"]


@dataclass(frozen=True, slots=True)
class Digest:
    """A stream's size in bytes and its SHA-256 in hex."""

    bytes: int
    sha256: str


class StreamParts:
    """Cuts a stream into parts of PART_BYTES, and computes its digest."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._first: bytearray | None = None
        self._rest = b""
        self._size = 0
        self._sha256 = hashlib.sha256()

    async def whole(self) -> bytearray | None:
        """Returns the whole stream if it is shorter than a part; otherwise None, and `next` returns the parts."""
        self._first = await self.next()
        return self._first if len(self._first) < PART_BYTES else None

    async def next(self) -> bytearray:
        """Returns the next part; shorter than PART_BYTES at the stream's end, empty after it."""
        if self._first:
            part, self._first = self._first, None
            return part
        part = bytearray(self._rest)
        self._rest = b""
        # equal sizes, since some S3 servers refuse others
        while len(part) < PART_BYTES and (chunk := await anext(self._chunks, None)) is not None:
            self._size += len(chunk)
            self._sha256.update(chunk)
            missing = PART_BYTES - len(part)
            part += chunk[:missing]
            self._rest = chunk[missing:]
        return part

    def digest(self) -> Digest:
        return Digest(self._size, self._sha256.hexdigest())


@dataclass(frozen=True, slots=True)
class PartsUpload:
    """A multipart upload, from its beginning to its completion."""

    client: "S3Client"
    calls: Calls
    bucket: str
    key: str
    on_stored: Callable[[int], None]

    async def begin(self, content_type: str, metadata: Mapping[str, str]) -> tuple[str, bool]:
        """Begins it; returns its id, and whether an earlier try may have begun another one and its answer was lost."""
        async with self.calls.call():
            begun = await self.client.create_multipart_upload(
                Bucket=self.bucket, Key=self.key, ContentType=content_type, Metadata=dict(metadata)
            )
            return begun["UploadId"], bool(begun["ResponseMetadata"].get("RetryAttempts"))

    async def send(self, upload_id: str, parts: StreamParts) -> list[str]:
        """Sends each part while the next one is filled; returns the ETags in order."""
        etags: list[str] = []
        part = await parts.next()
        while part:
            sending = asyncio.create_task(self.send_part(upload_id, len(etags) + 1, part))
            del part  # only the task holds it, so that it is freed as soon as it is sent
            try:
                part = await parts.next()
                etags.append(await sending)
            finally:
                sending.cancel()
                await asyncio.wait([sending])
        return etags

    async def complete(self, upload_id: str, etags: list[str]) -> bool:
        """Completes it; returns whether the answer has an ETag, without which nothing is proven."""
        async with self.calls.call():
            done = await self.client.complete_multipart_upload(
                Bucket=self.bucket,
                Key=self.key,
                UploadId=upload_id,
                MultipartUpload={"Parts": [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]},
            )
            return bool(done.get("ETag"))

    async def abort(self, upload_id: str) -> None:
        """Gives it up, and removes its parts."""
        async with self.calls.call():
            await self.client.abort_multipart_upload(Bucket=self.bucket, Key=self.key, UploadId=upload_id)

    async def stored(self, upload_id: str, count: int) -> list[str]:
        """Returns the ETags of the first `count` parts as they are stored now, in order."""
        async with self.calls.call():
            answer: Any = await self.client.list_parts(Bucket=self.bucket, Key=self.key, UploadId=upload_id)
            found = {part["PartNumber"]: part["ETag"] for part in answer.get("Parts", ())}
            return [found[number] for number in range(1, count + 1)]

    async def send_part(self, upload_id: str, number: int, data: bytes | bytearray) -> str:
        async with self.calls.call():
            answer = await self.client.upload_part(
                Bucket=self.bucket, Key=self.key, UploadId=upload_id, PartNumber=number, Body=cast(bytes, data)
            )
            etag = answer["ETag"]
        self.on_stored(len(data))
        return etag
