"""What the queue guarantees: one owner a job, one end, nothing lost, nothing half done."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from imgsvc.domain.model import Placeholder
from imgsvc.domain.states import Status
from imgsvc.jobs.exchange import QueueUnavailableError
from imgsvc.jobs.files import File
from imgsvc.jobs.queue import MAX_DELIVERIES, Queue
from imgsvc.jobs.record import Failure, Source, Success
from imgsvc.jobs.types import Admission, Fetch, WorkerInfo
from tests.support.service import Servers, settings_of, until
from tests.support.submissions import submission
from tests.support.world import World

SUCCESS = Success(4, 3, 1, (File("thumbnail", 4, 3, 9, "ab", "jpeg"),))
PLACEHOLDER = Placeholder("YJqGPQw7sFlslqhFafSE+Q6oJ1h2iHB2Rw==", "#7a6b52")
FAILURE = Failure("decode_failed", "broken")
RENEWED_S = 3.0
"""One for a test that must renew it in time, on a busy machine too."""


async def test_a_submitted_upload_is_pending_and_is_claimed_once(world: World) -> None:
    upload_id = await world.submitted()
    assert await world.status(upload_id) == Status.PENDING
    claims = await asyncio.gather(*(world.queue.claim(f"w{i}", 5) for i in range(8)))
    assert [claim.id for batch in claims for claim in batch] == [upload_id]
    record = await world.queue.get(upload_id)
    assert record is not None
    assert (record.status, record.attempt, record.options.metadata) == (Status.PROGRESS, 1, {"k": "v"})


async def test_jobs_are_claimed_oldest_first(world: World) -> None:
    first, second = await world.submitted(), None
    await asyncio.sleep(0.002)  # order is by the millisecond
    second = await world.submitted()
    assert [claim.id for claim in await world.queue.claim("w1", 2)] == [first, second]


async def test_every_step_may_be_repeated(world: World) -> None:
    upload_id = str(uuid4())
    for _ in range(2):
        await world.queue.reserve(upload_id)
    for _ in range(2):
        await world.queue.submit(submission(upload_id))
    assert (await world.queue.stats()).queued == 1
    claim = await world.claimed()
    await world.queue.submit(submission(upload_id))  # its first answer was lost, say
    assert await world.status(upload_id) == Status.PROGRESS
    assert await world.queue.finish(claim, SUCCESS)
    assert not await world.queue.finish(claim, FAILURE)
    assert await world.status(upload_id) == Status.SUCCESS


async def test_without_its_reservation_an_upload_becomes_no_job(world: World) -> None:
    unknown, abandoned = str(uuid4()), str(uuid4())
    await world.queue.reserve(abandoned)
    await world.queue.abort(abandoned)
    for upload_id in (unknown, abandoned):
        with pytest.raises(QueueUnavailableError):
            await world.queue.submit(submission(upload_id))
        assert await world.queue.get(upload_id) is None
    assert (await world.queue.stats()).queued == 0
    await world.queue.ack_sweep(abandoned)


async def test_a_submitted_upload_that_its_client_was_refused_is_undone(world: World) -> None:
    upload_id = await world.submitted()
    await world.queue.abort(upload_id)
    assert await world.queue.claim("w1", 1) == []
    await world.queue.ack_sweep(upload_id)
    assert await world.redis.zscore("imgsvc:sweep", upload_id), "somebody may still write to it"
    await world.queue.ack_sweep(upload_id, is_final=True)
    assert not await world.redis.exists(f"imgsvc:upload:{upload_id}")
    assert await world.redis.zscore("imgsvc:sweep", upload_id) is None


async def test_a_lapsed_lease_goes_to_another_and_fences_its_first_owner(fleeting: World) -> None:
    upload_id = await fleeting.submitted()
    first = await fleeting.claimed("w1")
    second = await fleeting.lapsed("w2")
    assert second.id == upload_id
    assert not await fleeting.queue.finish(first, FAILURE)
    assert not await fleeting.queue.release(first)
    await fleeting.queue.progress(first, 99, "late")
    assert await fleeting.queue.renew(WorkerInfo("w1", "full"), {first.id: first.token}) == [upload_id]
    assert await fleeting.queue.finish(second, SUCCESS)
    record = await fleeting.queue.get(upload_id)
    assert record is not None
    assert (record.status, record.attempt, record.success, record.failure) == (Status.SUCCESS, 2, SUCCESS, None)


async def test_the_same_worker_that_claims_again_gets_another_token(fleeting: World) -> None:
    await fleeting.submitted()
    first = await fleeting.claimed("w1")
    second = await fleeting.lapsed("w1")
    assert first.token != second.token
    assert not await fleeting.queue.finish(first, FAILURE)
    assert await fleeting.queue.finish(second, SUCCESS)


async def test_a_lease_that_is_renewed_does_not_lapse(servers: Servers) -> None:
    async with World.open(servers, lease_s=RENEWED_S) as world:
        await world.submitted()
        claim = await world.claimed("w1")
        for _ in range(4):  # together longer than a lease
            await asyncio.sleep(RENEWED_S / 3)
            assert await world.queue.renew(WorkerInfo("w1", "full"), {claim.id: claim.token}) == []
            assert await world.queue.claim("w2", 1) == []
        assert await world.queue.finish(claim, SUCCESS)


async def test_claimed_jobs_stand_in_nobodys_way(world: World) -> None:
    for _ in range(20):
        await world.submitted()
    busy = await world.queue.claim("w1", 20)
    assert len(busy) == 20
    new = await world.submitted()
    assert [claim.id for claim in await world.queue.claim("w2", 1)] == [new]


async def test_a_released_job_spends_no_delivery_and_stays_in_progress(world: World) -> None:
    upload_id = await world.submitted()
    for _ in range(MAX_DELIVERIES + 3):
        claim = await world.claimed()
        assert await world.queue.release(claim)
        assert await world.status(upload_id) == Status.PROGRESS
    claim = await world.claimed()
    assert await world.queue.release(claim, delay_s=60)
    assert await world.queue.claim("w1", 1) == []
    await world.queue.delete(upload_id)


async def test_a_job_whose_workers_keep_dying_is_given_up(fleeting: World) -> None:
    upload_id = await fleeting.submitted()
    for number in range(MAX_DELIVERIES):
        assert (await fleeting.lapsed(f"w{number}")).id == upload_id

    given_up: list[str] = []

    async def ended() -> bool:
        assert await fleeting.queue.claim("w9", 1, given_up.append) == []
        return await fleeting.status(upload_id) == Status.FAILURE

    await until(ended)
    assert given_up == [upload_id], "told once, to be logged and counted"
    record = await fleeting.queue.get(upload_id)
    assert record is not None
    assert record.failure is not None
    assert (record.failure.code, record.attempt) == ("attempts_exhausted", MAX_DELIVERIES)


async def test_progress_never_falls(world: World) -> None:
    upload_id = await world.submitted()
    claim = await world.claimed()
    seen: list[int] = []
    for progress in (10, 60, 30):
        await world.queue.progress(claim, progress, "step")
        record = await world.queue.get(upload_id)
        assert record is not None
        seen.append(record.progress)
    assert seen == [10, 60, 60]


async def test_a_deleted_upload_is_taken_from_its_worker(world: World) -> None:
    upload_id = await world.submitted()
    claim = await world.claimed()
    signals = world.queue.signals()
    assert await anext(signals) is None  # listening
    assert await world.queue.delete(upload_id)
    assert await anext(signals) == upload_id
    await signals.aclose()
    assert not await world.queue.finish(claim, SUCCESS)
    assert await world.queue.get(upload_id) is None
    assert await world.queue.delete(upload_id), "repeating it is safe while the tombstone stands"
    assert not await world.queue.delete(str(uuid4()))


async def test_what_a_straggler_stored_behind_a_delete_is_swept(world: World) -> None:
    upload_id = await world.submitted()
    claim = await world.claimed()
    assert await world.queue.delete(upload_id)
    await world.redis.zrem("imgsvc:sweep", upload_id)  # the sweeper has been there
    assert not await world.queue.finish(claim, SUCCESS)
    assert await world.redis.zscore("imgsvc:sweep", upload_id), "it may have stored some since"


async def test_an_original_that_was_never_had_counts_as_its_record_alone(servers: Servers) -> None:
    most = 100_000
    bound = {"IMGSVC_QUOTA_BYTES": str(most), "IMGSVC_MAX_UPLOAD_BYTES": str(most - 2 * 4096)}
    async with Queue.open(settings_of(servers.environment() | bound)) as queue:

        async def admitted() -> str:
            upload_id = str(uuid4())
            reservation = await queue.reserve(upload_id, announced=most - 2 * 4096)
            assert reservation.admission == Admission.RESERVED
            await queue.submit(replace(submission(upload_id), source=None, url="http://localhost/"))
            return upload_id

        async def fetching() -> Fetch:
            (fetch,) = await queue.fetches.claim("w1", 1, (), print)
            return fetch

        fails = await admitted()
        claim = await fetching()
        assert await queue.finish(claim, Failure("fetch_failed", "gone"))
        await queue.delete(await admitted())
        retried = await queue.retry(fails)
        assert retried is not None
        assert retried.admission == Admission.RESERVED
        assert await queue.fetches.fetched(await fetching(), Source(50_000, "ab", "jpeg"))
        refused = await queue.reserve(str(uuid4()), announced=50_000)
        assert refused.admission == Admission.QUOTA_EXCEEDED, "the retry's does count"


async def test_a_queue_entry_without_an_upload_is_dropped(world: World) -> None:
    await world.submitted()
    await world.redis.zadd("imgsvc:jobs", {"nobody": 1})
    assert len(await world.queue.claim("w1", 5)) == 1
    assert (await world.queue.stats()).queued == 1


async def test_scripts_are_loaded_again_when_redis_forgot_them(world: World) -> None:
    await world.submitted()
    await world.redis.script_flush()
    assert len(await world.queue.claim("w1", 5)) == 1


async def test_a_redis_that_is_away_is_said_within_its_deadline() -> None:
    settings = settings_of({"IMGSVC_REDIS_URL": "redis://127.0.0.1:1/0"})
    async with Queue.open(settings) as queue:
        async with asyncio.timeout(2 * settings.redis_timeout_s):
            with pytest.raises(QueueUnavailableError):
                await queue.reserve(str(uuid4()))


async def test_a_record_costs_less_than_1600_bytes(world: World) -> None:
    files = tuple(File(name, 1024, 768, 146098, "a" * 64, "jpeg") for name in ("resized_compressed", "thumbnail"))
    upload_id = await world.submitted()
    await world.queue.finish(await world.claimed(), Success(2725, 2225, 1, files, PLACEHOLDER))
    size = await world.redis.memory_usage(f"imgsvc:upload:{upload_id}", samples=0)  # of all fields, not of some
    await world.redis.zadd("of the test", {str(uuid4()): 1_764_000_000_000 + at for at in range(1000)})
    listed = await world.redis.memory_usage("of the test", samples=0)
    await world.redis.delete("of the test")
    assert size is not None
    assert listed is not None
    print(f"a finished record takes {size} bytes in Redis, and {listed // 1000} on each of two lists")
    assert size + 2 * listed / 1000 < 1600


async def test_a_call_that_is_cancelled_ends_at_whatever_moment_that_is(world: World) -> None:
    """Or else a worker that is told to stop goes on renewing its leases, for ever and at nothing."""
    upload_id = await world.submitted()
    moment, is_under_way = 0, True
    while is_under_way:
        call = asyncio.create_task(world.queue.get(upload_id))
        for _ in range(moment):
            await asyncio.sleep(0)
        is_under_way = call.cancel()
        await asyncio.wait([call])
        assert call.cancelled() is is_under_way, f"after {moment} turns of the loop"
        moment += 1
    assert moment > 3
    assert await world.status(upload_id) == "PENDING", "no answer was left for another call to read"
