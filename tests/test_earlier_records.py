"""What versions before 0.1.0 left in Redis is read and finished, also while one of their workers is still at work."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from imgsvc.domain.states import Status
from imgsvc.jobs.files import File
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Failure, Success
from imgsvc.jobs.types import Admission, Query, Reply, SweepItem, WorkerInfo
from tests.support.earlier_records import SNAPSHOTS, Version
from tests.support.service import Servers, settings_of
from tests.support.submissions import submission

SUCCESS = Success(4, 3, 1, (File("thumbnail", 4, 3, 9, "ab", "jpeg"),))
VISIBLE = {
    "pending": Status.PENDING,
    "leased": Status.PROGRESS,
    "lapsed": Status.PROGRESS,
    "released": Status.PROGRESS,
    "success": Status.SUCCESS,
    "failure": Status.FAILURE,
    "cancelled": Status.CANCELLED,
    "swept": Status.CANCELLED,
}
"""Snapshots of uploads that the shop's readers see, and as what."""


class World:
    def __init__(self, queue: Queue, redis: Any, version: Version) -> None:
        self.queue = queue
        self.redis = redis
        self._version: Version = version

    async def play(self, name: str) -> str:
        return await SNAPSHOTS[name].play(self.redis, self._version)

    async def fields(self, upload_id: str) -> dict[bytes, bytes]:
        return await self.redis.hgetall(f"imgsvc:upload:{upload_id}")

    async def listed(self, status: Status, owner: str = "shop") -> list[str]:
        page = await self.queue.page(Query(10, owner, [status]))
        return [record.id for record in page.records]


@pytest_asyncio.fixture(params=["first", "last"])
async def world(servers: Servers, request: pytest.FixtureRequest) -> AsyncGenerator[World]:
    settings = settings_of(servers.environment() | {"IMGSVC_LEASE_S": "60"})
    async with Queue.open(settings) as queue, Redis.from_url(settings.redis_url) as redis:
        yield World(queue, redis, request.param)


@pytest.mark.parametrize("name", VISIBLE)
async def test_q23_a_record_has_its_status_and_its_owner_and_is_no_one_elses(world: World, name: str) -> None:
    upload_id = await world.play(name)
    record = await world.queue.get(upload_id)
    assert record is not None
    assert (record.status, record.owner, record.options.filename) == (VISIBLE[name], "shop", "a.jpg")
    assert await world.listed(VISIBLE[name]) == [upload_id]
    assert await world.queue.cancel(upload_id, "blog") is None
    assert await world.queue.retry(upload_id, "blog") is None
    assert not await world.queue.delete(upload_id, "blog")
    assert await world.queue.delete(upload_id, "shop")
    assert await world.listed(VISIBLE[name]) == []
    assert await world.queue.claim("w2", 5) == []


@pytest.mark.parametrize("name", ["pending", "lapsed", "lapsed_open", "released"])
async def test_q23_a_job_that_is_due_is_done_by_a_new_worker(world: World, name: str) -> None:
    upload_id, owner = await world.play(name), "" if name == "lapsed_open" else "shop"
    assert (await world.queue.stats()).waiting == 1
    (claim,) = await world.queue.claim("w2", 5)
    assert claim.lapsed == ("w1:1" if "lapsed" in name else "")
    assert claim.attempt == (1 if name == "pending" else 2)
    assert b"owner" not in await world.fields(upload_id), "its last worker has nothing to go on with"
    assert not await world.redis.exists(f"arq:job:{upload_id}")
    assert (await world.queue.stats()).leased == 1
    assert await world.queue.renew(WorkerInfo("w2", "full"), {upload_id: claim.token}) == []
    assert await world.queue.finish(claim, SUCCESS)
    record = await world.queue.get(upload_id)
    assert record is not None
    assert (record.status, record.owner, record.success) == (Status.SUCCESS, owner, SUCCESS)
    assert await world.listed(Status.SUCCESS, owner) == [upload_id]
    assert (await world.queue.stats()).queued == 0


