"""Files of the operator that are read again while the API serves: presets and owners."""

import asyncio
import logging

from imgsvc.api.http.offer import Offer
from imgsvc.jobs.events import Events
from imgsvc.runtime.local_settings import SettingsError
from imgsvc.runtime.metrics import ApiMetrics
from imgsvc.runtime.owners import OwnersTable
from imgsvc.runtime.settings import Settings
from imgsvc.runtime.startup import load_presets

log = logging.getLogger(__name__)


class Reload:
    """Reads them again when it is called. What is wrong changes nothing of what its file says; requests under way go
    on as they began, and what follows an upload ends where its key is no longer valid.
    """

    def __init__(self, settings: Settings, offer: Offer, owners: OwnersTable, metrics: ApiMetrics) -> None:
        self.events: Events | None = None
        self._settings = settings
        self._offer = offer
        self._owners = owners
        self._metrics = metrics

    async def __call__(self) -> None:
        await asyncio.to_thread(self._read)
        keys = self._owners.current.keys
        self._metrics.may_call(keys.callers)
        if self.events is not None and self._settings.has_keys:
            self.events.end_unless(keys.let_in)

    def _read(self) -> None:
        if self._settings.presets_file:
            problem = self._read_presets()
            if problem:
                log.error("the presets stay as they are: %s", problem)
            else:
                log.info("presets are read again: %s", ", ".join(self._offer.catalogue.presets))
        if self._settings.owners_file:
            self._owners.reload(self._offer.catalogue.presets)

    def _read_presets(self) -> str:
        """Returns what is wrong with them, if anything."""
        try:
            self._offer.catalogue = load_presets(self._settings)
        except SettingsError as error:
            return str(error)
        return ""
