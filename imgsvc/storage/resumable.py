"""An upload of several parts that any process may go on with: what is known of it is kept by the caller."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from imgsvc.runtime.settings import MIB
from imgsvc.storage.clear import Clearing
from imgsvc.storage.errors import MissingError, StorageError
from imgsvc.storage.parts import PartsUpload
from imgsvc.storage.reads import ObjectInfo, metadata

RESUMABLE_PART_BYTES = 5 * MIB
"""The least that S3 allows for all parts but the last: the smaller they are, the less is sent again."""

_OTHER_PARTS = {"InvalidPart", "InvalidPartOrder"}


@dataclass(frozen=True, slots=True)
class ResumableUpload:
    """The parts of one object."""

    parts: PartsUpload
    clearing: Clearing
    head: Callable[[], Awaitable[ObjectInfo | None]]

    async def begin(self, content_type: str, owner: str) -> str:
        """Returns an id that the other calls need."""
        multipart, _ = await self.parts.begin(content_type, metadata(None, owner))
        return multipart

    async def put(self, multipart: str, number: int, data: bytes | bytearray) -> str:
        """Stores a part, from 1, in place of an earlier one of this number. Returns its ETag.

        All parts but the last have RESUMABLE_PART_BYTES.
        """
        return await self.parts.send_part(multipart, number, data)

    async def complete(self, multipart: str, etags: list[str], size: int) -> bool:
        """Makes the object of its parts. Safe to repeat.

        Returns whether its parts are proven to be those of `etags`. Otherwise a late writer may have stored another one
        in its place, or an earlier call has done it: the object's bytes must be compared.
        """
        try:
            if await self.parts.complete(multipart, etags):
                return True
        except MissingError:
            pass  # no longer: an earlier call has completed it
        except StorageError as error:
            if error.s3_code not in _OTHER_PARTS:
                raise
            # the same bytes get another ETag where S3 encrypts them, and a late writer has sent them again
            await self.parts.complete(multipart, await self.parts.stored(multipart, len(etags)))
        found = await self.head()
        if found is None or found.size != size:
            raise StorageError
        return False

    async def abort(self, multipart: str) -> None:
        """Removes the parts of an upload that is not complete. Safe to repeat."""
        await self.clearing.abort(self.parts.key, multipart)
