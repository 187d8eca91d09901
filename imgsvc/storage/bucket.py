"""All operations on the service's bucket."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self, cast

from imgsvc.runtime.metrics import Dependency, Metrics
from imgsvc.runtime.settings import Settings
from imgsvc.storage.calls import Calls
from imgsvc.storage.clear import Clearing
from imgsvc.storage.client import open_client
from imgsvc.storage.errors import AnswerError, MissingError, Place, StorageError
from imgsvc.storage.parts import Digest, PartsUpload, StreamParts
from imgsvc.storage.reads import ObjectInfo, Span, check_span, chunks, info, metadata
from imgsvc.storage.resumable import ResumableUpload

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_NO_CONSTRAINT = "us-east-1"  # AWS refuses it as a LocationConstraint
_CONSTRAINT_REFUSED = {"InvalidLocationConstraint", "IllegalLocationConstraintException", "InvalidRegionName"}
_TAKEN = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}


def _ignore(_: int) -> None:
    """Does nothing."""


class Storage:
    """A bucket, or a prefix of one: keys are passed and returned without the prefix.

    Open it once in the life of a process with `Storage.open`.
    """

    def __init__(self, client: "S3Client", settings: Settings, health: Dependency) -> None:
        self._client = client
        self._bucket = settings.s3_bucket
        self._prefix = settings.s3_prefix
        self._region = settings.s3_region
        self._calls = Calls(Place(settings.s3_bucket, settings.s3_region), settings.s3_timeout_s, health)
        self._clearing = Clearing(client, self._calls, settings.s3_bucket, settings.s3_delete_versions)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, health: Dependency | None = None) -> AsyncGenerator[Self]:
        """Opens the client; it connects when it is first used, so that S3 may still be starting.

        Raises:
            StorageError: no client can be made of the settings; names the wrong ones.
        """
        async with AsyncExitStack() as stack:
            try:
                client = await stack.enter_async_context(open_client(settings))
            except Exception as error:
                raise StorageError("no S3 client can be made of the settings IMGSVC_S3_*") from error
            yield cls(client, settings, health or Metrics().storage)

    async def put_stream(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        content_type: str,
        *,
        owner: str,
        on_begin: Callable[[], None] = lambda: None,
        on_stored: Callable[[int], None] = _ignore,
        aborts: bool = False,
    ) -> Digest:
        """Stores what `chunks` yields, part by part as it arrives; a body shorter than a part takes a single PUT.

        `on_begin` is called before the first request to S3, and `on_stored` with the size of each part that is stored
        and no longer in memory. After an error or cancellation, `clear` removes what is left, if `on_begin` was called;
        where it `aborts`, this call has tried to remove its parts.
        """
        parts = StreamParts(chunks)
        whole = await parts.whole()
        on_begin()
        if whole is not None:
            await self.put(key, whole, content_type, owner=owner)
        else:
            await self._put_parts(key, parts, content_type, owner, on_stored, aborts=aborts)
        return parts.digest()

    async def put(
        self,
        key: str,
        data: bytes | bytearray,
        content_type: str,
        expires_at: int | None = None,
        *,
        owner: str = "",
        sha256: str = "",
    ) -> None:
        """Stores an object, its expiry (`expires_at`, ms since the epoch) and its `sha256`, so that serving it needs no
        look-up.
        """
        async with self._calls.call():
            answer = await self._client.put_object(
                Bucket=self._bucket,
                Key=self._prefix + key,
                Body=cast(bytes, data),
                ContentType=content_type,
                Metadata=metadata(expires_at, owner, sha256),
            )
            if not answer.get("ETag"):
                raise AnswerError("an object is stored without an ETag")

    def resumable(self, key: str) -> ResumableUpload:
        """The parts of an object that may be stored by several processes, one after the other."""
        parts = PartsUpload(self._client, self._calls, self._bucket, self._prefix + key, _ignore)
        return ResumableUpload(parts, self._clearing, lambda: self.head(key))

    async def head(self, key: str) -> ObjectInfo | None:
        try:
            async with self._calls.call():
                return info(await self._client.head_object(Bucket=self._bucket, Key=self._prefix + key))
        except MissingError:
            return None

    @asynccontextmanager
    async def read(
        self, key: str, span: Span | None = None
    ) -> AsyncGenerator[tuple[ObjectInfo, AsyncIterator[bytes]] | None]:
        """Streams an object, or its bytes from `span[0]` to `span[1]`, both included. Yields None if it does not exist.

        `size` is that of the whole object either way. The connection is released on leaving.
        """
        wanted: dict[str, Any] = {"Range": f"bytes={span[0]}-{span[1]}"} if span else {}
        body: Any = None
        try:
            try:
                async with self._calls.call():
                    answer = await self._client.get_object(Bucket=self._bucket, Key=self._prefix + key, **wanted)
                    body = answer["Body"]
                    check_span(answer, span)
                    found = info(answer), chunks(self._calls, body, answer["ContentLength"])
            except MissingError:
                found = None
            yield found
        finally:
            if body is not None:
                body.close()

    async def clear(self, prefix: str) -> None:
        """Removes everything under `prefix`, including unfinished uploads. Safe to repeat."""
        await self._clearing.clear(self._prefix + prefix)

    async def abort_uploads(self, key: str) -> None:
        """Removes the parts of unfinished uploads of an object. Safe to repeat."""
        await self._clearing.abort_uploads(self._prefix + key)

    async def remove(self, key: str) -> None:
        """Removes one object. Safe to repeat."""
        await self._clearing.remove(self._prefix + key)

    async def keys(self, prefix: str) -> list[str]:
        """Returns the keys of all objects under `prefix`."""
        return [key.removeprefix(self._prefix) for key in await self._clearing.keys(self._prefix + prefix)]

    async def is_versioned(self) -> bool:
        """Returns whether the bucket keeps deleted objects as versions."""
        return await self._clearing.is_versioned()

    async def can_list_uploads(self) -> bool:
        """Returns whether the server can list unfinished uploads, which `clear` aborts."""
        return await self._clearing.can_list_uploads(self._prefix)

    async def ensure_bucket(self) -> None:
        """Creates the bucket, in the settings' region, unless it exists."""
        try:
            await self.ping()
        except MissingError:
            try:
                await self._create_bucket()
            except StorageError as error:
                if error.s3_code not in _TAKEN:
                    raise
                with suppress(MissingError):
                    await self.ping()  # created meanwhile, by another process of this service or by another account
                    return
                raise

    async def ping(self) -> float:
        """Requests the bucket's headers; returns the time it took, in milliseconds."""
        begin = perf_counter()
        async with self._calls.call():
            await self._client.head_bucket(Bucket=self._bucket)
        return round((perf_counter() - begin) * 1000, 2)

    async def is_there(self) -> bool:
        try:
            await self.ping()
        except StorageError:
            return False
        return True

    async def _create_bucket(self) -> None:
        where: dict[str, Any] = {}
        if self._region != _NO_CONSTRAINT:
            where = {"CreateBucketConfiguration": {"LocationConstraint": self._region}}
        try:
            async with self._calls.call():
                await self._client.create_bucket(Bucket=self._bucket, **where)
        except StorageError as error:
            if not where or error.s3_code not in _CONSTRAINT_REFUSED:
                raise
            async with self._calls.call():  # some servers have no regions, and refuse any constraint
                await self._client.create_bucket(Bucket=self._bucket)

    async def _put_parts(
        self,
        key: str,
        parts: StreamParts,
        content_type: str,
        owner: str,
        on_stored: Callable[[int], None],
        *,
        aborts: bool,
    ) -> None:
        upload = PartsUpload(self._client, self._calls, self._bucket, self._prefix + key, on_stored)
        upload_id, repeated = await upload.begin(content_type, metadata(None, owner))
        if repeated:
            await self._clearing.abort_uploads(self._prefix + key, but=upload_id)
        try:
            done = await upload.complete(upload_id, await upload.send(upload_id, parts))
        except MissingError:
            done = False  # unless an earlier try completed it and its answer was lost
        except BaseException:
            if aborts:
                with suppress(StorageError):
                    await upload.abort(upload_id)
            raise
        if not done and ((found := await self.head(key)) is None or found.size != parts.digest().bytes):
            raise StorageError
