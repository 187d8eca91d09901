"""What owners who share the workers are promised: nobody waits behind another's heap of work."""

from collections import Counter
from collections.abc import AsyncGenerator

import pytest_asyncio

from imgsvc.jobs.types import WorkerInfo
from tests.support.crowd import FAILURE, LARGE, Crowd, jain
from tests.support.service import Servers, until


@pytest_asyncio.fixture
async def crowd(servers: Servers) -> AsyncGenerator[Crowd]:
    async with Crowd.open(servers) as crowd:
        yield crowd


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
    assert jain([shares[owner] for owner in owners]) >= 0.99


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


async def test_f3_idle_owners_are_forgotten_while_others_go_on(crowd: Crowd) -> None:
    for number in range(40):
        await crowd.submits(f"owner{number}")
    await crowd.done(40)
    await crowd.submits("heap", 60)
    await crowd.done(50)
    await crowd.queue.renew(WorkerInfo("w1", "full"), {})
    assert await crowd.redis.zcard("imgsvc:rested:normal") == 0


async def test_f3_a_job_that_is_cancelled_or_deleted_leaves_its_line(crowd: Crowd) -> None:
    first, second, third = await crowd.submits("shop", 3)
    assert await crowd.queue.cancel(first, "shop")
    assert await crowd.queue.delete(second, "shop")
    assert (await crowd.queue.stats()).waiting == 1
    assert await crowd.done_id() == third
    assert await crowd.queue.claim("w1", 1) == []
    assert await crowd.keys() == set()


async def test_f4_the_job_of_a_dead_worker_comes_before_those_that_its_owner_sent_later(servers: Servers) -> None:
    async with Crowd.open(servers, lease_s=0.3) as crowd:
        (first,) = await crowd.submits("shop")
        assert (await crowd.claimed("dead")).id == first
        await crowd.submits("shop", 20)

        async def is_due() -> bool:
            return (await crowd.queue.stats()).leased == 0

        await until(is_due)
        assert (await crowd.claimed("w2")).id == first


async def test_f4_a_worker_that_comes_back_before_another_has_its_job_goes_on(servers: Servers) -> None:
    async with Crowd.open(servers, lease_s=0.3) as crowd:
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
