"""Fetches of originals from URLs: a stage that comes before an upload waits for a decoder (fetches.lua)."""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import astuple

import orjson

from imgsvc.domain.problems import JOB_FAILURES
from imgsvc.jobs.exchange import Exchange
from imgsvc.jobs.record import Failure, Source
from imgsvc.jobs.rows import flat
from imgsvc.jobs.types import Claim, Fetch

MAX_DELIVERIES = 5
"""Workers that may die of a job: of its fetch, and again of what is made of it."""

EXHAUSTED = orjson.dumps(astuple(Failure("attempts_exhausted", JOB_FAILURES["attempts_exhausted"])))


class Fetches:
    """What workers that fetch ask of the queue. A fetch is released, and its job ended, as any (Queue)."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._lease_ms = round(exchange.settings.lease_s * 1000)

    async def claim(
        self, worker: str, places: int, under_way: Iterable[Fetch], given_up: Callable[[str], None]
    ) -> list[Fetch]:
        """Leases on fetches for a worker that does `places` at once, and is at those `under_way`.

        `given_up` gets the id of each job that too many deaths of workers ended.
        """
        settings = self._exchange.settings
        args = (worker, self._lease_ms, places, MAX_DELIVERIES, EXHAUSTED, settings.record_ttl_s)
        taken = [part for fetch in under_way for part in (fetch.owner, fetch.host)]
        rows, exhausted = await self._exchange.run("claim_fetches", *args, *taken)
        for name in exhausted:
            given_up(name.decode())
        return [Fetch(*(part.decode() for part in row)) for row in rows]

    async def renew(self, tokens: Mapping[str, str]) -> list[str]:
        """Renews the leases of `tokens` (id → token); the ids that come back are lost."""
        lost = await self._exchange.run("renew", "", self._lease_ms, *flat(tokens))
        return [name.decode() for name in lost]

    async def fetched(self, claim: Claim, source: Source) -> bool:
        """Notes what the original is, once it is stored: its job waits for a decoder. False where the claim no longer
        owns it.
        """
        value = orjson.dumps(astuple(source))
        return bool(await self._exchange.run("set_source", claim.id, claim.token, value, source.bytes))

    def signals(self) -> AsyncGenerator[str | None]:
        """Signals to a worker, as Queue.signals: None when a fetch may be due, the id of a job that must be stopped."""
        return self._exchange.listen("fetch-doorbell", "revoked")
