"""The overlays that variants use, as their jobs get them: read from storage, verified, and kept for the next job."""

import hashlib
from collections.abc import Sequence

from imgsvc.domain.model import Variant
from imgsvc.domain.overlays import MAX_FILE_BYTES, overlay_key
from imgsvc.domain.problems import JobError
from imgsvc.storage import Storage

KEPT = 16
"""How many files are kept, each of MAX_FILE_BYTES at most."""


class Overlays:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._kept: dict[str, bytes] = {}
        """By SHA-256, the latest used last."""

    async def of(self, variants: Sequence[Variant]) -> dict[str, bytes]:
        """Returns the files of the overlays of these variants, by their SHA-256.

        Raises:
            JobError: overlay_missing or overlay_corrupt.
            StorageError: storage is unavailable.
        """
        wanted = {variant.overlay.sha256 for variant in variants if variant.overlay}
        return {sha256: await self._file(sha256) for sha256 in sorted(wanted)}

    async def _file(self, sha256: str) -> bytes:
        data = self._kept.pop(sha256, None)
        if data is None:
            data = await self._read(sha256)
        self._kept[sha256] = data
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return data

    async def _read(self, sha256: str) -> bytes:
        async with self._storage.read(overlay_key(sha256)) as found:
            if found is None:
                raise JobError("overlay_missing")
            if found[0].size > MAX_FILE_BYTES:
                raise JobError("overlay_corrupt")
            data = b"".join([chunk async for chunk in found[1]])
        if hashlib.sha256(data).hexdigest() != sha256:
            raise JobError("overlay_corrupt")
        return data
