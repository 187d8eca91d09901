"""What operators ask of the queue: counts of the last hour, uploads of all owners, and what a job went through."""

import asyncio
from collections.abc import Iterable
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from imgsvc.domain.options import Options
from imgsvc.domain.problems import JOB_FAILURES
from imgsvc.domain.states import Status
from imgsvc.jobs.bulk import Filter
from imgsvc.jobs.overview import Note, Overview, Story
from imgsvc.jobs.record import Failure, Source, Submission, Success
from imgsvc.jobs.types import Position
from tests.support.world import World

SUCCESS = Success(100, 75, 1, ())
DECODE, STORAGE = Failure("decode_failed", "Damaged."), Failure("storage_unavailable", "Away.")


async def submitted(world: World, owner: str = "", filename: str = "photo.jpg") -> str:
    upload_id = str(uuid4())
    await world.queue.reserve(upload_id, owner=owner)
    await world.queue.submit(Submission(upload_id, Options(filename=filename), Source(9, "ab", "jpeg")))
    await asyncio.sleep(0.002)  # order is by the millisecond
    return upload_id


async def ended(world: World, outcome: Success | Failure, owner: str = "", filename: str = "photo.jpg") -> str:
    upload_id = await submitted(world, owner, filename)
    claim = await world.claimed()
    assert claim.id == upload_id
    assert await world.queue.finish(claim, outcome)
    return upload_id


async def overview(world: World) -> Overview:
    return await world.queue.administration.overview()


async def found(world: World, where: Filter = Filter()) -> list[str]:  # noqa: B008 (it is frozen)
    matches = await world.queue.administration.find(where, 1000)
    assert matches.last is None
    return [match.id for match in matches.found]


# The last hour


async def test_jobs_are_counted_by_how_they_ended_in_the_minute_in_which_they_did(world: World) -> None:
    for outcome in (SUCCESS, SUCCESS, DECODE, STORAGE):
        await ended(world, outcome)
    waits = await submitted(world)
    await world.queue.cancel(waits)
    await world.queue.ack_sweep(waits)
    await world.queue.retry(waits)
    await world.queue.delete(waits)
    minutes = (await overview(world)).minutes
    assert len(minutes) == 60
    assert sum(minute.accepted for minute in minutes) == 6
    assert sum(minute.done for minute in minutes) == 2
    assert sum(minute.cancelled for minute in minutes) == 2, "one of them was deleted before it had ended"
    assert sum(minute.failed.get("decode_failed", 0) for minute in minutes) == 1
    assert sum(minute.failed.get("storage_unavailable", 0) for minute in minutes) == 1
    assert sum(minute.ended for minute in minutes) == 6


async def test_what_happened_more_than_an_hour_ago_is_neither_shown_nor_kept(world: World) -> None:
    await ended(world, SUCCESS)
    (key,) = await world.redis.keys("imgsvc:minute:*")
    assert 3500 < await world.redis.ttl(key) <= 3660
    number = int(key.rpartition(b":")[2])
    for ago in (59, 60, 61):
        await hset(world.redis, f"imgsvc:minute:{number - ago}", "accepted", 100)
    # the minute may have changed meanwhile
    assert sum(minute.accepted for minute in (await overview(world)).minutes) in {101, 1}


async def test_an_hour_of_counts_takes_less_than_110_kb_however_jobs_end(world: World) -> None:
    done = [f"done:{number}" for number in range(80)]  # up to a quarter of an hour
    counts = ["accepted", "cancelled", *(f"failed:{code}" for code in JOB_FAILURES), *done]
    await world.redis.hset("imgsvc:minute:0", mapping=dict.fromkeys(counts, "12345"))  # pyright: ignore[reportGeneralTypeIssues]
    size = await world.redis.memory_usage("imgsvc:minute:0", samples=0)
    print(f"a minute in which everything has happened takes {size} bytes")
    assert size is not None
    assert 61 * size < 110_000


async def hset(redis: Redis, key: str, field: str, value: int) -> None:
    await redis.hset(key, field, str(value))  # pyright: ignore[reportGeneralTypeIssues]


