"""The stage of a worker that fetches originals: as the one that runs jobs, with places and a queue of its own.

A fetch holds a connection and little else, so that a worker has many more places for them than decoders.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import cast

from imgsvc.jobs.record import Fetched, Outcome
from imgsvc.jobs.types import Claim, Fetch
from imgsvc.worker.lease import LeasedWorker


class FetchingWorker(LeasedWorker):
    """Fetches what it can lease, at most `slots` originals at once.

    It has the name of the worker that runs jobs beside it, and does not count as another one.
    """

    async def _claim_due(self, free: int) -> list[Claim]:
        under_way = [cast("Fetch", claim) for claim in self._claims.values()]
        return [*await self._queue.fetches.claim(self._info.name, self.max_jobs, under_way, self._log_exhausted)]

    async def _finish(self, claim: Claim, outcome: Outcome) -> bool:
        if isinstance(outcome, Fetched):
            return await self._queue.fetches.fetched(claim, outcome.source)
        return await super()._finish(claim, outcome)

    def _signals(self) -> AsyncGenerator[str | None]:
        return self._queue.fetches.signals()

    async def _renew_tokens(self, tokens: Mapping[str, str]) -> list[str]:
        return await self._queue.fetches.renew(tokens) if tokens else []

    async def _leave(self) -> None: ...
