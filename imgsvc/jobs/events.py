"""Changes of uploads for their followers: one subscription for all of them.

    a script moves an upload ──its id──▶ Events: it is stale ──one read for all that are──▶ Changes of each follower

A message has no content but the id of an upload that changed. Messages that were missed while the connection was lost
are made up for by reading all followed uploads, and a hundred messages during one read cost one more.
"""

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice

from imgsvc.jobs.exchange import QueueUnavailableError
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Record
from imgsvc.runtime.api_keys import Caller

_BATCH = 100
"""Records read in one round trip."""

_AGAIN_S = 0.5

_Hash = Mapping[bytes, bytes]


class Changes:
    """The changes of one upload for one follower. A change that it has not taken yet is replaced by a newer one."""

    def __init__(self, upload_id: str, caller: Caller | None = None) -> None:
        self.caller = caller
        self._id = upload_id
        self._has_ended = False
        self._newest: _Hash | None = None
        self._changed = asyncio.Event()

    def notify(self, newest: _Hash | None) -> None:
        """None is the end: no change will follow."""
        if not self._has_ended:
            self._newest = newest
            self._has_ended = newest is None
            self._changed.set()

    async def next(self) -> Record | None:
        """The current record, at first and after each change; None if it is gone or no more changes follow."""
        await self._changed.wait()
        if self._newest is None:
            return None
        self._changed.clear()
        return Record.from_hash(self._id, self._newest)


class Events:
    """Have `run` run, and `follow` any upload."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._followers: dict[str, set[Changes]] = {}
        self._stale: set[str] = set()
        self._any_stale = asyncio.Event()
        self._lets_in: Callable[[Caller], bool] | None = None
        self._closed = False

    async def run(self) -> None:
        """Never ends. Changes while Redis is unreachable are delivered once it is back."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._read())

    @contextmanager
    def follow(self, upload_id: str, caller: Caller | None = None) -> Generator[Changes]:
        """The changes of an upload, for a caller who may see them as long as its key is valid."""
        changes = Changes(upload_id, caller)
        if self._closed or self._is_gone(caller):
            changes.notify(None)
        self._followers.setdefault(upload_id, set()).add(changes)
        self._mark(upload_id)
        try:
            yield changes
        finally:
            self._followers[upload_id].remove(changes)
            if not self._followers[upload_id]:
                del self._followers[upload_id]
                self._stale.discard(upload_id)

    def close(self) -> None:
        """Ends all followers, present and future."""
        self._closed = True
        for followers in self._followers.values():
            for changes in followers:
                changes.notify(None)

    def end_unless(self, lets_in: Callable[[Caller], bool]) -> None:
        """Ends all followers, present and future, whose callers would not be let in any more, or may do less now."""
        self._lets_in = lets_in
        for followers in self._followers.values():
            for changes in followers:
                if self._is_gone(changes.caller):
                    changes.notify(None)

    def _is_gone(self, caller: Caller | None) -> bool:
        """Whether this caller's key was removed since its request was let in."""
        return bool(caller and caller.key_id and self._lets_in and not self._lets_in(caller))

    async def _listen(self) -> None:
        async for upload_id in self._queue.changes():
            if upload_id is None:
                self._mark(*self._followers)
            elif upload_id in self._followers:
                self._mark(upload_id)

    def _mark(self, *upload_ids: str) -> None:
        self._stale.update(upload_ids)
        self._any_stale.set()

    async def _read(self) -> None:
        while True:
            await self._any_stale.wait()
            batch = list(islice(self._stale, _BATCH))
            self._stale.difference_update(batch)
            if not self._stale:
                self._any_stale.clear()
            # who follows from now on gets the next read: this one may be older than what they have seen
            followed = {upload_id: tuple(self._followers.get(upload_id, ())) for upload_id in batch}
            try:
                hashes = await self._queue.read(batch)
            except QueueUnavailableError:
                self._mark(*batch)
                await asyncio.sleep(_AGAIN_S)
            else:
                self._notify(followed, hashes)

    def _notify(self, followed: Mapping[str, tuple[Changes, ...]], hashes: Sequence[_Hash]) -> None:
        for followers, newest in zip(followed.values(), hashes, strict=True):
            for changes in followers:
                changes.notify(newest)
