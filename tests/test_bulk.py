"""Bulk actions of operators: what is done to each upload that matches, whatever happens meanwhile."""

import asyncio
from contextlib import suppress
from typing import Any
from uuid import uuid4

from imgsvc.domain.states import Status
from imgsvc.jobs.bulk import Action, BulkAction, Filter, Step
from imgsvc.jobs.queue import Queue
from imgsvc.worker.bulk import BulkRunner
from tests.support.service import Servers, settings_of, until
from tests.support.world import World
from tests.test_administration import DECODE, STORAGE, SUCCESS, ended, found, submitted

FAILED = Filter((Status.FAILURE,))
UNFINISHED = Filter((Status.PENDING, Status.PROGRESS))


async def begun(world: World, action: Action, where: Filter) -> BulkAction:
    begun = await world.queue.administration.begin(action, where, "operations", "the-request")
    assert begun
    return begun


async def run(world: World, action: BulkAction) -> BulkAction:
    """Has a worker do it, and returns how it ended."""
    runner = asyncio.create_task(BulkRunner(world.queue.administration).run())
    try:
        await until(lambda: has_ended(world, action))
    finally:
        runner.cancel()
        with suppress(asyncio.CancelledError):
            await runner
    return await state(world, action)


async def has_ended(world: World, action: BulkAction) -> bool:
    return (await state(world, action)).state != "RUNNING"


async def state(world: World, action: BulkAction) -> BulkAction:
    seen = await world.queue.administration.action(action.id)
    assert seen
    return seen


async def test_all_that_failed_are_queued_again_and_nothing_else(world: World) -> None:
    failed = [await ended(world, STORAGE, owner) for owner in ("shop", "blog", "shop")]
    other = await ended(world, DECODE, "shop")
    done, waits = await ended(world, SUCCESS, "shop"), await submitted(world, "shop")
    action = await run(world, await begun(world, "retry", Filter((Status.FAILURE,), code="storage_unavailable")))
    assert (action.state, action.done, action.refused, action.by) == ("DONE", 3, 0, "operations")
    assert action.finished_at
    assert [await world.status(upload_id) for upload_id in failed] == [Status.PENDING] * 3
    assert [await world.status(upload_id) for upload_id in (other, done, waits)] == ["FAILURE", "SUCCESS", "PENDING"]
    (values,) = await world.queue.read(failed[:1])
    assert values[b"request_id"] == b"the-request"


async def test_r14_an_action_goes_on_although_the_clock_of_redis_was_set_back(world: World) -> None:
    failed = await ended(world, STORAGE, "shop")
    action = await begun(world, "retry", FAILED)
    redis: Any = world.redis
    hour_ms = 3_600_000
    due = await redis.zscore("imgsvc:bulk", action.id)
    await redis.zadd("imgsvc:bulk", {action.id: due + hour_ms})
    await redis.zadd("imgsvc:workers", {"": -(due + hour_ms)})  # the time that was seen last
    assert (await run(world, action)).done == 1
    assert await world.status(failed) == Status.PENDING


async def test_all_that_have_not_ended_are_cancelled_and_their_files_swept(world: World) -> None:
    waiting = [await submitted(world, "shop") for _ in range(3)]
    claim = await world.claimed()
    other = await submitted(world, "blog")
    action = await run(world, await begun(world, "cancel", Filter(UNFINISHED.statuses, owner="shop")))
    assert (action.state, action.done) == ("DONE", 3)
    assert [await world.status(upload_id) for upload_id in waiting] == [Status.CANCELLED] * 3
    assert await world.status(other) == Status.PENDING
    assert not await world.queue.finish(claim, SUCCESS), "its worker is too late"
    for upload_id in waiting:
        assert await world.redis.zscore("imgsvc:sweep", upload_id)


async def test_what_comes_while_it_runs_is_left_alone(world: World) -> None:
    before = await ended(world, DECODE)
    action = await begun(world, "retry", FAILED)
    taken = await world.queue.administration.take("w1")
    assert taken
    (match,) = (await world.queue.administration.scan(FAILED, 50)).found
    assert await world.queue.administration.act(taken, "w1", match) is Step.DONE
    await world.queue.finish(await world.claimed(), DECODE)  # it fails again
    await release(world, action)
    assert (await run(world, action)).done == 1
    assert await world.status(before) == Status.FAILURE


async def release(world: World, action: BulkAction) -> None:
    """As if its worker had not been heard of for BULK_HOLD_S."""
    await world.redis.zadd("imgsvc:bulk", {action.id: 0})


