"""What becomes of uploads, told to those who follow one: by one subscription, however many they are.

    a script moves an upload ──its id──▶ Events: it is stale ──one read for all that are──▶ Changes of each follower

A message carries no news, it only says that there is some. So one that was missed, because the connection was lost,
is made up for by reading all that is followed, and a hundred messages while a read is under way cost one more.
"""

import asyncio
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice

from imgsvc.jobs.queue import Queue, QueueUnavailableError
from imgsvc.jobs.record import Record

_BATCH = 100
"""Records read in one round trip."""

_AGAIN_S = 0.5

_Hash = Mapping[bytes, bytes]


class Changes:
    """One upload as one follower hears of it. What it has not taken yet gives way to what is newer."""

    def __init__(self, upload_id: str) -> None:
        self._id = upload_id
        self._newest: _Hash | None = None
        self._told = asyncio.Event()

    def tell(self, newest: _Hash | None) -> None:
        """None is the end: nothing more will be told."""
        self._newest = newest
        self._told.set()

    async def next(self) -> Record | None:
        """The record as it stands, at first and whenever it was written; None where it is gone or no more is told."""
        await self._told.wait()
        if self._newest is None:
            return None
        self._told.clear()
        return Record.from_hash(self._id, self._newest)


class Events:
    """Have `run` run, and `follow` any upload."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._followers: dict[str, set[Changes]] = {}
        self._stale: set[str] = set()
        self._any_stale = asyncio.Event()
        self._closed = False

    async def run(self) -> None:
        """Never ends. While Redis is away nothing is told; what is missed is told once it is back."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._read())

    @contextmanager
    def follow(self, upload_id: str) -> Generator[Changes]:
        changes = Changes(upload_id)
        if self._closed:
            changes.tell(None)
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
        """Tells all followers, present and future, that no more will be told."""
        self._closed = True
        for followers in self._followers.values():
            for changes in followers:
                changes.tell(None)

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
            # those who join while it is read are told by the next read: this one may be older than what they know
            followed = {upload_id: tuple(self._followers.get(upload_id, ())) for upload_id in batch}
            try:
                hashes = await self._queue.read(batch)
            except QueueUnavailableError:
                self._mark(*batch)
                await asyncio.sleep(_AGAIN_S)
            else:
                self._tell(followed, hashes)

    def _tell(self, followed: Mapping[str, tuple[Changes, ...]], hashes: Sequence[_Hash]) -> None:
        if self._closed:
            return
        for followers, newest in zip(followed.values(), hashes, strict=True):
            for changes in followers:
                changes.tell(newest)
