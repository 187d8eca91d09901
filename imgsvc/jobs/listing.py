"""Lists of uploads: what is asked for, and the page that comes back."""

from collections.abc import Iterable
from dataclasses import dataclass

from imgsvc.jobs.record import Record, Status

Position = tuple[int, str]
"""Where an upload stands among all: the ms of its creation and its id, the newest first."""


@dataclass(frozen=True, slots=True)
class Query:
    """The first `limit` uploads of an owner behind `after`, of some statuses."""

    limit: int
    owner: str
    statuses: Iterable[Status] = tuple(Status)
    after: Position | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """`last` is where the next page goes on, None where there is none. Uploads that have expired are left out, so
    that a page may have fewer than were asked for, and yet others behind it.
    """

    records: tuple[Record, ...]
    last: Position | None
