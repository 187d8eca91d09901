"""Bulk actions: retry or cancel, for all uploads that match. Workers do them step by step (worker/bulk.py)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal, Self, cast

import orjson

from imgsvc.domain.states import Status
from imgsvc.jobs.rows import integer
from imgsvc.jobs.types import Position

Action = Literal["retry", "cancel"]
State = Literal["RUNNING", "DONE", "CANCELLED"]
Limit = Literal["OVERLOADED", "RATE_LIMITED"]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which uploads are meant: those to which all of it applies that is given. Times are ms since the epoch.

    `statuses` and `code` are those of the job or of the newest derivation. `text` is part of the file's name, in which
    ASCII letters may be large or small, or the beginning of the id.
    """

    statuses: tuple[Status, ...] = ()
    code: str | None = None
    owner: str | None = None
    text: str | None = None
    created_before: int | None = None
    created_after: int | None = None

    @property
    def arguments(self) -> tuple[str | int, ...]:
        """As admin_scan.lua takes them."""
        return (
            "*" if self.owner is None else self.owner,
            " ".join(self.statuses),
            self.code or "",
            (self.text or "").translate(_SMALL),
            "" if self.created_before is None else self.created_before,
            "" if self.created_after is None else self.created_after,
        )


_SMALL = {letter: letter + 32 for letter in range(ord("A"), ord("Z") + 1)}


class Step(StrEnum):
    """What became of one upload in a bulk action; WAIT and LOST end the worker's turn."""

    DONE = "DONE"
    REFUSED = "REFUSED"
    WAIT = "WAIT"
    LOST = "LOST"


@dataclass(frozen=True, slots=True)
class BulkAction:
    """One of them, and how far it has come: all matching uploads from `position` on have had their turn.

    `waiting_for` is the limit that it waits for, if any.
    """

    id: str
    action: Action
    where: Filter
    state: State
    by: str
    request_id: str
    done: int
    refused: int
    position: Position | None
    waiting_for: Limit | None
    created_at: int
    finished_at: int | None

    @classmethod
    def from_row(cls, action_id: str, row: Mapping[str, str]) -> Self:
        where: dict[str, Any] = orjson.loads(row["where"])
        where["statuses"] = tuple(map(Status, where["statuses"]))
        ms, _, upload_id = row.get("position", "").partition(" ")
        return cls(
            id=action_id,
            action=cast("Action", row["action"]),
            where=Filter(**where),
            state=cast("State", row["state"]),
            by=row["by"],
            request_id=row["request_id"],
            done=int(row.get("done", 0)),
            refused=int(row.get("refused", 0)),
            position=(int(ms), upload_id) if ms else None,
            waiting_for=cast("Limit | None", row.get("waiting_for")),
            created_at=int(row["created_at"]),
            finished_at=integer(row.get("finished_at")),
        )


def row_of(action: Action, where: Filter, by: str, request_id: str) -> Mapping[str, str | bytes]:
    """The fields that a new one begins with."""
    return {"action": action, "where": orjson.dumps(asdict(where)), "by": by, "request_id": request_id}
