"""What operators are shown of the queue: how it stands, what the last hour was like, and what one job went through."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Self, cast

from imgsvc.jobs.rows import integer, owner_in

MINUTES = 60
"""For how many minutes counts are kept, besides the present one."""

_CLASSES_A_DOUBLING = 4  # as in observed.lua

Event = Literal["lapsed", "released", "failed", "cancelled"]
_EVENTS: dict[str, Event] = {
    "lapsed": "lapsed",
    "released": "released",
    "FAILURE": "failed",
    "CANCELLED": "cancelled",
}


@dataclass(frozen=True, slots=True)
class Minute:
    """What happened in one minute, which began at `at` (ms since the epoch). `durations` counts successes by class."""

    at: int
    accepted: int = 0
    cancelled: int = 0
    failed: Mapping[str, int] = field(default_factory=dict[str, int])
    durations: Mapping[int, int] = field(default_factory=dict[int, int])

    @classmethod
    def from_counts(cls, number: int, counts: Mapping[str, int]) -> Self:
        def of(kind: str) -> dict[str, int]:
            return {name.removeprefix(f"{kind}:"): n for name, n in counts.items() if name.startswith(f"{kind}:")}

        return cls(
            number * 60_000,
            counts.get("accepted", 0),
            counts.get("cancelled", 0),
            of("failed"),
            {int(name): n for name, n in of("done").items()},
        )

    @property
    def done(self) -> int:
        return sum(self.durations.values())

    @property
    def ended(self) -> int:
        return self.done + self.cancelled + sum(self.failed.values())


@dataclass(frozen=True, slots=True)
class Leased:
    """A job that a worker has. `revision` is that of a derivation; times are ms since the epoch."""

    id: str
    worker: str
    owner: str
    filename: str
    revision: int | None
    step: str | None
    progress: int
    attempt: int
    started_at: int | None


@dataclass(frozen=True, slots=True)
class Overview:
    """`low` of the waiting jobs have low priority; None where too many owners have some to count them."""

    at: int
    waiting: int
    low: int | None
    leased: int
    delayed: int
    oldest_waiting_ms: int
    webhooks: int
    workers: Mapping[str, str]
    """The sandbox of each live worker, by its name."""

    leases: tuple[Leased, ...]
    minutes: tuple[Minute, ...]
    """The oldest first; the last one has not ended."""

    def duration_ms(self, share: float) -> int | None:
        """The duration that this share of the hour's successful jobs had at most, right within a tenth."""
        classes = sum((Counter(minute.durations) for minute in self.minutes), Counter[int]())
        wanted, seen = share * classes.total(), 0
        for number, count in sorted(classes.items()):
            seen += count
            if seen >= wanted:
                return round(2 ** ((number + 0.5) / _CLASSES_A_DOUBLING)) - 1
        return None


@dataclass(frozen=True, slots=True)
class Note:
    """An attempt that came to nothing, or a run that was followed by another. `detail` is its step, or its code."""

    event: Event
    at: int
    worker: str | None
    attempt: int | None
    detail: str | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Story:
    """What a record says of its job for operators: the last worker that had it, the request that queued it, and what
    came before.
    """

    worker: str | None
    request_id: str | None
    notes: tuple[Note, ...]

    @classmethod
    def from_hash(cls, values: Mapping[bytes, bytes]) -> Self:
        text = {name: values.get(name.encode(), b"").decode() for name in ("by", "lease", "request_id", "history")}
        token, _, request_id = text["by"].partition("\t")  # of a job that has ended
        if text["request_id"]:
            token, request_id = text["lease"], text["request_id"]
        worker, _ = _token(token)
        return cls(worker, None if request_id in {"", "-"} else request_id, tuple(_notes(text["history"])))


def leased_from(upload_id: str, row: Mapping[str, str]) -> Leased:
    """A leased job by the fields of its record."""
    derivation = "derivation_" if row["status"] == "SUCCESS" else ""
    worker, _ = _token(row["lease"])
    return Leased(
        id=upload_id,
        worker=worker or "",
        owner=owner_in(row),
        filename=row["filename"],
        revision=integer(row.get("derivation")) if derivation else None,
        step=row.get(f"{derivation}step"),
        progress=int(row.get(f"{derivation}progress", 0)),
        attempt=int(row.get(f"{derivation}attempt", 0)),
        started_at=integer(row.get(f"{derivation}started_at")),
    )


def _notes(history: str) -> Iterator[Note]:
    for line in history.splitlines():
        event, at, token, detail, request_id = (None if part == "-" else part for part in line.split("\t"))
        worker, attempt = _token(token or "")
        yield Note(_EVENTS[cast("str", event)], int(at or 0), worker, attempt, detail, request_id)


def _token(token: str) -> tuple[str | None, int | None]:
    """The worker and the number of the attempt in a lease's token."""
    if token in {"", "-"}:
        return None, None
    return token.partition(":")[0], int(token.rpartition(":")[2])
