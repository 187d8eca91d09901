"""Derivations in the queue: one at a time, none half done, and no name of a file that stands for two contents."""

import asyncio
from dataclasses import replace
from time import time
from typing import Any, cast
from uuid import uuid4

import pytest

from imgsvc.domain.states import Status
from imgsvc.jobs import derived
from imgsvc.jobs.files import revision_of
from imgsvc.jobs.queue import MAX_DELIVERIES, Queue
from imgsvc.jobs.record import Source
from imgsvc.jobs.types import Admission, Cancelled, Obsolete, Query, Reply, SweepItem
from tests.support.derivations import (
    CARD,
    FAILURE,
    LASTING,
    NEW,
    OLD,
    begun,
    derive,
    made,
    obsolete,
    record_of,
    succeeded,
)
from tests.support.service import Servers, settings_of, until
from tests.support.submissions import submission
from tests.support.world import World


async def test_a_derivation_takes_the_place_of_its_variants_in_one_step(world: World) -> None:
    claim = await begun(world)
    assert (claim.revision, claim.attempt) == (2, 1)
    before = await record_of(world, claim.id)
    assert (before.status, before.progress, before.success, before.done) == (Status.SUCCESS, 100, OLD, False)
    await world.queue.progress(claim, 40, "encode:thumbnail")
    under_way = (await record_of(world, claim.id)).derivation
    assert under_way
    assert (under_way.revision, under_way.status, under_way.progress) == (2, Status.PROGRESS, 40)
    assert (under_way.step, [variant.name for variant in under_way.variants]) == ("encode:thumbnail", ["thumbnail"])
    assert await world.queue.finish(claim, await made(world, claim))
    after = await record_of(world, claim.id)
    assert after.done
    assert after.derivation
    assert (after.derivation.status, after.derivation.progress) == (Status.SUCCESS, 100)
    assert (after.status, after.attempt, after.finished_at) == (Status.SUCCESS, 1, before.finished_at)
    assert after.success
    assert after.success.files == (OLD.files[0], NEW.files[0])
    assert after.success.warnings == NEW.warnings
    assert after.keys(after.success.files)[1] == f"processed/{claim.id}/a_thumbnail.2.webp"
    assert await obsolete(world) == [f"processed/{claim.id}/a_thumbnail.jpeg"]
    assert await world.queue.obsolete(5) == [], "it is served for a day"
    assert await world.queue.is_replaced(f"processed/{claim.id}/a_thumbnail.jpeg")
    assert (await world.queue.stats()).queued == 0
    assert not await world.queue.finish(claim, FAILURE), "it ends once"


async def test_q25_an_upload_has_one_derivation_at_a_time(world: World) -> None:
    upload_id = await succeeded(world)
    assert await derive(world, upload_id) is Admission.RESERVED
    assert await derive(world, upload_id) is Admission.CONFLICT
    await world.claimed()
    assert await derive(world, upload_id) is Admission.CONFLICT
    assert (await world.queue.stats()).queued == 1


async def test_only_what_has_succeeded_is_derived(world: World) -> None:
    upload_id = await world.submitted()
    assert await derive(world, upload_id) is Admission.CONFLICT
    claim = await world.claimed()
    assert await derive(world, upload_id) is Admission.CONFLICT
    record = await record_of(world, upload_id)
    await world.queue.finish(claim, FAILURE)
    assert await derive(world, upload_id) is Admission.CONFLICT
    answer = await world.queue.derive(record, record.options, ["thumbnail"])
    assert answer is not None
    assert answer.admission is Admission.CHANGED
    assert await world.queue.derive(replace(record, owner="other"), record.options, ["thumbnail"]) is None