async def test_percentiles_are_those_of_the_jobs_within_a_tenth(world: World) -> None:
    for ago_ms in [100] * 18 + [4000, 20_000]:
        upload_id = await submitted(world)
        claim = await world.claimed()
        started = int(await world.redis.hget(f"imgsvc:upload:{upload_id}", "started_at") or 0)  # pyright: ignore[reportGeneralTypeIssues]
        await hset(world.redis, f"imgsvc:upload:{upload_id}", "started_at", started - ago_ms)
        await world.queue.finish(claim, SUCCESS)
    seen = await overview(world)
    assert 90 <= (seen.duration_ms(0.5) or 0) < 500, "and what this machine took"
    assert 3600 <= (seen.duration_ms(0.95) or 0) < 6000
    assert Overview(0, 0, 0, 0, 0, 0, 0, {}, (), ()).duration_ms(0.5) is None


async def test_counts_of_many_workers_at_once_add_up(world: World) -> None:
    ids = [await submitted(world) for _ in range(40)]

    async def work(name: str) -> int:
        done = 0
        while claims := await world.queue.claim(name, 1):
            done += await world.queue.finish(claims[0], SUCCESS)
        return done

    assert sum(await asyncio.gather(*(work(f"w{number}") for number in range(8)))) == len(ids)
    assert sum(minute.done for minute in (await overview(world)).minutes) == len(ids)


async def test_it_shows_what_each_worker_is_at_and_how_many_wait_in_each_lane(world: World) -> None:
    upload_id = await submitted(world, "shop", "at-work.jpg")
    low = str(uuid4())
    await world.queue.reserve(low, owner="blog")
    await world.queue.submit(Submission(low, Options(filename="a.jpg", priority="low"), Source(9, "ab", "jpeg")))
    claim = await world.claimed("w1")
    await world.queue.progress(claim, 40, "decode")
    seen = await overview(world)
    (leased,) = seen.leases
    assert (leased.id, leased.worker, leased.owner, leased.filename) == (upload_id, "w1", "shop", "at-work.jpg")
    assert (leased.step, leased.progress, leased.attempt, leased.revision) == ("decode", 40, 1, None)
    assert (seen.waiting, seen.low, seen.leased, seen.delayed) == (1, 1, 1, 0)


# Uploads of all owners


async def test_all_owners_uploads_are_found_the_newest_first(world: World) -> None:
    ids = [await submitted(world, owner) for owner in ("shop", "blog", "", "shop")]
    assert await found(world) == ids[::-1]
    assert await found(world, Filter(owner="shop")) == [ids[3], ids[0]]
    assert await found(world, Filter(owner="")) == [ids[2]]
    assert await found(world, Filter(owner="nobody")) == []


async def test_they_are_found_by_status_code_owner_text_and_time(world: World) -> None:
    done = await ended(world, SUCCESS, "shop", "Holiday-ÄB.jpg")
    damaged = await ended(world, DECODE, "shop", "b.jpg")
    away = await ended(world, STORAGE, "blog", "holiday.png")
    stopped = await submitted(world, "blog")
    await world.queue.cancel(stopped, "blog")
    waits = await submitted(world, "blog")
    for where, ids in (
        (Filter((Status.SUCCESS,)), [done]),
        (Filter((Status.FAILURE,)), [away, damaged]),
        (Filter((Status.CANCELLED,)), [stopped]),
        (Filter((Status.PENDING,)), [waits]),
        (Filter((Status.FAILURE, Status.CANCELLED)), [stopped, away, damaged]),
        (Filter((Status.SUCCESS,), owner="shop"), [done]),
        (Filter((Status.FAILURE,), owner="shop"), [damaged]),
        (Filter((Status.PENDING,), owner="shop"), []),
        (Filter(code="decode_failed"), [damaged]),
        (Filter(code="decode_failed", owner="blog"), []),
        (Filter(code="decode"), []),
        (Filter(text="HOLIDAY"), [away, done]),
        (Filter(text="äb"), []),  # only ASCII letters may be large or small
        (Filter(text="ÄB"), [done]),
        (Filter(text=damaged[:13]), [damaged]),
        (Filter(text=damaged[3:20]), []),
        (Filter(text="%a+"), []),
        (Filter(text="[("), []),
    ):
        assert await found(world, where) == ids, where
    moment = {upload_id: (await world.queue.read([upload_id]))[0] for upload_id in (away, stopped)}
    at = {upload_id: int(row[b"created_at"]) for upload_id, row in moment.items()}
    assert await found(world, Filter(created_before=at[away])) == [damaged, done]
    assert await found(world, Filter(created_after=at[away], created_before=at[stopped])) == [away]


