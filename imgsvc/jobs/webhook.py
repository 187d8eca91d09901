"""The webhook of an upload as its record has it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, cast

import orjson

from imgsvc.domain import webhook_documents as documents
from imgsvc.jobs.rows import integer, optional_timestamp


@dataclass(frozen=True, slots=True)
class Webhook:
    """The webhook of an upload, and the state of the delivery of its newest end: of its job, or of a derivation."""

    url: str
    state: documents.DeliveryState = "pending"
    attempts: int = 0
    last_status: int | None = None
    last_error: str | None = None
    next_at: int | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, str]) -> Self | None:
        if "webhook" not in row:
            return None
        end = "derivation_" if "derivation_webhook_state" in row else ""
        status, error = orjson.loads(row.get(f"{end}webhook_last", "[null,null]"))
        state = cast("documents.DeliveryState", row.get(f"{end}webhook_state", "pending"))
        attempts = int(row.get(f"{end}webhook_attempts", 0))
        return cls(row["webhook"], state, attempts, status, error, integer(row.get(f"{end}webhook_next")))

    def document(self) -> documents.Webhook:
        return {
            "url": self.url,
            "state": self.state,
            "attempts": self.attempts,
            "last_status": self.last_status,
            "last_error": self.last_error,
            "next_at": optional_timestamp(self.next_at),
        }
