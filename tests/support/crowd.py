"""Owners who share the workers: a queue without API or worker, and whose jobs are done in which order."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Self
from uuid import uuid4

from redis.asyncio import Redis

from imgsvc.domain.options import Options, Priority
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Failure, Source, Submission
from imgsvc.jobs.types import Claim
from imgsvc.runtime.owners import Owner, Owners
from tests.support.service import Servers, settings_of

SMALL, LARGE = 1, 4_500_000
"""Sizes of files, of which the larger one takes about ten times as long."""

FAILURE = Failure("decode_failed", "broken")


class Crowd:
    """Owners with a queue of their own."""

    def __init__(self, queue: Queue, redis: Redis) -> None:
        self.queue = queue
        self.redis = redis
        self._owners: dict[str, str] = {}

    @classmethod
    @asynccontextmanager
    async def open(
        cls, servers: Servers, lease_s: float = 60, environment: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Self]:
        settings = settings_of(
            dict(environment or servers.environment()) | {"IMGSVC_LEASE_S": str(lease_s), "IMGSVC_MAX_QUEUED": "100000"}
        )
        async with Queue.open(settings) as queue, Redis.from_url(settings.redis_url) as redis:
            yield cls(queue, redis)

    def knows(self, *owners: Owner) -> None:
        """These owners are not like every other."""
        self.queue.exchange.owners.current = Owners({owner.name: owner for owner in owners})

    async def submits(
        self, owner: str, count: int = 1, *, size: int = SMALL, priority: Priority = "normal"
    ) -> list[str]:
        ids = [str(uuid4()) for _ in range(count)]
        for upload_id in ids:
            await self.queue.reserve(upload_id, owner=owner)
            options = Options(priority=priority, filename="a.jpg")
            await self.queue.submit(Submission(upload_id, options, Source(size, "ab", "jpeg")))
            self._owners[upload_id] = owner
        return ids

    def owner_of(self, claim: Claim) -> str:
        return self._owners[claim.id]

    async def done(self, count: int) -> list[str]:
        """Whose the next `count` jobs are, one after the other; each is done before the next."""
        return [self._owners[await self.done_id()] for _ in range(count)]

    async def done_id(self) -> str:
        claim = await self.claimed()
        assert await self.queue.finish(claim, FAILURE)
        return claim.id

    async def claimed(self, worker: str = "w1") -> Claim:
        (claim,) = await self.queue.claim(worker, 1)
        return claim

    async def keys(self) -> set[bytes]:
        """Keys that are left of who waited, or ran a job."""
        parts = ("waiting", "line:*", "turns:*", "rested:*", "running:*", "parked")
        return {key for part in parts for key in await self.redis.keys(f"imgsvc:{part}")}


def jain(shares: list[int]) -> float:
    """Jain's index of fairness: 1 where all shares are alike."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))