async def test_pages_repeat_and_skip_none_whatever_comes_and_goes_in_between(world: World) -> None:
    ids = [await ended(world, DECODE) for _ in range(9)]
    pages: list[str] = []
    after: Position | None = None
    while True:
        matches = await world.queue.administration.find(Filter((Status.FAILURE,)), 2, after)
        pages += [match.id for match in matches.found]
        if matches.last is None:
            break
        after = matches.last
        await ended(world, DECODE)  # a newer one
        await world.queue.retry(pages[-1])  # which is no failure any more
        await world.queue.claim("w1", 10)
    assert pages == ids[::-1]


async def test_a_page_that_ends_within_one_millisecond_goes_on_within_it(world: World) -> None:
    ids = sorted([await submitted(world) for _ in range(7)], reverse=True)
    await world.redis.zadd("imgsvc:all", dict.fromkeys(ids, 1_700_000_000_000))
    pages: list[str] = []
    after = None
    for _ in range(4):
        matches = await world.queue.administration.find(Filter(), 2, after)
        pages += [match.id for match in matches.found]
        after = matches.last
    assert (pages, after) == (ids, None)


async def test_what_is_deleted_retried_or_expired_is_not_found(world: World) -> None:
    deleted, retried, expired = [await ended(world, DECODE) for _ in range(3)]
    await world.queue.delete(deleted)
    await world.queue.retry(retried)
    await world.redis.delete(f"imgsvc:upload:{expired}")
    assert await found(world, Filter((Status.FAILURE,))) == []
    assert await found(world) == [retried]
    await world.queue.delete(retried)
    assert await names(world, "imgsvc:all*") == {"imgsvc:all", "imgsvc:all:FAILURE"}
    for name in ("imgsvc:all", "imgsvc:all:FAILURE"):
        await world.redis.zadd(name, {expired: 1_700_000_000_000})  # its record was kept for as long as it is to be
    skips, is_more = await world.queue.administration.forget()
    assert (list(skips), is_more) == ([0, 0, 0], False)
    assert await names(world, "imgsvc:all*") == set()


async def test_records_that_are_still_there_are_not_forgotten_and_do_not_hide_others(world: World) -> None:
    kept = [await submitted(world) for _ in range(3)]
    gone = [str(uuid4()) for _ in range(900)]
    old = 1_700_000_000_000
    await world.redis.zadd("imgsvc:all", {upload_id: old + at for at, upload_id in enumerate([*kept, *gone])})
    skipped, is_more = (0, 0, 0), True
    while is_more:
        skipped, is_more = await world.queue.administration.forget(skipped)
    await world.queue.administration.forget(skipped)
    assert set(await world.redis.zrange("imgsvc:all", 0, -1)) == {upload_id.encode() for upload_id in kept}


async def test_a_failed_derivation_is_found_as_a_failure_until_it_is_made_again(world: World) -> None:
    upload_id = await ended(world, SUCCESS)
    record = await world.queue.get(upload_id)
    assert record
    await world.queue.derive(record, record.options, ["thumbnail"])
    await world.queue.finish(await world.claimed(), DECODE)
    assert await found(world, Filter((Status.FAILURE,))) == [upload_id]
    assert await found(world, Filter(code="decode_failed")) == [upload_id]
    await world.queue.retry(upload_id)
    assert await found(world, Filter((Status.FAILURE,))) == []
    assert await found(world, Filter((Status.PENDING,))) == [upload_id]


