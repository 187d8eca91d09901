"""Tries of one upload token: one at a time, the next one as soon as the one before has failed, and none can harm
another, however late it is (row U4).
"""

from collections.abc import AsyncGenerator
from uuid import uuid4

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from imgsvc.jobs.exchange import QueueUnavailableError
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import key_of_try, original_key
from imgsvc.jobs.types import Admission
from tests.support.service import Servers, settings_of, until
from tests.support.submissions import submission
from tests.support.world import World


class Tries:
    """Those of one token."""

    def __init__(self, queue: Queue, upload_id: str) -> None:
        self.queue = queue
        self.id = upload_id

    def key(self) -> str:
        return key_of_try(self.id)

    async def reserve(self, key: str) -> Admission:
        return (await self.queue.reserve(self.id, owner="shop", original=key)).admission

    async def submit(self, key: str) -> None:
        await self.queue.submit(submission(self.id), key)

    async def abort(self, key: str) -> None:
        await self.queue.abort(self.id, key)

    async def original(self) -> str | None:
        record = await self.queue.get(self.id)
        return record and record.original_key


@pytest_asyncio.fixture
async def tries(world: World) -> Tries:
    return Tries(world.queue, str(uuid4()))


@pytest_asyncio.fixture
async def hasty(servers: Servers) -> AsyncGenerator[tuple[World, Tries]]:
    """Tries of a queue whose reservations lapse soon."""
    settings = settings_of(servers.environment() | {"IMGSVC_RESERVATION_TTL_S": "0.3"})
    async with Queue.open(settings) as queue, Redis.from_url(settings.redis_url) as redis:
        yield World(queue, redis), Tries(queue, str(uuid4()))


async def obsolete(world: World) -> set[str]:
    return {member.decode() for member in await world.redis.zrange("imgsvc:obsolete", 0, -1)}


async def test_u4_one_try_at_a_time_and_one_job(tries: Tries) -> None:
    first, second = tries.key(), tries.key()
    assert first != second
    assert first.startswith(original_key(tries.id))
    assert await tries.reserve(first) is Admission.RESERVED
    assert await tries.reserve(first) is Admission.RESERVED, "the answer to its call may have been lost"
    assert await tries.reserve(second) is Admission.IN_FLIGHT
    await tries.submit(first)
    await tries.submit(first)
    assert await tries.reserve(second) is Admission.REPLAY
    assert await tries.original() == first


async def test_u4_a_try_that_failed_leaves_the_token_free_at_once(world: World, tries: Tries) -> None:
    first, second = tries.key(), tries.key()
    await tries.reserve(first)
    await tries.abort(first)
    assert await obsolete(world) == {first}, "what it may have stored is removed"
    assert await tries.reserve(second) is Admission.RESERVED
    await tries.submit(second)
    assert await tries.original() == second


async def test_u4_a_late_try_changes_nothing_of_the_next(hasty: tuple[World, Tries]) -> None:
    world, tries = hasty
    late, next_ = tries.key(), tries.key()
    await tries.reserve(late)

    async def lapsed() -> bool:
        return await tries.reserve(next_) is Admission.RESERVED

    await until(lapsed)
    with pytest.raises(QueueUnavailableError):
        await tries.submit(late)
    await tries.abort(late)
    assert await obsolete(world) == {late}
    await tries.submit(next_)
    with pytest.raises(QueueUnavailableError):
        await tries.submit(late)
    await tries.abort(late)
    assert await tries.original() == next_
    assert (await world.claimed()).id == tries.id


async def test_u4_a_try_whose_process_died_is_given_up_by_the_sweeper(hasty: tuple[World, Tries]) -> None:
    world, tries = hasty
    dead = tries.key()
    await tries.reserve(dead)

    async def swept() -> bool:
        assert await tries.queue.sweep(10) == [], "there is no upload to be cleared: the next try may be under way"
        return await obsolete(world) == {dead}

    await until(swept)
    assert await world.redis.exists(f"imgsvc:upload:{tries.id}") == 0
    assert await tries.reserve(tries.key()) is Admission.RESERVED


async def test_u4_a_job_whose_client_got_an_error_is_undone_and_the_token_free_when_that_is_cleared(
    world: World, tries: Tries
) -> None:
    first = tries.key()
    await tries.reserve(first)
    await tries.submit(first)
    await tries.abort(first)  # the answer to the submit was lost
    assert await tries.queue.get(tries.id) is None
    assert await tries.reserve(tries.key()) is Admission.IN_FLIGHT
    await tries.queue.ack_sweep(tries.id, is_final=True)
    assert await tries.reserve(tries.key()) is Admission.RESERVED


async def test_u3_a_token_is_used_for_good(world: World, tries: Tries) -> None:
    first = tries.key()
    await tries.reserve(first)
    await tries.submit(first)
    await tries.queue.delete(tries.id, "shop")
    assert await tries.reserve(tries.key()) is Admission.USED
    await world.redis.delete(f"imgsvc:deleted:{tries.id}")
    assert await tries.reserve(tries.key()) is Admission.USED
    assert await world.redis.ttl(f"imgsvc:token:{tries.id}") > 86_400, "for longer than any token is valid"


async def test_u3_what_is_refused_by_a_token_costs_its_owner_nothing(servers: Servers) -> None:
    settings = settings_of(servers.environment() | {"IMGSVC_RATE_LIMIT": "1"})
    async with Queue.open(settings) as queue:
        tries, other = Tries(queue, str(uuid4())), Tries(queue, str(uuid4()))
        first = tries.key()
        assert await tries.reserve(first) is Admission.RESERVED
        assert await other.reserve(other.key()) is Admission.RATE_LIMITED
        assert {await tries.reserve(tries.key()) for _ in range(3)} == {Admission.IN_FLIGHT}
