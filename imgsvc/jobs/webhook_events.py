"""Ends of an upload as its webhook is told of them, and the document about what was tried to deliver them."""

from collections.abc import Iterable
from dataclasses import dataclass

from imgsvc.domain.webhook_documents import (
    DERIVATION_EVENTS,
    END_EVENTS,
    Deliveries,
    DeliveryAttempt,
    EndEvent,
    EventDelivery,
)
from imgsvc.jobs.record import Record
from imgsvc.jobs.rows import optional_timestamp, timestamp
from imgsvc.jobs.types import DeliveryLog, Tried


@dataclass(frozen=True, slots=True)
class Event:
    """The end, at `at` (ms since the epoch), of an upload's own job, which is revision 1, or of a derivation."""

    upload_id: str
    revision: int
    at: int
    kind: EndEvent

    @property
    def id(self) -> str:
        """The `webhook-id` of all its deliveries. It contains no dot, since dots separate what is signed."""
        return "_".join((self.upload_id, *([f"r{self.revision}"] if self.revision > 1 else []), str(self.at)))


def event_of(record: Record, *, of_derivation: bool) -> Event | None:
    """Returns the newest end of the upload's job, or of a derivation of it; None where there is none."""
    derivation = record.derivation
    if not of_derivation:
        if record.finished_at is None or record.status not in END_EVENTS:
            return None
        return Event(record.id, 1, record.finished_at, END_EVENTS[record.status])
    if derivation is None or derivation.finished_at is None or derivation.status not in DERIVATION_EVENTS:
        return None
    return Event(record.id, derivation.revision, derivation.finished_at, DERIVATION_EVENTS[derivation.status])


def deliveries_document(record: Record, log: DeliveryLog) -> Deliveries:
    """Returns each event that counts, and those before of which attempts are kept, the newest first."""
    newest = [event for of in (False, True) if (event := event_of(record, of_derivation=of))]
    earlier = [Event(record.id, tried.revision, tried.end, tried.event) for tried in log.tried]
    events = {event.id: event for event in (*earlier, *newest)}
    counting = {event.id for event in newest if event.revision in log.states}
    kept = [event for event in events.values() if event.id in counting or event in earlier]
    return {
        "url": record.webhook.url if record.webhook else None,
        "paused_until": optional_timestamp(log.paused_until),
        "deliveries": [
            _delivery(event, log, is_newest=event.id in counting)
            for event in sorted(kept, key=lambda event: event.at, reverse=True)
        ],
    }


def _delivery(event: Event, log: DeliveryLog, *, is_newest: bool) -> EventDelivery:
    state, next_at = log.states[event.revision] if is_newest else ("superseded", None)
    return {
        "n": event.revision,
        "event": event.kind,
        "webhook_id": event.id,
        "ended_at": timestamp(event.at),
        "state": state,
        "next_at": optional_timestamp(next_at),
        "attempts": _attempts(
            tried for tried in log.tried if (tried.revision, tried.end) == (event.revision, event.at)
        ),
    }


def _attempts(tried: Iterable[Tried]) -> list[DeliveryAttempt]:
    return [
        {"at": timestamp(one.at), "status": one.status, "error": one.error, "duration_ms": one.took_ms} for one in tried
    ]