async def test_a_job_of_an_older_worker_that_lives_stays_its_own_until_it_is_cancelled(world: World) -> None:
    upload_id = await world.play("leased")
    stats = await world.queue.stats()
    assert (stats.waiting, stats.leased) == (0, 1)
    assert await world.queue.claim("w2", 5) == []
    await world.redis.zadd("imgsvc:jobs", {upload_id: 1})  # from an attempt before
    assert await world.queue.claim("w2", 5) == []
    assert (await world.fields(upload_id))[b"owner"] == b"w1:1"
    signals = world.queue.signals()
    assert await anext(signals) is None  # listening
    assert await world.queue.cancel(upload_id, "shop")
    assert await anext(signals) == upload_id
    await signals.aclose()
    assert b"owner" not in await world.fields(upload_id), "whoever compares it with a token is fenced off"
    assert (await world.queue.stats()).queued == 0
    assert await world.listed(Status.CANCELLED) == [upload_id]


@pytest.mark.parametrize("name", ["failure", "swept"])
async def test_a_retry_is_done_by_a_new_worker(world: World, name: str) -> None:
    upload_id = await world.play(name)
    retried = await world.queue.retry(upload_id, "shop")
    assert retried is not None
    assert retried.admission == Admission.RESERVED
    (claim,) = await world.queue.claim("w2", 5)
    assert await world.queue.finish(claim, SUCCESS)
    assert await world.listed(Status.SUCCESS) == [upload_id]


async def test_what_is_being_swept_is_not_retried(world: World) -> None:
    upload_id = await world.play("cancelled")
    retried = await world.queue.retry(upload_id, "shop")
    assert retried is not None
    assert retried.admission == Admission.CONFLICT


async def test_its_webhook_is_delivered(world: World) -> None:
    upload_id = await world.play("success")
    (delivery,) = await world.queue.deliveries.claim(5)
    assert delivery.id == upload_id
    assert await world.queue.deliveries.ack(delivery, "delivered", Reply(204))
    record = await world.queue.get(upload_id)
    assert record is not None
    assert record.webhook is not None
    assert record.webhook.state == "delivered"


async def test_a_reservation_becomes_a_job_of_its_owner(world: World) -> None:
    upload_id = await world.play("reserved")
    assert await world.queue.get(upload_id) is None
    await world.queue.submit(submission(upload_id))
    assert await world.listed(Status.PENDING) == [upload_id]
    (claim,) = await world.queue.claim("w2", 5)
    assert await world.queue.finish(claim, Failure("decode_failed", "broken"))
    assert await world.listed(Status.FAILURE) == [upload_id]


@pytest.mark.parametrize("name", ["reserved", "aborted"])
async def test_what_never_became_a_job_is_swept(world: World, name: str) -> None:
    upload_id = await world.play(name)
    await world.redis.zadd("imgsvc:sweep", {upload_id: 1})
    assert await world.queue.sweep(5) == [SweepItem(upload_id, with_original=True)]
    await world.queue.ack_sweep(upload_id, is_final=True)
    assert await world.fields(upload_id) == {}


async def test_q23_older_workers_find_none_of_the_jobs_that_a_new_api_queues(world: World) -> None:
    upload_id = await world.play("reserved")
    await world.queue.submit(submission(upload_id))
    assert await world.redis.zrange("imgsvc:queue", 0, -1) == []
    assert (await world.queue.stats()).waiting == 1


async def test_a_lease_ends_with_a_status_that_an_older_api_wrote(world: World) -> None:
    """It knows nothing of `lease`, and leaves it where it was."""
    upload_id = await world.play("pending")
    (claim,) = await world.queue.claim("w2", 5)
    await world.redis.hset(f"imgsvc:upload:{upload_id}", "status", "CANCELLED")
    assert await world.queue.renew(WorkerInfo("w2", "full"), {upload_id: claim.token}) == [upload_id]
    assert not await world.queue.finish(claim, SUCCESS)
