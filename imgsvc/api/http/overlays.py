"""The overlays of this service in storage, where workers read them: put there before a job needs them."""

import asyncio
from time import monotonic

from imgsvc.api.http.offer import Offer
from imgsvc.domain.overlays import OverlayFile, Overlays, overlay_key
from imgsvc.domain.presets import Preset
from imgsvc.storage import Storage

_CHECKED_FOR_S = 60.0
"""How long an overlay is believed to be in storage, in seconds."""


class StoredOverlays:
    """Keeps in storage what `offered` has. An overlay of an earlier presets file stays there, and is left alone."""

    def __init__(self, storage: Storage, offer: Offer) -> None:
        self._storage = storage
        self._offer = offer
        self._checked_until: dict[str, float] = {}
        self._checks: dict[str, asyncio.Task[None]] = {}

    @property
    def offered(self) -> Overlays:
        return self._offer.catalogue.overlays

    async def store_all(self) -> None:
        """Stores all that are missing.

        Raises:
            StorageError: not now.
        """
        for file in self.offered.values():
            await self._ensure(file)

    async def ensure(self, variants: Preset) -> None:
        """Stores the overlays of these variants that are missing, so that an accepted upload has them.

        Raises:
            StorageError: not now.
        """
        for file in self._of(variants):
            await self._ensure(file)

    async def restore(self, variants: Preset) -> None:
        """Stores the overlays of these variants anew, whatever is in their place.

        Raises:
            StorageError: not now.
        """
        for file in self._of(variants):
            await self._put(file)

    def _of(self, variants: Preset) -> list[OverlayFile]:
        named = {variant.overlay.sha256 for variant in variants if variant.overlay}
        return [file for file in self.offered.values() if file.sha256 in named]

    async def _ensure(self, file: OverlayFile) -> None:
        """Waits for the check in progress, or begins one: those who wait for it fail together, not one by one."""
        if monotonic() < self._checked_until.get(file.sha256, 0):
            return
        check = self._checks.get(file.sha256)
        if check is None or check.done():
            check = self._checks[file.sha256] = asyncio.create_task(self._check(file))
        await asyncio.shield(check)  # the first to ask may be cancelled first

    async def _check(self, file: OverlayFile) -> None:
        stored = await self._storage.head(overlay_key(file.sha256))
        if stored is None or stored.size != len(file.data):
            await self._put(file)
        self._checked_until[file.sha256] = monotonic() + _CHECKED_FOR_S

    async def _put(self, file: OverlayFile) -> None:
        await self._storage.put(overlay_key(file.sha256), file.data, file.media_type)