async def test_of_two_changes_that_were_decided_on_at_once_one_is_made(world: World) -> None:
    upload_id = await succeeded(world)
    record = await record_of(world, upload_id)
    wanted = [replace(record.options, variants=(*record.options.variants, replace(CARD, name=name))) for name in "ab"]
    answers = await asyncio.gather(*(world.queue.derive(record, each, each.variants[-1].name) for each in wanted))
    assert sorted(answer.admission.name for answer in answers if answer) == ["CHANGED", "RESERVED"]
    claim = await world.claimed()
    assert await world.queue.change(record, record.options) is Admission.CHANGED
    assert await world.queue.change(await record_of(world, upload_id), record.options) is Admission.CONFLICT
    assert await world.queue.finish(claim, FAILURE)
    assert await world.queue.change(await record_of(world, upload_id), wanted[0]) is Admission.RESERVED
    assert (await record_of(world, upload_id)).options == wanted[0]
    assert await world.queue.change(replace(record, owner="other"), record.options) is None


async def test_options_change_with_the_files_and_a_repeated_upload_is_still_known_as_one(world: World) -> None:
    before = (*submission("").options.variants, CARD)
    claim = await begun(world, variants=before, preset="custom")
    record = await record_of(world, claim.id)
    assert record.options == submission(claim.id).options
    assert record.derivation
    assert record.derivation.options.variants == before
    assert await world.queue.finish(claim, await made(world, claim))
    after = await record_of(world, claim.id)
    assert (after.options.variants, after.options.preset) == (before, "custom")
    assert after.derivation
    assert after.derivation.options == after.options
    assert after.submission == submission(claim.id)


async def test_a_derivation_that_fails_changes_nothing_and_its_retry_has_names_of_its_own(world: World) -> None:
    claim = await begun(world, "card", variants=(CARD,))
    before = await record_of(world, claim.id)
    assert await world.queue.finish(claim, FAILURE)
    after = await record_of(world, claim.id)
    assert (after.options, after.success, after.status) == (before.options, OLD, Status.SUCCESS)
    assert after.derivation
    assert after.derivation.status == Status.FAILURE
    assert after.derivation.error == {"code": "decode_failed", "message": "broken"}
    (member,) = await obsolete(world)
    assert Obsolete(member).of_revision == (claim.id, 2)
    assert await world.queue.retry(claim.id)
    again = await world.claimed()
    assert (again.revision, again.attempt) == (3, 1)
    record = derived.under_way(await record_of(world, claim.id), 3)
    assert record
    assert (record.options.variants, record.attempt) == ((CARD,), 1), "it makes what the first one was to make"
    assert not await world.queue.finish(claim, await made(world, again)), "the first one is over"
    assert await world.queue.finish(again, await made(world, again))
    assert (await record_of(world, claim.id)).options.variants == (CARD,)
    assert await world.queue.retry(claim.id) is not None
    assert (await record_of(world, claim.id)).done, "what has succeeded is not retried"


async def test_q27_a_lapsed_lease_goes_to_another_worker_with_the_same_revision(fleeting: World) -> None:
    first = await begun(fleeting)
    second = await fleeting.lapsed("w2")
    assert (second.lapsed, second.revision, second.attempt) == (first.token, 2, 2)
    assert not await fleeting.queue.finish(first, await made(fleeting, first))
    assert await obsolete(fleeting) == [], "the other one stores the same"
    assert await fleeting.queue.release(second)
    third = await fleeting.claimed("w3")
    assert await fleeting.queue.finish(third, await made(fleeting, third))


async def test_a_derivation_that_kills_its_workers_is_given_up(fleeting: World) -> None:
    claim, given_up = await begun(fleeting), list[str]()
    await cast("Any", fleeting.redis).hset(f"imgsvc:upload:{claim.id}", "deliveries", MAX_DELIVERIES)

    async def ended() -> bool:
        await fleeting.queue.claim("w2", 5, given_up.append)
        return bool(given_up)

    await until(ended)
    record = await record_of(fleeting, claim.id)
    assert record.derivation
    assert record.derivation.error
    assert (record.derivation.error["code"], record.failure, record.success) == ("attempts_exhausted", None, OLD)
    assert await obsolete(fleeting)