async def test_a2_a_worker_that_dies_in_the_middle_leaves_none_out_and_none_is_done_twice(world: World) -> None:
    failed = [await ended(world, DECODE) for _ in range(12)]
    action = await begun(world, "retry", FAILED)
    administration = world.queue.administration
    taken = await administration.take("dies")
    assert taken
    page = (await administration.scan(FAILED, 50)).found
    assert [await administration.act(taken, "dies", match) for match in page[:5]] == [Step.DONE] * 5
    assert await administration.take("other") is None, "it is held"
    await release(world, action)
    assert (await run(world, action)).done == 12
    assert [await world.status(upload_id) for upload_id in failed] == [Status.PENDING] * 12
    for values in await world.queue.read(failed):
        assert values[b"history"].count(b"FAILURE") == 1, "each was queued again once"


async def test_a2_a_worker_that_wakes_when_another_goes_on_changes_nothing(world: World) -> None:
    for _ in range(3):
        await ended(world, DECODE)
    action = await begun(world, "retry", FAILED)
    administration = world.queue.administration
    late = await administration.take("late")
    assert late
    page = (await administration.scan(FAILED, 50)).found
    await release(world, action)
    assert await administration.take("other")
    assert await administration.act(late, "late", page[0]) is Step.LOST
    assert not await administration.advance(late, "late", None)
    assert await found(world, FAILED) == [match.id for match in page]


async def test_one_that_is_cancelled_stops_at_once_and_what_it_has_done_stays(world: World) -> None:
    for _ in range(3):
        await ended(world, DECODE)
    action = await begun(world, "retry", FAILED)
    administration = world.queue.administration
    taken = await administration.take("w1")
    assert taken
    page = (await administration.scan(FAILED, 50)).found
    await administration.act(taken, "w1", page[0])
    assert await administration.stop(action.id)
    assert await administration.act(taken, "w1", page[1]) is Step.LOST
    assert await administration.take("w2") is None
    stopped = await state(world, action)
    assert (stopped.state, stopped.done) == ("CANCELLED", 1)
    assert await administration.stop(action.id), "and again"
    assert not await administration.stop(str(uuid4()))


async def test_retries_wait_while_the_queue_is_full_or_an_owners_rate_is_used_up(servers: Servers) -> None:
    environment = servers.environment()
    limited = settings_of(environment | {"IMGSVC_MAX_QUEUED": "2", "IMGSVC_RATE_LIMIT": "1000"})
    async with World.open_with(limited) as world:
        for _ in range(4):
            await ended(world, DECODE)
        action = await begun(world, "retry", FAILED)
        runner = asyncio.create_task(BulkRunner(world.queue.administration).run())

        async def waits() -> bool:
            return (await state(world, action)).waiting_for == "OVERLOADED"

        await until(waits)
        assert (await state(world, action)).done == 2
        while claims := await world.queue.claim("w1", 1):
            await world.queue.finish(claims[0], SUCCESS)
        await until(lambda: has_ended(world, action))
        runner.cancel()
        assert (await state(world, action)).done == 4


async def test_what_is_beyond_an_owners_quota_is_left_as_it_was(servers: Servers) -> None:
    environment = servers.environment()
    quota = {"IMGSVC_QUOTA_BYTES": "20000", "IMGSVC_MAX_UPLOAD_BYTES": "20000"}
    async with World.open_with(settings_of(environment | quota)) as world:
        failed = [await ended(world, DECODE, "shop") for _ in range(3)]
        action = await run(world, await begun(world, "retry", FAILED))
        assert (action.state, action.done, action.refused) == ("DONE", 1, 2)
        left = [await world.status(upload_id) for upload_id in failed]
        assert left == [Status.FAILURE, Status.FAILURE, Status.PENDING]


async def test_no_more_than_a_few_are_under_way_and_the_newest_fifty_are_kept(world: World) -> None:
    administration = world.queue.administration
    running = [await begun(world, "retry", FAILED) for _ in range(4)]
    assert await administration.begin("retry", FAILED, "", "r") is None
    for action in running[1:]:
        await administration.stop(action.id)
    for _ in range(60):
        await administration.stop((await begun(world, "retry", FAILED)).id)
    kept = await administration.actions()
    assert len(kept) == 51
    assert kept[-1].id == running[0].id, "one that is under way is kept for as long as it is"
    assert len(await world.redis.keys("imgsvc:bulk:*")) == 51


async def test_an_action_of_a_queue_that_was_closed_goes_on_in_the_next(servers: Servers) -> None:
    settings = settings_of(servers.environment())
    async with World.open_with(settings) as world:
        failed = await ended(world, DECODE)
        action = await begun(world, "retry", FAILED)
    async with Queue.open(settings) as queue:
        runner = asyncio.create_task(BulkRunner(queue.administration).run())

        async def is_done() -> bool:
            seen = await queue.administration.action(action.id)
            return seen is not None and seen.state == "DONE"

        await until(is_done)
        runner.cancel()
        record = await queue.get(failed)
        assert record
        assert record.status is Status.PENDING
