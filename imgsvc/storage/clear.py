"""Removes what is stored under a prefix: objects, their versions if configured, and unfinished uploads.

Listing starts from the beginning each time, since what was listed has been removed. A page that is returned unchanged
is an error, so that no server can keep this going for ever.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imgsvc.storage.calls import Calls
from imgsvc.storage.errors import AnswerError, MissingError, StorageError

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

Item = tuple[str, str]
"""A key, and the id of its version or upload, or ""."""

_MORE = "IsTruncated"


@dataclass(frozen=True, slots=True)
class Clearing:
    client: "S3Client"
    calls: Calls
    bucket: str
    versions: bool
    """Whether versions and delete markers are removed, rather than hidden by another delete marker."""

    async def clear(self, prefix: str) -> None:
        """Removes everything under `prefix`. Safe to repeat."""
        await self.abort_uploads(prefix)
        if self.versions:
            await self._remove_all(prefix, self._versions, self._delete_version)
        else:
            await self._remove_all(prefix, self._objects, self._delete)

    async def keys(self, prefix: str) -> list[str]:
        """Returns the keys of all objects under `prefix`."""
        found: list[str] = []
        truncated = True
        while truncated:
            after: Any = {"StartAfter": found[-1]} if found else {}
            async with self.calls.call():
                answer = await self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix, **after)
                page, truncated = _page(answer, prefix, "", "Contents")
            if page and found and page[-1][0] <= found[-1]:
                raise StorageError("S3 lists the same objects again: use a server that lists keys in order")
            found.extend(key for key, _ in page)
        return found

    async def abort(self, key: str, upload_id: str) -> None:
        """Aborts one unfinished upload; there may be none such."""
        await self._abort((key, upload_id))

    async def remove(self, key: str) -> None:
        """Removes one object, of which there are no others that begin with its key."""
        await (self.clear(key) if self.versions else self._delete((key, "")))

    async def abort_uploads(self, prefix: str, but: str = "") -> None:
        """Aborts unfinished uploads, except the one with the id `but`.

        A server that cannot list them is treated as having none: a lifecycle rule has to remove them (see doctor).
        """
        with suppress(_CannotListError):
            await self._remove_all(prefix, self._uploads, self._abort, but)

    async def is_versioned(self) -> bool:
        """Returns whether the bucket keeps deleted objects as versions."""
        async with self.calls.call():
            answer = await self.client.get_bucket_versioning(Bucket=self.bucket)
            return answer.get("Status") in {"Enabled", "Suspended"}

    async def can_list_uploads(self, prefix: str) -> bool:
        try:
            await anext(self._uploads(prefix))
        except _CannotListError:
            return False
        return True

    async def _remove_all(
        self,
        prefix: str,
        pages: Callable[[str], AsyncGenerator[tuple[Sequence[Item], bool]]],
        remove: Callable[[Item], Awaitable[None]],
        but: str = "",
    ) -> None:
        before: Sequence[Item] = ()
        async for page, truncated in pages(prefix):
            items = [item for item in page if not but or item[1] != but]
            if items and items == before:
                raise StorageError("S3 still lists objects that it has deleted: use a server with consistent listings")
            for item in items:
                await remove(item)
            if not truncated or not items:
                return
            before = items

    async def _objects(self, prefix: str) -> AsyncGenerator[tuple[Sequence[Item], bool]]:
        while True:
            async with self.calls.call():
                answer = await self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix)
                page = _page(answer, prefix, "", "Contents")
            yield page

    async def _versions(self, prefix: str) -> AsyncGenerator[tuple[Sequence[Item], bool]]:
        while True:
            async with self.calls.call():
                answer = await self.client.list_object_versions(Bucket=self.bucket, Prefix=prefix)
                page = _page(answer, prefix, "VersionId", "Versions", "DeleteMarkers")
            yield page

    async def _uploads(self, prefix: str) -> AsyncGenerator[tuple[Sequence[Item], bool]]:
        while True:
            try:
                async with self.calls.call():
                    answer = await self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=prefix)
                    page = _page(answer, prefix, "UploadId", "Uploads")
            except StorageError as error:
                if error.is_not_implemented:
                    raise _CannotListError from error
                raise
            yield page

    async def _delete(self, item: Item) -> None:
        async with self.calls.call():
            await self.client.delete_object(Bucket=self.bucket, Key=item[0])

    async def _delete_version(self, item: Item) -> None:
        async with self.calls.call():
            await self.client.delete_object(Bucket=self.bucket, Key=item[0], VersionId=item[1])

    async def _abort(self, item: Item) -> None:
        with suppress(MissingError):  # another process was faster
            async with self.calls.call():
                await self.client.abort_multipart_upload(Bucket=self.bucket, Key=item[0], UploadId=item[1])


class _CannotListError(Exception):
    """The server cannot list unfinished uploads."""


def _page(answer: Any, prefix: str, id_field: str, *lists: str) -> tuple[list[Item], bool]:
    """Returns the items of a listing, and whether there are more.

    Raises:
        AnswerError: the answer is not a listing of `prefix`; it must not pass for an empty one.
    """
    if not answer.keys() & {_MORE, "Name", "Bucket", *lists}:
        raise AnswerError("the answer is not a listing")
    items = [(entry["Key"], entry[id_field] if id_field else "") for name in lists for entry in answer.get(name, ())]
    if not all(key.startswith(prefix) for key, _ in items):
        raise AnswerError("a listing has keys without its prefix")
    if answer.get(_MORE) and not items:
        raise AnswerError("a truncated listing is empty")
    return items, bool(answer.get(_MORE))