async def test_q25_a_cancelled_derivation_leaves_the_upload_as_it_was(world: World) -> None:
    claim = await begun(world)
    signals = world.queue.signals()
    assert await anext(signals) is None  # listening
    assert await world.queue.cancel(claim.id, "other") is None
    assert await world.queue.cancel(claim.id) is Cancelled.DERIVATION
    assert await anext(signals) == claim.id
    await signals.aclose()
    assert not await world.queue.release(claim)
    record = await record_of(world, claim.id)
    assert (record.status, record.success, record.done) == (Status.SUCCESS, OLD, True)
    assert record.derivation
    assert record.derivation.status == Status.CANCELLED
    assert await world.redis.zscore("imgsvc:sweep", claim.id) is None, "its files are not cleared"
    assert {Obsolete(member).of_revision for member in await obsolete(world)} == {(claim.id, 2)}
    assert await world.queue.cancel(claim.id) is Cancelled.NOTHING
    assert (await world.queue.stats()).queued == 0


async def test_what_a_derivation_may_have_stored_is_looked_for_until_nobody_can_store_more(world: World) -> None:
    claim = await begun(world)
    await world.queue.cancel(claim.id)
    (member,) = await obsolete(world)
    assert await world.queue.obsolete(5) == [], "most that is late comes within seconds"
    await world.redis.zadd("imgsvc:obsolete", {member: 1})
    (item,) = await world.queue.obsolete(5)
    assert await world.queue.obsolete(5) == [], "it is one sweeper's for a minute"
    await world.queue.ack_obsolete(item)
    again_ms = await world.redis.zscore("imgsvc:obsolete", member)
    assert again_ms == int(member.rpartition(":")[2]) > 1000 * time()
    over = f"{claim.id}:2:1"
    await world.redis.zadd("imgsvc:obsolete", {over: 1})
    await world.queue.ack_obsolete(Obsolete(over))
    assert over not in await obsolete(world)


async def test_q25_a_delete_wins_over_a_derivation(world: World) -> None:
    claim = await begun(world)
    outcome = await made(world, claim)
    assert await world.queue.delete(claim.id)
    assert not await world.queue.finish(claim, outcome)
    assert await world.queue.get(claim.id) is None
    assert await world.queue.claim("w1", 5) == []
    assert await world.redis.zscore("imgsvc:settling", claim.id), "files that come late are cleared with the rest"
    assert await obsolete(world) == []
    assert (await world.queue.stats()).queued == 0


async def test_r9_an_upload_keeps_its_files_where_redis_has_lost_its_derivation(world: World) -> None:
    claim = await begun(world)
    outcome = await made(world, claim)
    await world.redis.flushdb()
    assert not await world.queue.finish(claim, outcome)
    assert await world.queue.sweep(5) == []
    assert await world.redis.zcard("imgsvc:sweep") == 0
    assert await obsolete(world) == []


async def test_q25_an_expiry_wins_over_a_derivation(world: World) -> None:
    upload_id = await succeeded(world, expires_in=60)
    await derive(world, upload_id)
    claim = await world.claimed()
    outcome = await made(world, claim)
    await cast("Any", world.redis).hset(f"imgsvc:upload:{upload_id}", "expires_at", 1)
    await world.redis.zadd("imgsvc:sweep", {upload_id: 1})
    assert await world.queue.sweep(5) == [SweepItem(upload_id, with_original=True)]
    assert not await world.queue.finish(claim, outcome)
    assert {Obsolete(member).of_revision for member in await obsolete(world)} == {(upload_id, 2)}
    assert await world.queue.retry(upload_id) is not None
    assert await derive(world, upload_id) is Admission.CONFLICT
    assert await world.queue.claim("w1", 5) == []


async def test_q26_what_was_swept_too_early_is_swept_again(world: World) -> None:
    """By a sweeper of a version that knows no derivations, and does not stop them."""
    claim = await begun(world)
    await cast("Any", world.redis).hset(f"imgsvc:upload:{claim.id}", "expires_at", 1)
    assert await world.queue.finish(claim, await made(world, claim))
    assert await world.redis.zscore("imgsvc:sweep", claim.id)


async def test_a_record_outlives_its_derivation(world: World) -> None:
    upload_id = await succeeded(world)
    key, listed = f"imgsvc:upload:{upload_id}", "imgsvc:list:SUCCESS:"
    assert await world.redis.ttl(key) > 0
    await derive(world, upload_id)
    assert await world.redis.ttl(key) == -1
    await world.redis.delete(listed)  # its last job but this one ended long ago
    claim = await world.claimed()
    assert await world.queue.finish(claim, await made(world, claim))
    assert await world.redis.ttl(key) > 0
    page = await world.queue.page(Query(10, ""))
    assert [record.id for record in page.records] == [upload_id]


