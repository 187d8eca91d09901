"""A queue of its own for a test, without API or worker."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import uuid4

from redis.asyncio import Redis

from imgsvc.domain.states import Status
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.types import Claim
from imgsvc.runtime.settings import Settings
from tests.support.service import Servers, settings_of, until
from tests.support.submissions import submission

SHORT_S = 0.3
"""A lease for tests that wait until it has lapsed."""


class World:
    """A queue of its own."""

    def __init__(self, queue: Queue, redis: Redis) -> None:
        self.queue = queue
        self.redis = redis

    async def submitted(self) -> str:
        upload_id = str(uuid4())
        await self.queue.reserve(upload_id)
        await self.queue.submit(submission(upload_id))
        return upload_id

    async def claimed(self, worker: str = "w1") -> Claim:
        (claim,) = await self.queue.claim(worker, 1)
        return claim

    async def lapsed(self, worker: str) -> Claim:
        """The next claim that `worker` gets, once a lease has lapsed."""
        claims: list[Claim] = []

        async def claim() -> bool:
            claims.extend(await self.queue.claim(worker, 1))
            return bool(claims)

        await until(claim)
        return claims[0]

    async def status(self, upload_id: str) -> Status | None:
        record = await self.queue.get(upload_id)
        return record and record.status

    @classmethod
    @asynccontextmanager
    async def open(cls, servers: Servers, lease_s: float) -> AsyncGenerator["World"]:
        settings = settings_of(servers.environment() | {"IMGSVC_LEASE_S": str(lease_s)})
        async with cls.open_with(settings) as opened:
            yield opened

    @classmethod
    @asynccontextmanager
    async def open_with(cls, settings: Settings) -> AsyncGenerator["World"]:
        async with Queue.open(settings) as queue, Redis.from_url(settings.redis_url) as redis:
            yield cls(queue, redis)
