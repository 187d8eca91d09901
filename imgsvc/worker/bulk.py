"""Does bulk actions (jobs/bulk.py), one upload after another.

Every worker runs one of these; the queue gives an action to one of them at a time, and what an action has done is noted
in the step that does it: if this process dies, another one goes on with the next upload.
"""

import asyncio
import logging
import random
import secrets
from dataclasses import dataclass, field

from imgsvc.jobs.administration import Administration
from imgsvc.jobs.bulk import BulkAction, Step
from imgsvc.jobs.exchange import QueueUnavailableError

log = logging.getLogger(__name__)

_LOOK_S = (0.5, 1.0)
"""Bounds, in seconds, of the random pause before looking for an action."""

_PAGE = 50


@dataclass(frozen=True, slots=True)
class BulkRunner:
    administration: Administration
    _holder: str = field(default_factory=lambda: secrets.token_hex(8))

    async def run(self) -> None:
        """Does what there is to do until it is cancelled."""
        while True:
            await asyncio.sleep(random.uniform(*_LOOK_S))  # noqa: S311 (no secret)
            try:
                while action := await self.administration.take(self._holder):
                    await self._go_on(action)
            except QueueUnavailableError:
                continue  # the queue logs its own outages, and the action is taken again

    async def _go_on(self, action: BulkAction) -> None:
        """Goes on with an action until it is done, has to wait for a limit, or another worker has it."""
        last = action.position
        while True:
            page = await self.administration.scan(action.where, _PAGE, last)
            for match in page.found:
                step = await self.administration.act(action, self._holder, match)
                if step in {Step.WAIT, Step.LOST}:
                    return
            last = page.last
            if not await self.administration.advance(action, self._holder, last):
                return
            if last is None:
                log.info("bulk action %s, %s, is done", action.id, action.action)
                return