async def names(world: World, pattern: str) -> set[str]:
    return {key.decode() for key in await world.redis.keys(pattern)}


async def test_a1_no_script_of_a_search_looks_at_more_than_some_hundred_uploads(world: World) -> None:
    ids = [str(uuid4()) for _ in range(25_000)]
    for at in range(0, len(ids), 1000):
        async with world.redis.pipeline(transaction=False) as pipe:
            for upload_id in ids[at : at + 1000]:
                pipe.hset(f"imgsvc:upload:{upload_id}", mapping={"status": "SUCCESS", "filename": "a.jpg"})
            pipe.zadd("imgsvc:all", dict.fromkeys(ids[at : at + 1000], at))
            await pipe.execute()
    before = await calls(world.redis)
    matches = await world.queue.administration.find(Filter(text="nowhere"), 50)
    scripts, looked_at = (after - then for after, then in zip(await calls(world.redis), before, strict=True))
    assert matches.last is not None, "and the search can go on"
    assert matches.seen <= 10_000
    assert looked_at <= matches.seen + scripts
    assert looked_at / scripts <= 251, "and each is one HGET, in microseconds"
    rest = await world.queue.administration.find(Filter(text="nowhere"), 50, matches.last)
    assert rest.seen == 10_000


async def calls(redis: Redis) -> tuple[int, int]:
    """Scripts, and records they looked at."""
    stats = await redis.info("commandstats")
    scripts = sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))
    return scripts, stats.get("cmdstat_hget", {"calls": 0})["calls"] + stats["cmdstat_hmget"]["calls"]


# What one job went through


def events(notes: Iterable[Note]) -> list[tuple[str, str | None, int | None, str | None]]:
    return [(note.event, note.worker, note.attempt, note.detail) for note in notes]


async def story(world: World, upload_id: str) -> Story:
    (values,) = await world.queue.read([upload_id])
    return Story.from_hash(values)


async def test_the_attempts_that_came_to_nothing_are_noted_with_worker_step_and_request(fleeting: World) -> None:
    upload_id = await submitted(fleeting)
    claim = await fleeting.claimed("w1")
    await fleeting.queue.progress(claim, 40, "decode")
    claim = await fleeting.lapsed("w2")
    await fleeting.queue.progress(claim, 60, "encode:card")
    await fleeting.queue.release(claim)
    claim = await fleeting.claimed("w3")
    await fleeting.queue.finish(claim, DECODE)
    await fleeting.queue.retry(upload_id)
    await fleeting.queue.cancel(upload_id)
    await fleeting.queue.ack_sweep(upload_id)
    await fleeting.queue.retry(upload_id)
    await fleeting.queue.finish(await fleeting.claimed("w4"), SUCCESS)
    told = await story(fleeting, upload_id)
    assert told.worker == "w4"
    assert events(told.notes) == [
        ("lapsed", "w1", 1, "decode"),
        ("released", "w2", 2, "encode:card"),
        ("failed", "w3", 3, "decode_failed"),
        ("cancelled", None, None, None),
    ]


async def test_a_job_that_went_well_is_told_without_a_note(world: World) -> None:
    upload_id = await ended(world, SUCCESS)
    told = await story(world, upload_id)
    assert (told.worker, told.notes) == ("w1", ())
    (values,) = await world.queue.read([upload_id])
    assert b"history" not in values


async def test_the_newest_twenty_notes_are_kept(world: World) -> None:
    upload_id = await submitted(world)
    for number in range(25):
        claim = await world.claimed(f"w{number}")
        assert claim.id == upload_id
        await world.queue.release(claim)
    told = await story(world, upload_id)
    assert [note.worker for note in told.notes] == [f"w{number}" for number in range(5, 25)]
    (values,) = await world.queue.read([upload_id])
    assert len(values[b"history"]) < 2000


@pytest.mark.parametrize("values", [{}, {b"history": b""}, {b"lease": b"w:1", b"request_id": b""}])
async def test_records_of_earlier_versions_have_a_story_too(values: dict[bytes, bytes]) -> None:
    assert Story.from_hash(values).notes == ()
    assert Story.from_hash(values).request_id is None
