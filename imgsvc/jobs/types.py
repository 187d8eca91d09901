"""Arguments and results of the queue: admissions, claims, deliveries, lists of uploads, and statistics."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum

from imgsvc.domain import webhook_documents as documents
from imgsvc.domain.states import Status
from imgsvc.jobs.record import Record

ANY_OWNER = "*"
"""Instead of an owner's name, in calls that an administrator makes: an upload of any."""

_DERIVATION = re.compile(r":r(\d+):\d+$")


class Admission(Enum):
    """The outcome of a reservation, of a retry, or of a change: then RESERVED means done or queued, CONFLICT that the
    job's state does not allow it, and CHANGED that the upload has been changed since the caller has read it. USED is
    an upload token whose upload is gone.
    """

    RESERVED = "RESERVED"
    OVERLOADED = "OVERLOADED"
    RATE_LIMITED = "RATE_LIMITED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    IN_FLIGHT = "IN_FLIGHT"
    REPLAY = "REPLAY"
    USED = "USED"
    CONFLICT = "CONFLICT"
    CHANGED = "CHANGED"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What an owner may use of something: `left` units of `limit`, and one more in `more_s` seconds."""

    limit: int
    left: int
    more_s: float


@dataclass(frozen=True, slots=True)
class Reservation:
    """`id` is the upload that the Idempotency-Key stands for, or else the new one. `wait_s` is how long its owner's
    limits keep it out. `uploads` (a minute) and `bytes` (a day) are what they leave, None where there is no limit.
    """

    admission: Admission
    id: str
    wait_s: float = 0
    uploads: Allowance | None = None
    bytes: Allowance | None = None


def reservation(outcome: bytes, upload_id: str, limits: tuple[int, int], rest: Sequence[int]) -> Reservation:
    """Reads the answer of a script: the ms to wait and what the limits leave (limits.lua), or nothing more."""
    if not rest:
        return Reservation(Admission(outcome.decode()), upload_id)
    wait_ms, uploads, upload_ms, size, byte_ms = rest
    return Reservation(
        Admission(outcome.decode()),
        upload_id,
        wait_ms / 1000,
        Allowance(limits[0], uploads, upload_ms / 1000) if limits[0] else None,
        Allowance(limits[1], size, byte_ms / 1000) if limits[1] else None,
    )


class Cancelled(IntEnum):
    """What was cancelled; NOTHING where all had ended."""

    NOTHING = 0
    JOB = 1
    DERIVATION = 2


@dataclass(frozen=True, slots=True)
class SweepItem:
    """An upload to be cleared from storage: its processed files, and its original too."""

    id: str
    with_original: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease on one job; `token` proves it. `lapsed` is the token of the lease that it took over, "" where the job
    was free; `request_id` names the request that queued the job, for the log.
    """

    id: str
    token: str
    lapsed: str = ""
    request_id: str = ""

    @property
    def attempt(self) -> int:
        return int(self.token.rpartition(":")[2])

    @property
    def revision(self) -> int | None:
        """That of the derivation to be made; None for the upload's own job."""
        match = _DERIVATION.search(self.token)
        return int(match[1]) if match else None


@dataclass(frozen=True, slots=True)
class Fetch(Claim):
    """A lease on the fetch of an original, for an owner, from a host (with its port)."""

    owner: str = ""
    host: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to deliver to a webhook that the job, or a derivation, ended at `end` (ms since the epoch).

    `host` is that of the webhook's URL, with its port, as the queue counts it.
    """

    id: str
    end: int
    attempt: int
    of_derivation: bool
    owner: str
    host: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of an attempt to deliver the event `event`: the receiver's `status`, or `error` if there is none.

    A receiver `is_away` if it did not answer at all. `retry_after_s` is what it has asked for.
    """

    status: int | None = None
    error: str | None = None
    is_away: bool = False
    retry_after_s: float = 0
    took_s: float = 0
    event: str = ""


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt as it is kept. `revision` and `end` say what had ended, as in Delivery and in Derivation."""

    at: int
    end: int
    revision: int
    event: documents.EndEvent
    status: int | None
    error: str | None
    took_ms: int


@dataclass(frozen=True, slots=True)
class DeliveryLog:
    """What is known of the deliveries of an upload: the last attempts; the state of those of its newest ends, and the
    ms of their next attempt, by revision; and the ms until which its receiver is left alone.
    """

    tried: tuple[Tried, ...]
    states: Mapping[int, tuple[documents.DeliveryState, int | None]]
    paused_until: int | None


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker that renewed its leases lately, and how its decoders are locked down."""

    name: str
    sandbox: str

    @property
    def heartbeat(self) -> str:
        return f"{self.name} {self.sandbox}"


@dataclass(frozen=True, slots=True)
class FetchStats:
    """Originals to be fetched: those that wait for a worker, those that one is at, and those that are due later."""

    waiting: int = 0
    under_way: int = 0
    delayed: int = 0


@dataclass(frozen=True, slots=True)
class QueueStats:
    """The queue's state: jobs not yet ended (due, leased, or due later), workers alive, and Redis's latency.

    What is to be fetched first is not among the jobs until its original is there.
    """

    waiting: int
    leased: int
    delayed: int
    oldest_waiting_ms: int
    webhooks: int
    workers: tuple[WorkerInfo, ...]
    latency_ms: float
    fetches: FetchStats = FetchStats()

    @property
    def queued(self) -> int:
        fetches = self.fetches
        return sum((self.waiting, self.leased, self.delayed, fetches.waiting, fetches.under_way, fetches.delayed))


@dataclass(frozen=True, slots=True)
class Obsolete:
    """Files to be removed of an upload that stays: what is at `key`, or those of a revision that no record has.

    `member` is what the queue knows them by.
    """

    member: str

    @property
    def key(self) -> str | None:
        return self.member if "/" in self.member else None

    @property
    def of_revision(self) -> tuple[str, int]:
        """The upload's id, and the revision."""
        upload_id, revision, _ = self.member.split(":")
        return upload_id, int(revision)


Position = tuple[int, str]
"""Where an upload stands among all: the ms of its creation and its id, the newest first."""


@dataclass(frozen=True, slots=True)
class Query:
    """The first `limit` uploads of an owner after `after`, of some statuses."""

    limit: int
    owner: str
    statuses: Iterable[Status] = tuple(Status)
    after: Position | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """`last` is where the next page goes on, None where there is none. Uploads that have expired are left out, so
    that a page may have fewer than requested, and others may follow.
    """

    records: tuple[Record, ...]
    last: Position | None