async def test_q26_workers_of_versions_without_derivations_find_none(world: World) -> None:
    claim = await begun(world)
    assert await world.redis.zrange("imgsvc:jobs", 0, -1) == []
    await world.queue.release(claim)
    assert await world.redis.zrange("imgsvc:jobs", 0, -1) == []
    await world.redis.zadd("imgsvc:jobs", {claim.id: 1})  # a stray entry is dropped, and the derivation is not
    (again,) = await world.queue.claim("w2", 5)
    assert again.revision == 2
    assert await world.queue.claim("w2", 5) == []
    assert await world.redis.zrange("imgsvc:jobs", 0, -1) == []


async def test_jobs_and_derivations_take_turns_by_their_time(world: World) -> None:
    earlier = await succeeded(world)
    await derive(world, earlier)
    await asyncio.sleep(0.002)
    later = await world.submitted()
    assert [claim.id for claim in await world.queue.claim("w1", 1)] == [earlier]
    assert [claim.id for claim in await world.queue.claim("w1", 1)] == [later]


@pytest.mark.parametrize(
    ("setting", "refused"), [("RATE_LIMIT", Admission.RATE_LIMITED), ("QUOTA_BYTES", Admission.QUOTA_EXCEEDED)]
)
async def test_a_derivation_counts_as_an_upload_of_its_original(
    servers: Servers, setting: str, refused: Admission
) -> None:
    limits = {"RATE_LIMIT": "2", "QUOTA_BYTES": "20000"}
    bound = {f"IMGSVC_{setting}": limits[setting], "IMGSVC_MAX_UPLOAD_BYTES": "9000"}
    async with Queue.open(settings_of(servers.environment() | LASTING | bound)) as queue:
        world = World(queue, cast("Any", None))
        upload_id = str(uuid4())
        await queue.reserve(upload_id, announced=9000)
        await queue.submit(replace(submission(upload_id), source=Source(9000, "ab", "jpeg")))
        assert await queue.finish(await world.claimed(), OLD)
        assert await derive(world, upload_id) is Admission.RESERVED
        claim = await world.claimed()
        assert await queue.finish(claim, await made(world, claim))
        before = await record_of(world, upload_id)
        assert await derive(world, upload_id) is refused
        assert await record_of(world, upload_id) == before


async def test_a_derivations_end_is_delivered_beside_that_of_the_job(world: World) -> None:
    upload_id = await succeeded(world, webhook_url="http://127.0.0.1/")
    await derive(world, upload_id)
    claim = await world.claimed()
    assert await world.queue.finish(claim, await made(world, claim))
    of_the_job, of_the_derivation = await world.queue.deliveries.claim(5)
    assert (of_the_job.of_derivation, of_the_derivation.of_derivation) == (False, True)
    assert await world.queue.deliveries.ack(of_the_derivation, "delivered", Reply(200))
    assert await world.queue.deliveries.ack(of_the_job, "gave_up", Reply(410))
    webhook = (await record_of(world, upload_id)).webhook
    assert webhook
    assert (webhook.state, webhook.last_status) == ("delivered", 200)
    assert await derive(world, upload_id) is Admission.RESERVED
    await world.queue.cancel(upload_id)
    assert await world.queue.deliveries.claim(5) == [], "nothing has changed"
    await world.queue.retry(upload_id)
    await world.queue.finish(await world.claimed(), FAILURE)
    assert await world.queue.delete(upload_id)
    assert await world.queue.deliveries.claim(5) == []


def test_a_record_says_which_files_are_whose() -> None:
    keys = [file.key("an-id", "my.2.photo.jpg") for file in (*OLD.files, *NEW.files)]
    assert keys[1:] == ["processed/an-id/my.2.photo_thumbnail.jpeg", "processed/an-id/my.2.photo_thumbnail.2.webp"]
    assert [revision_of(key) for key in keys] == [1, 1, 2]
