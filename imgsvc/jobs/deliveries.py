"""Deliveries of webhooks: given to one worker at a time, those of each owner in turn, and what came of them."""

import logging
from collections import Counter
from collections.abc import Collection
from typing import Any, cast

import orjson

from imgsvc.domain import webhook_documents as documents
from imgsvc.jobs.exchange import Exchange
from imgsvc.jobs.record import Record
from imgsvc.jobs.types import Delivery, DeliveryLog, Reply, Reservation, Tried, reservation
from imgsvc.runtime import logs

log = logging.getLogger(__name__)

WEBHOOK_CLAIM_S = 30.0
"""How long a worker has for one try of a webhook delivery, before another may take it."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 300.0
"""How long a host is left alone that has not answered: twice as long after each probe that fails."""

PATIENCE_S = 36 * 3600.0
"""How long a delivery waits for a host that is paused, before it is given up."""


_CLAIMS = 20
"""Calls of the script in a row, each of which looks at a bounded number of deliveries."""


class Deliveries:
    def __init__(self, exchange: Exchange) -> None:
        self._run = exchange.run
        self._limits_of = exchange.limits_of
        self._settings = exchange.settings

    async def claim(self, slots: int, under_way: Collection[Delivery] = ()) -> list[Delivery]:
        """Webhook deliveries that are due, for a worker with so many free `slots`, besides those that are `under_way`.

        Each is the caller's for WEBHOOK_CLAIM_S.
        """
        found: list[Delivery] = []
        for _ in range(_CLAIMS):
            claimed, are_more = await self._claim(slots - len(found), [*under_way, *found])
            found += claimed
            if not are_more or len(found) == slots:
                break
        return found

    async def _claim(self, slots: int, under_way: Collection[Delivery]) -> tuple[list[Delivery], bool]:
        used = Counter(("owner", delivery.owner) for delivery in under_way)
        used += Counter(("host", delivery.host) for delivery in under_way)
        flat = [part for (kind, name), count in used.items() for part in (kind, name, count)]
        args = (_ms(WEBHOOK_CLAIM_S), slots, _ms(PATIENCE_S), *flat)
        rows, given_up, are_more = await self._run("claim_webhooks", *args)
        for name in given_up:
            log.info("webhook given up: its host has not answered", extra=logs.fields(upload_id=name.decode()))
        claimed = [
            Delivery(name.decode(), int(end), attempt, bool(derived), owner.decode(), host.decode())
            for name, end, attempt, derived, owner, host in rows
        ]
        return claimed, bool(are_more)

    async def ack(self, delivery: Delivery, state: documents.DeliveryState, reply: Reply, delay_s: float = 0) -> bool:
        """Records what came of a delivery; a pending one is due again. False if it was not the latest."""
        answered = 1 if reply.status is not None else 0 if reply.is_away else ""
        took_ms = _ms(reply.took_s)
        kept = orjson.dumps([reply.event, reply.status, reply.error, took_ms])[1:-1]
        is_latest, pause_ms = await self._run(
            "ack_webhook",
            *(delivery.id, delivery.end, delivery.attempt, state),
            *(orjson.dumps([reply.status, reply.error]), _ms(delay_s), int(delivery.of_derivation)),
            *(delivery.owner, delivery.host, answered, took_ms, kept, 1000 * self._settings.record_ttl_s),
            *(_ms(FIRST_PAUSE_S), _ms(LONGEST_PAUSE_S)),
        )
        if pause_ms:
            log.info("the host of this webhook is left alone for %g s", pause_ms / 1000)
        return bool(is_latest)

    async def replay(self, upload_id: str, owner: str, revision: int) -> Reservation | None:
        """Sends the event of an end again: of the upload's own job, which is revision 1, or of a derivation.

        CONFLICT if it does not count yet or any more, or an attempt is under way. None if there is none.
        """
        per_minute, _ = self._limits_of(owner)
        outcome, *rest = await self._run("replay_webhook", upload_id, owner, revision, per_minute)
        return None if outcome == b"UNKNOWN" else reservation(outcome, upload_id, (per_minute, 0), rest)

    async def log_of(self, record: Record) -> DeliveryLog:
        """Reads what was tried to deliver the ends of an upload."""
        tried, of_job, of_derivation, paused_until = await self._run("deliveries_of", record.id)
        derived = record.derivation.revision if record.derivation else 0
        ends = ((1, of_job), (derived, of_derivation))
        return DeliveryLog(
            tuple(_tried(*orjson.loads(row)) for row in tried),
            {revision: _state(*fields) for revision, fields in ends if fields[0]},
            _integer(paused_until),
        )


def _tried(at: int, end: int, revision: int, event: documents.EndEvent, *came: Any) -> Tried:
    return Tried(at, end, revision, event, *came[:3])  # those of a later version may have more


def _state(state: bytes, next_at: bytes | None) -> tuple[documents.DeliveryState, int | None]:
    return cast("documents.DeliveryState", state.decode()), _integer(next_at)


def _integer(value: bytes | None) -> int | None:
    return None if value is None else int(value)


def _ms(seconds: float) -> int:
    return round(1000 * seconds)
