"""What owners who share the workers are promised: nobody waits behind another's heap of work."""

from collections import Counter
from collections.abc import AsyncGenerator
from uuid import uuid4

import pytest_asyncio
from redis.asyncio import Redis

from imgsvc.domain.options import Options, Priority
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Failure, Source, Submission
from imgsvc.jobs.types import Claim, WorkerInfo
from tests.support.service import Servers, settings_of, until

SMALL, LARGE = 1, 4_500_000
"""Sizes of files, of which the larger one takes about ten times as long."""

FAILURE = Failure("decode_failed", "broken")


class Crowd:
    """Owners with a queue of their own."""

    def __init__(self, queue: Queue, redis: Redis) -> None:
        self.queue = queue
        self.redis = redis
        self._owners: dict[str, str] = {}

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
        """Keys that are left of who waited."""
        parts = ("waiting", "line:*", "turns:*", "rested:*")
        return {key for part in parts for key in await self.redis.keys(f"imgsvc:{part}")}


@pytest_asyncio.fixture
async def crowd(servers: Servers) -> AsyncGenerator[Crowd]:
    settings = settings_of(servers.environment() | {"IMGSVC_LEASE_S": "60"})
    async with Queue.open(settings) as queue, Redis.from_url(settings.redis_url) as redis:
        yield Crowd(queue, redis)


async def test_f1_the_first_job_of_an_owner_is_next_however_many_another_has_waiting(crowd: Crowd) -> None:
    await crowd.submits("heap", 100)
    assert await crowd.done(3) == ["heap"] * 3
    await crowd.submits("guest")
    assert "guest" in await crowd.done(2)
    assert await crowd.done(96) == ["heap"] * 96


async def test_f1_owners_who_always_have_work_share_alike(crowd: Crowd) -> None:
    owners = [f"owner{number}" for number in range(5)]
    for number, owner in enumerate(owners):
        await crowd.submits(owner, 15 + 10 * number)
    shares = Counter(await crowd.done(50))
    assert _jain([shares[owner] for owner in owners]) >= 0.99


async def test_f1_large_images_cost_their_owner_more_turns(crowd: Crowd) -> None:
    await crowd.submits("large", 20, size=LARGE)
    await crowd.submits("small", 60)
    shares = Counter(await crowd.done(44))
    assert 8 <= shares["small"] / shares["large"] <= 12


async def test_f1_who_was_idle_has_saved_up_nothing(crowd: Crowd) -> None:
    await crowd.submits("early")
    await crowd.submits("busy", 60)
    await crowd.done(31)
    await crowd.submits("early", 30)
    assert 9 <= Counter(await crowd.done(20))["early"] <= 11


async def test_f1_who_comes_back_at_once_has_not_got_rid_of_what_it_used(crowd: Crowd) -> None:
    await crowd.submits("patient", 8)
    for _ in range(4):  # one at a time, each as soon as the one before is claimed
        await crowd.submits("hasty")
        assert Counter(await crowd.done(2)) == {"patient": 1, "hasty": 1}


async def test_f2_priority_orders_the_jobs_of_an_owner_alone(crowd: Crowd) -> None:
    normal = await crowd.submits("shop", 2)
    high = await crowd.submits("shop", 2, priority="high")
    await crowd.submits("blog", 4)
    mine = {*normal, *high}
    order = [each for each in [await crowd.done_id() for _ in range(8)] if each in mine]
    assert order == [*sorted(high, key=order.index), *sorted(normal, key=order.index)]


async def test_f2_low_priority_yields_to_everybody_and_does_not_starve(crowd: Crowd) -> None:
    await crowd.submits("archive", 4, priority="low")
    await crowd.submits("shop", 60)
    order = await crowd.done(40)
    assert order[:15] == ["shop"] * 15
    assert order.count("archive") == 2, "one of sixteen"
    assert Counter(await crowd.done(24)) == {"shop": 22, "archive": 2}


async def test_f3_owners_without_jobs_leave_nothing_behind(crowd: Crowd) -> None:
    for number in range(30):
        await crowd.submits(f"owner{number}", priority="low" if number % 2 else "normal")
    await crowd.done(30)
    assert await crowd.queue.claim("w1", 1) == []
    assert await crowd.keys() == set()


async def test_f3_a_job_that_is_cancelled_or_deleted_leaves_its_line(crowd: Crowd) -> None:
    first, second, third = await crowd.submits("shop", 3)
    assert await crowd.queue.cancel(first, "shop")
    assert await crowd.queue.delete(second, "shop")
    assert (await crowd.queue.stats()).waiting == 1
    assert await crowd.done_id() == third
    assert await crowd.queue.claim("w1", 1) == []
    assert await crowd.keys() == set()


async def test_f4_the_job_of_a_dead_worker_comes_before_those_that_its_owner_sent_later(servers: Servers) -> None:
    settings = settings_of(servers.environment() | {"IMGSVC_LEASE_S": "0.3"})
    async with Queue.open(settings) as queue, Redis.from_url(settings.redis_url) as redis:
        crowd = Crowd(queue, redis)
        (first,) = await crowd.submits("shop")
        assert (await crowd.claimed("dead")).id == first
        await crowd.submits("shop", 20)

        async def is_due() -> bool:
            return (await crowd.queue.stats()).leased == 0

        await until(is_due)
        assert (await crowd.claimed("w2")).id == first


async def test_f4_a_worker_that_comes_back_before_another_has_its_job_goes_on(servers: Servers) -> None:
    settings = settings_of(servers.environment() | {"IMGSVC_LEASE_S": "0.3"})
    async with Queue.open(settings) as queue, Redis.from_url(settings.redis_url) as redis:
        crowd = Crowd(queue, redis)
        await crowd.submits("other", 2)
        lapsing = await crowd.claimed("frozen")
        another = await crowd.claimed("w2")

        async def is_due() -> bool:
            return (await crowd.queue.stats()).leased == 0

        await until(is_due)
        # one slot: of two lapsed jobs one is claimed, and the other one waits in its line
        (taken,) = await crowd.queue.claim("w3", 1)
        claim, lost = (lapsing, another) if taken.id == another.id else (another, lapsing)
        tokens = {claim.id: claim.token, lost.id: lost.token}
        assert await crowd.queue.renew(WorkerInfo("frozen", "full"), tokens) == [lost.id]
        assert (await crowd.queue.stats()).waiting == 0
        assert await crowd.queue.finish(claim, FAILURE)


def _jain(shares: list[int]) -> float:
    """Jain's index of fairness: 1 where all shares are alike."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))
