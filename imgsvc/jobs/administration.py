"""What operators ask of the queue: how it stands, uploads of all owners, and actions on many of them.

However many uploads there are, no script here looks at more than a few hundred, so that none holds Redis for long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from imgsvc.jobs.bulk import Action, BulkAction, Filter, Step, row_of
from imgsvc.jobs.exchange import Exchange
from imgsvc.jobs.overview import MINUTES, Minute, Overview, leased_from
from imgsvc.jobs.rows import flat, row
from imgsvc.jobs.types import Position

MOST_UNDER_WAY = 4
"""Bulk actions at a time."""

BULK_HOLD_S = 10.0
"""How long a worker has for one step of a bulk action, before another may go on with it."""

_MOST_LOOKED_AT = 250  # by one script: about a millisecond
_SCRIPTS = 40  # of one search: 10 000 uploads
_MOST_LEASES = 500


@dataclass(frozen=True, slots=True)
class Match:
    """An upload that was found. `position` is its place among all."""

    position: Position
    owner: str

    @property
    def id(self) -> str:
        return self.position[1]


@dataclass(frozen=True, slots=True)
class Matches:
    """`last` is where the search goes on, None where all was looked at; `seen` is how many uploads it looked at."""

    found: tuple[Match, ...]
    last: Position | None
    seen: int


class Administration:
    def __init__(self, exchange: Exchange) -> None:
        self._run = exchange.run
        self._limits_of = exchange.limits_of
        self._settings = exchange.settings

    async def overview(self) -> Overview:
        lease_ms = round(self._settings.lease_s * 1000)
        answer = await self._run("admin_stats", lease_ms, _MOST_LEASES, MINUTES)
        now, waiting, low, leased, delayed, oldest_ms, webhooks, beats, leases, minutes = answer
        workers = dict(beat.decode().split(" ", 1) for beat in beats)
        return Overview(
            at=now,
            waiting=waiting,
            low=low,
            leased=leased,
            delayed=delayed,
            oldest_waiting_ms=oldest_ms,
            webhooks=webhooks,
            workers=workers,
            leases=tuple(leased_from(upload_id.decode(), row(fields)) for upload_id, fields in leases),
            minutes=tuple(
                Minute.from_counts(number, {name: int(count) for name, count in row(counts).items()})
                for number, counts in minutes
            ),
        )

    async def scan(self, where: Filter, limit: int, after: Position | None = None) -> Matches:
        """Looks at a few hundred uploads, the newest first, for at most `limit` that match."""
        args = (limit, _MOST_LOOKED_AT, *(after or ("", "")), *where.arguments)
        last, seen, rows = await self._run("admin_scan", *args)
        found = tuple(Match((int(ms), name.decode()), owner.decode()) for ms, name, owner in rows)
        return Matches(found, (int(last[0]), last[1].decode()) if last else None, seen)

    async def find(self, where: Filter, limit: int, after: Position | None = None) -> Matches:
        """Looks at no more than some thousand uploads, the newest first, for at most `limit` that match."""
        found, seen = list[Match](), 0
        for _ in range(_SCRIPTS):
            matches = await self.scan(where, min(limit - len(found), _MOST_LOOKED_AT), after)
            found += matches.found
            seen, after = seen + matches.seen, matches.last
            if after is None or len(found) == limit:
                break
        return Matches(tuple(found), after, seen)

    async def forget(self, skipped: Sequence[int] = (0, 0, 0)) -> tuple[Sequence[int], bool]:
        """Drops from each list of all owners' uploads those whose records have expired: of some hundred, the oldest but
        those that are `skipped`. Returns how many to skip the next time, and whether there are likely to be more.
        """
        answer = await self._run("admin_forget", _MOST_LOOKED_AT, self._settings.record_ttl_s, *skipped)
        skips = [
            skip + seen - dropped if seen == _MOST_LOOKED_AT else 0
            for skip, (seen, dropped) in zip(skipped, answer, strict=True)
        ]
        return skips, any(2 * dropped > _MOST_LOOKED_AT for _, dropped in answer)

    async def begin(self, action: Action, where: Filter, by: str, request_id: str) -> BulkAction | None:
        """Begins a bulk action. None where too many are under way."""
        action_id = str(uuid4())
        fields = row_of(action, where, by, request_id)
        if not await self._run("admin_begin", action_id, MOST_UNDER_WAY, *flat(fields)):
            return None
        return await self.action(action_id)

    async def actions(self) -> list[BulkAction]:
        """The newest first."""
        return [_action(*found) for found in await self._run("admin_bulks")]

    async def action(self, action_id: str) -> BulkAction | None:
        return next((action for action in await self.actions() if action.id == action_id), None)

    async def stop(self, action_id: str) -> bool:
        """Cancels one. False where there is no such action."""
        return bool(await self._run("admin_stop", action_id, self._settings.record_ttl_s))

    async def take(self, holder: str) -> BulkAction | None:
        """One that is under way; it is the holder's for BULK_HOLD_S after each step. None where there is none."""
        answer = await self._run("admin_take", holder, round(BULK_HOLD_S * 1000))
        return _action(*answer) if answer else None

    async def act(self, action: BulkAction, holder: str, match: Match) -> Step:
        """Does it to one upload."""
        settings = self._settings
        limits = (settings.max_queued, *self._limits_of(match.owner), settings.max_upload_bytes)
        place = (action.id, holder, round(BULK_HOLD_S * 1000), *match.position, match.owner)
        return Step((await self._run("admin_act", *place, settings.record_ttl_s, *limits)).decode())

    async def advance(self, action: BulkAction, holder: str, last: Position | None) -> bool:
        """Notes that all up to `last` had their turn, or all of them. False where another worker has it now."""
        place = (action.id, holder, round(BULK_HOLD_S * 1000), self._settings.record_ttl_s)
        return bool(await self._run("admin_advance", *place, *(last or ("", ""))))


def _action(action_id: bytes, fields: list[bytes]) -> BulkAction:
    return BulkAction.from_row(action_id.decode(), row(fields))
