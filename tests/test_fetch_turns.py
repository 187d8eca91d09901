"""What owners who have originals fetched are promised: no slow host takes the turn of another, and no fetch is lost."""

from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from typing import Any, cast
from uuid import uuid4

import pytest
import pytest_asyncio

from imgsvc.domain.options import Options, Priority
from imgsvc.domain.states import Status
from imgsvc.jobs.record import Failure, Source, Submission
from imgsvc.jobs.types import Fetch, SweepItem
from tests.support.service import until
from tests.support.world import World

PLACES = 64
SOURCE = Source(9, "ab", "jpeg")
FAILURE = Failure("fetch_failed", "gone")


class Fetching:
    """One worker that fetches from hosts which never end, and a queue."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.queue = world.queue
        self.under_way: list[Fetch] = []
        self.given_up: list[str] = []

    async def submits(self, owner: str, hosts: Iterable[str], priority: Priority = "normal") -> list[str]:
        """One upload by URL from each of the hosts."""
        ids: list[str] = []
        for host in hosts:
            ids.append(str(uuid4()))
            await self.queue.reserve(ids[-1], owner=owner)
            options = Options(priority=priority, filename="a.jpg")
            await self.queue.submit(Submission(ids[-1], options, url=f"http://{host}/a.jpg"))
        return ids

    async def claims(self, places: int = PLACES) -> list[Fetch]:
        """What the worker takes now."""
        claimed = await self.claims_of("w1", places, self.under_way)
        self.under_way += claimed
        return claimed

    async def claims_of(self, worker: str, places: int = PLACES, under_way: Iterable[Fetch] = ()) -> list[Fetch]:
        return await self.queue.fetches.claim(worker, places, under_way, self.given_up.append)

    async def fetched(self, fetch: Fetch) -> None:
        assert await self.queue.fetches.fetched(fetch, SOURCE)
        self.under_way.remove(fetch)

    async def lapsed(self, worker: str) -> Fetch:
        found: list[Fetch] = []

        async def claim() -> bool:
            found.extend(await self.claims_of(worker, 1))
            return bool(found)

        await until(claim)
        return found[0]

    async def keys(self) -> list[bytes]:
        """What is left of those that wait."""
        parts = ("fetches*", "line:*", "hosts:*", "turns:*", "rested:*")
        return [key for part in parts for key in await self.world.redis.keys(f"imgsvc:{part}")]


def hosts(count: int, name: str = "host") -> list[str]:
    return [f"{name}{number}.example" for number in range(count)]


@pytest_asyncio.fixture
async def fetching(world: World) -> Fetching:
    return Fetching(world)


@pytest_asyncio.fixture
async def hasty(fleeting: World) -> AsyncGenerator[Fetching]:
    yield Fetching(fleeting)


@pytest.mark.parametrize("heap", [hosts(200), hosts(1) * 200])
async def test_x1_an_owner_alone_has_most_places_and_never_all(fetching: Fetching, heap: list[str]) -> None:
    await fetching.submits("heap", heap)
    assert PLACES * 0.6 < len(await fetching.claims()) < PLACES * 0.7
    assert await fetching.claims() == []
    await fetching.submits("guest", [heap[0]])
    assert [fetch.owner for fetch in await fetching.claims()] == ["guest"]


async def test_x1_several_owners_with_slow_hosts_leave_a_place_for_the_next(fetching: Fetching) -> None:
    for number in range(5):
        await fetching.submits(f"heap{number}", hosts(100, f"heap{number}-"))
    shares = Counter(fetch.owner for fetch in await fetching.claims())
    assert len(shares) == 5
    assert max(shares.values()) - min(shares.values()) <= 1
    assert 50 < len(fetching.under_way) < PLACES
    await fetching.submits("guest", ["guest.example"])
    assert [fetch.owner for fetch in await fetching.claims()] == ["guest"]


async def test_x2_a_host_that_drips_for_many_owners_leaves_room_for_the_others(fetching: Fetching) -> None:
    for number in range(100):
        await fetching.submits(f"owner{number:03}", ["slow.example"])
    assert 50 < len(await fetching.claims()) < PLACES
    await fetching.submits("owner099", ["fast.example"])
    assert [(fetch.owner, fetch.host) for fetch in await fetching.claims()] == [("owner099", "fast.example:80")]


async def test_x2_behind_a_host_without_room_an_owners_other_hosts_are_fetched(fetching: Fetching) -> None:
    for number in range(20):
        await fetching.submits(f"owner{number}", ["slow.example"] * 9)
    await fetching.claims()
    await fetching.submits("owner0", ["fast.example"])
    freed = fetching.under_way[0]
    await fetching.fetched(freed)
    taken = [*await fetching.claims(), *await fetching.claims()]
    assert freed.owner not in {fetch.owner for fetch in taken} or "fast.example:80" in {fetch.host for fetch in taken}


@pytest.mark.parametrize("places", [1, 2, 3])
async def test_x1_few_places_are_used_too(fetching: Fetching, places: int) -> None:
    await fetching.submits("heap", hosts(9))
    assert len(await fetching.claims(places)) == max(1, places - 1)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://EXAMPLE.com/a", "example.com:80"),
        ("https://example.com", "example.com:443"),
        ("https://example.com./", "example.com:443"),
        ("http://example.com.:81/", "example.com:81"),
        ("https://example.com:8443/x?y=http://other.example/", "example.com:8443"),
        ("http://[::1]/", "[::1]:80"),
        ("http://[::1]:81?a", "[::1]:81"),
        ("http://127.0.0.1:9#f", "127.0.0.1:9"),
    ],
)
async def test_x2_a_host_is_known_by_its_name_and_port(fetching: Fetching, url: str, host: str) -> None:
    upload_id = str(uuid4())
    await fetching.queue.reserve(upload_id)
    await fetching.queue.submit(Submission(upload_id, Options(), url=url))
    assert [fetch.host for fetch in await fetching.claims()] == [host]


async def test_x3_who_have_work_all_the_time_take_turns(fetching: Fetching) -> None:
    for owner in ("one", "two", "three"):
        await fetching.submits(owner, hosts(20, owner))
    order: list[str] = []
    for _ in range(30):
        (fetch,) = await fetching.claims(1)
        order.append(fetch.owner)
        await fetching.fetched(fetch)
    assert Counter(order) == {"one": 10, "two": 10, "three": 10}
    assert all(len(set(order[at : at + 3])) == 3 for at in range(0, 30, 3))


async def test_x3_priority_orders_an_owners_own_and_low_yields(fetching: Fetching) -> None:
    (normal,) = await fetching.submits("shop", ["a.example"])
    (low,) = await fetching.submits("shop", ["b.example"], "low")
    (high,) = await fetching.submits("shop", ["c.example"], "high")
    others = await fetching.submits("blog", hosts(2))
    order: list[str] = []
    for _ in range(5):
        (fetch,) = await fetching.claims(1)
        order.append(fetch.id)
        await fetching.fetched(fetch)
    assert order[-1] == low
    assert [each for each in order if each not in others] == [high, normal, low]


async def test_x3_what_is_fetched_waits_for_a_decoder_in_its_owners_line(fetching: Fetching) -> None:
    queue = fetching.queue
    (upload_id,) = await fetching.submits("shop", ["a.example"])
    assert await queue.claim("w1", 9) == [], "no decoder's turn"
    assert await fetching.world.status(upload_id) is Status.PENDING
    stats = await queue.stats()
    assert (stats.waiting, stats.fetches.waiting, stats.queued, stats.oldest_waiting_ms) == (0, 1, 1, 0)
    (fetch,) = await fetching.claims()
    assert (await queue.stats()).fetches.under_way == 1
    await queue.progress(fetch, 5, "fetch")
    record = await queue.get(upload_id)
    assert record
    assert (record.status, record.step, record.attempt) == (Status.PROGRESS, "fetch", 1)
    await fetching.fetched(fetch)
    assert await queue.fetches.fetched(fetch, SOURCE), "the answer to the first call may have been lost"
    stats = await queue.stats()
    assert (stats.waiting, stats.fetches.waiting, stats.fetches.under_way) == (1, 0, 0)
    assert await fetching.world.status(upload_id) is Status.PROGRESS, "a status never goes back"
    (claim,) = await queue.claim("w1", 9)
    record = await queue.get(upload_id)
    assert record
    assert (claim.id, claim.attempt, record.attempt, record.source) == (upload_id, 1, 1, SOURCE)
    assert await queue.release(claim)
    (claim,) = await queue.claim("w1", 9)
    assert claim.attempt == 2
    assert await queue.finish(claim, FAILURE)


async def test_x3_its_place_is_that_of_its_submission(fetching: Fetching) -> None:
    (first,) = await fetching.submits("shop", ["a.example"])
    later = await fetching.world.submitted()
    (fetch,) = await fetching.claims()
    await fetching.fetched(fetch)
    order = {claim.id: number for number, claim in enumerate(await fetching.queue.claim("w1", 9))}
    assert order.keys() == {first, later}


async def test_x4_a_fetch_of_a_dead_worker_is_made_by_another_which_alone_may_store(hasty: Fetching) -> None:
    (upload_id,) = await hasty.submits("shop", ["a.example"])
    (dead,) = await hasty.claims()
    fetch = await hasty.lapsed("w2")
    assert (fetch.id, fetch.attempt, fetch.lapsed) == (upload_id, 2, dead.token)
    assert not await hasty.queue.fetches.fetched(dead, SOURCE)
    assert await hasty.queue.fetches.renew({dead.id: dead.token}) == [upload_id]
    assert await hasty.queue.fetches.renew({fetch.id: fetch.token}) == []
    assert await hasty.queue.fetches.fetched(fetch, SOURCE)
    (claim,) = await hasty.queue.claim("w2", 1)
    assert claim.attempt == 2


async def test_x4_a_worker_that_comes_back_before_another_has_its_fetch_goes_on(hasty: Fetching) -> None:
    await hasty.submits("shop", ["a.example"])
    (frozen,) = await hasty.claims()

    async def lapsed() -> bool:
        return (await hasty.queue.stats()).fetches.waiting == 1

    await until(lapsed)
    assert await hasty.queue.fetches.renew({frozen.id: frozen.token}) == []
    assert await hasty.claims_of("w2") == []
    assert await hasty.queue.fetches.fetched(frozen, SOURCE)


async def test_x4_a_fetch_that_kills_its_workers_ends_and_what_it_left_is_swept(hasty: Fetching) -> None:
    (upload_id,) = await hasty.submits("shop", ["a.example"])
    (fetch,) = await hasty.claims()
    await cast("Any", hasty.world.redis).hset(f"imgsvc:upload:{upload_id}", mapping={"deliveries": 5, "attempt": 5})
    del fetch

    async def ended() -> bool:
        assert await hasty.claims_of("w2") == []
        return bool(hasty.given_up)

    await cast("Any", hasty.world.redis).hset(f"imgsvc:upload:{upload_id}", "lease", "w1:f:5")
    await until(ended)
    record = await hasty.queue.get(upload_id)
    assert record
    assert record.failure
    assert (hasty.given_up, record.failure.code) == ([upload_id], "attempts_exhausted")
    await hasty.world.redis.zadd("imgsvc:sweep", {upload_id: 1})
    assert await hasty.queue.sweep(9) == [SweepItem(upload_id, with_original=True)]


async def test_x4_a_fetch_that_is_put_off_waits_and_comes_back(fetching: Fetching) -> None:
    (upload_id,) = await fetching.submits("shop", ["a.example"])
    (fetch,) = await fetching.claims()
    assert await fetching.queue.release(fetch, 60)
    fetching.under_way.clear()
    assert await fetching.claims() == []
    stats = await fetching.queue.stats()
    assert (stats.delayed, stats.fetches.delayed, stats.queued) == (0, 1, 1)
    assert await fetching.world.status(upload_id) is Status.PROGRESS
    await fetching.world.redis.zadd("imgsvc:fetches", {upload_id: 1})
    assert [(again.id, again.attempt) for again in await fetching.claims()] == [(upload_id, 2)]


@pytest.mark.parametrize("is_under_way", [False, True])
@pytest.mark.parametrize("end", ["cancel", "delete", "expire", "fail"])
async def test_x5_nothing_is_left_of_a_fetch_that_ends(fetching: Fetching, end: str, is_under_way: bool) -> None:
    queue, redis = fetching.queue, fetching.world.redis
    upload_id, other = await fetching.submits("shop", ["a.example"] * 2)
    fetch: Fetch | None = None
    if is_under_way or end == "fail":
        (fetch,) = await fetching.claims(1)
    if end == "cancel":
        assert await queue.cancel(upload_id, "shop")
        await queue.ack_sweep(upload_id)
    elif end == "delete":
        assert await queue.delete(upload_id, "shop")
    elif end == "expire":
        await cast("Any", redis).hset(f"imgsvc:upload:{upload_id}", "expires_at", 1)
        await redis.zadd("imgsvc:sweep", {upload_id: 1})
        assert await queue.sweep(9) == [SweepItem(upload_id, with_original=True)]
    else:
        assert fetch
        assert await queue.finish(fetch, FAILURE)
    if fetch and end != "fail":
        assert not await queue.fetches.fetched(fetch, SOURCE), "it is fenced off"
    fetching.under_way.clear()
    (left,) = await fetching.claims()
    assert left.id == other
    assert await queue.finish(left, FAILURE)
    assert await fetching.keys() == []


async def test_x5_what_is_left_of_a_cancelled_fetch_is_swept_and_a_retry_fetches_again(fetching: Fetching) -> None:
    queue = fetching.queue
    (upload_id,) = await fetching.submits("shop", ["a.example"])
    await fetching.claims()
    await queue.cancel(upload_id, "shop")
    await fetching.world.redis.zadd("imgsvc:sweep", {upload_id: 1})
    assert await queue.sweep(9) == [SweepItem(upload_id, with_original=True)]
    await queue.ack_sweep(upload_id)
    assert await queue.retry(upload_id, "shop")
    fetching.under_way.clear()
    (again,) = await fetching.claims()
    assert (again.id, again.attempt) == (upload_id, 2)


async def test_x4_a_fetch_that_goes_on_after_its_lease_has_lapsed_is_none_of_its_owners_running_jobs(
    hasty: Fetching,
) -> None:
    await hasty.submits("shop", ["a.example"])
    (fetch,) = await hasty.claims()
    redis: Any = hasty.world.redis

    async def waits_again() -> bool:
        assert await hasty.claims_of("w2", 0) == []
        return await redis.zcard("imgsvc:fetches-waiting") == 1

    await until(waits_again)
    assert await hasty.queue.fetches.renew({fetch.id: fetch.token}) == []
    assert await redis.zcard("imgsvc:fetches") == 1
    assert await redis.exists("imgsvc:running:shop") == 0
    await hasty.fetched(fetch)


async def test_x6_a_url_that_an_earlier_version_has_queued_is_fetched(fetching: Fetching) -> None:
    """It has it wait for a decoder, in which workers of that version fetch it too."""
    redis: Any = fetching.world.redis
    ids = await fetching.submits("shop", ["a.example"] * 3)
    before = await redis.zrange("imgsvc:line:fetch:shop:a.example:80", 0, -1, withscores=True)
    await redis.delete(*await fetching.keys())
    for name, score in before[:2]:
        await redis.zadd("imgsvc:waiting", {name: 1})
        await redis.zadd("imgsvc:line:normal:shop", {name: score})
    await redis.zadd("imgsvc:turns:normal", {"shop": 0})
    delayed = before[2][0]
    await redis.zadd("imgsvc:jobs", {delayed: 1})  # after a host did not answer
    assert await fetching.queue.claim("w1", 1) == []
    assert {fetch.id for fetch in await fetching.claims()} == set(ids)


async def test_x6_the_fetch_of_an_earlier_versions_worker_that_died_is_made_again(fetching: Fetching) -> None:
    redis: Any = fetching.world.redis
    (upload_id,) = await fetching.submits("shop", ["a.example"])
    await redis.delete(*await fetching.keys())
    fields = {"status": "PROGRESS", "attempt": 1, "deliveries": 1, "lease": "old:1", "started_at": 1}
    await redis.hset(f"imgsvc:upload:{upload_id}", mapping=fields)
    await redis.zadd("imgsvc:jobs", {upload_id: 1})
    assert await fetching.queue.claim("w1", 1) == []
    (fetch,) = await fetching.claims()
    assert (fetch.id, fetch.attempt, fetch.lapsed) == (upload_id, 2, "old:1")
    assert await redis.zcard("imgsvc:jobs") == 0


async def test_x6_workers_of_earlier_versions_see_nothing_of_a_fetch(fetching: Fetching) -> None:
    await fetching.submits("shop", ["a.example"])
    redis = fetching.world.redis
    seen = ("waiting", "line:normal:shop", "turns:normal", "turns:low", "jobs", "derivations", "queue")
    assert await redis.exists(*(f"imgsvc:{name}" for name in seen)) == 0
