"""What owners are promised who have a weight, or may run only so many jobs at a time."""

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
import pytest_asyncio

from imgsvc.jobs.queue import Queue
from imgsvc.jobs.types import Claim, WorkerInfo
from imgsvc.runtime.owners import Owner
from tests.support.crowd import FAILURE, Crowd
from tests.support.service import Servers

WORKER = WorkerInfo("w1", "full")
ONE = Owner("one", max_running=1)


@pytest_asyncio.fixture
async def crowd(servers: Servers) -> AsyncGenerator[Crowd]:
    async with Crowd.open(servers) as crowd:
        yield crowd


async def test_f6_owners_share_by_weight(crowd: Crowd) -> None:
    weights = {"small": 1, "medium": 2, "large": 4}
    crowd.knows(*(Owner(name, weight) for name, weight in weights.items()))
    for name in weights:
        await crowd.submits(name, 45)
    shares = Counter(await crowd.done(70))
    for name, weight in weights.items():
        assert shares[name] == pytest.approx(10 * weight, rel=0.1)


async def test_f6_an_owner_of_great_weight_leaves_the_others_their_share(crowd: Crowd) -> None:
    crowd.knows(Owner("great", 9))
    await crowd.submits("great", 40)
    await crowd.submits("other", 10)
    assert Counter(await crowd.done(40))["other"] == pytest.approx(4, abs=1)


async def test_f7_an_owner_runs_no_more_jobs_than_it_may(crowd: Crowd) -> None:
    crowd.knows(Owner("two", max_running=2))
    await crowd.submits("two", 5)
    await crowd.submits("any", 3)
    claims = await crowd.queue.claim("w1", 10)
    assert Counter(map(crowd.owner_of, claims)) == {"two": 2, "any": 3}
    await crowd.submits("two")
    assert await crowd.queue.claim("w2", 10) == []
    for claim in claims:
        assert await crowd.queue.finish(claim, FAILURE)
    assert Counter(map(crowd.owner_of, await crowd.queue.claim("w2", 10))) == {"two": 2}


async def _finish(queue: Queue, claim: Claim) -> None:
    assert await queue.finish(claim, FAILURE)


async def _release(queue: Queue, claim: Claim) -> None:
    assert await queue.release(claim, 60)


async def _cancel(queue: Queue, claim: Claim) -> None:
    assert await queue.cancel(claim.id, "one")


async def _delete(queue: Queue, claim: Claim) -> None:
    assert await queue.delete(claim.id, "one")


async def _abort(queue: Queue, claim: Claim) -> None:
    await queue.abort(claim.id)


ENDS: dict[str, Callable[[Queue, Claim], Awaitable[None]]] = {
    "finish": _finish,
    "release": _release,
    "cancel": _cancel,
    "delete": _delete,
    "abort": _abort,
}


@pytest.mark.parametrize("end", ENDS)
async def test_f7_whatever_ends_a_lease_makes_room_for_the_next(crowd: Crowd, end: str) -> None:
    crowd.knows(ONE)
    await crowd.submits("one", 2)
    claim = await crowd.claimed()
    assert await crowd.queue.claim("w1", 1) == []
    await ENDS[end](crowd.queue, claim)
    last = await crowd.claimed()
    assert last.id != claim.id
    assert await crowd.queue.finish(last, FAILURE)
    assert await crowd.queue.claim("w1", 1) == []
    assert await crowd.keys() == set()


async def _lapse(crowd: Crowd, claim: Claim) -> None:
    await crowd.redis.zadd("imgsvc:jobs", {claim.id: 0})


async def test_f7_the_job_of_a_dead_worker_makes_room_and_takes_it(crowd: Crowd) -> None:
    crowd.knows(ONE)
    (first, second) = await crowd.submits("one", 2)
    for attempt in range(1, 3):
        claim = await crowd.claimed(f"w{attempt}")
        assert claim.id == first
        await _lapse(crowd, claim)
    assert (await crowd.claimed("w3")).id == second, "the first one is due again a second later"
    assert await crowd.queue.claim("w4", 2) == []


async def test_f7_a_worker_that_comes_back_takes_its_place_again(crowd: Crowd) -> None:
    crowd.knows(ONE)
    await crowd.submits("one", 2)
    frozen = await crowd.claimed("frozen")
    await _lapse(crowd, frozen)
    await crowd.submits("any")
    assert crowd.owner_of(await crowd.claimed("w1")) == "any"
    assert await crowd.queue.renew(WORKER, {frozen.id: frozen.token}) == []
    assert await crowd.queue.claim("w2", 2) == []
    assert await crowd.queue.finish(frozen, FAILURE)
    assert len(await crowd.queue.claim("w2", 2)) == 1


async def test_f7_a_place_that_is_lost_is_found_again(crowd: Crowd) -> None:
    """As where a version that counted no places has ended the job."""
    crowd.knows(ONE)
    (first, _) = await crowd.submits("one", 2)
    assert (await crowd.claimed()).id == first
    assert await crowd.queue.claim("w1", 1) == []
    await crowd.redis.hset(f"imgsvc:upload:{first}", "status", "CANCELLED")  # pyright: ignore[reportGeneralTypeIssues]
    assert await crowd.queue.claim("w1", 1) == []
    await crowd.redis.zadd("imgsvc:parked", {"one": 0})  # its time is over
    await crowd.queue.renew(WORKER, {})
    assert (await crowd.claimed()).id != first


async def test_f7_low_priority_of_an_owner_who_runs_one_at_a_time_does_not_starve(crowd: Crowd) -> None:
    crowd.knows(ONE)
    low = set(await crowd.submits("one", 2, priority="low"))
    await crowd.submits("one", 60)
    order: list[str] = []
    for _ in range(34):
        (claim,) = await crowd.queue.claim("w1", 4)
        order.append(claim.id)
        assert await crowd.queue.finish(claim, FAILURE)
    assert [number for number, upload_id in enumerate(order) if upload_id in low] == [15, 31]


async def test_f8_limits_hold_after_redis_was_emptied(crowd: Crowd) -> None:
    crowd.knows(ONE)
    for _ in range(2):
        await crowd.submits("one", 2)
        assert len(await crowd.queue.claim("w1", 2)) == 1
        await crowd.redis.flushall()


async def test_f8_limits_that_change_hold_from_the_next_claim_on(crowd: Crowd) -> None:
    await crowd.submits("one", 6)
    crowd.knows(ONE)
    (claim,) = await crowd.queue.claim("w1", 2)
    assert await crowd.queue.claim("w1", 2) == []
    crowd.knows(Owner("one", max_running=3))
    assert await crowd.queue.finish(claim, FAILURE)
    assert len(await crowd.queue.claim("w1", 4)) == 3


async def test_f8_workers_that_know_other_limits_disturb_each_other_in_nothing(crowd: Crowd) -> None:
    await crowd.submits("one", 6)
    for _ in range(2):
        for most in (1, 2):
            crowd.knows(Owner("one", max_running=most))
            claims = await crowd.queue.claim("w1", 4)
            assert len(claims) == most
            for claim in claims:
                assert await crowd.queue.finish(claim, FAILURE)
    assert len(await crowd.redis.keys("imgsvc:owners:*")) == 2
