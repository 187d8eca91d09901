"""What the lease adapter promises of a job, with the queue's real scripts and work that does as a test says."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Outcome, Record
from imgsvc.jobs.types import Admission, Claim, WorkerInfo
from imgsvc.runtime.metrics import WorkerMetrics
from imgsvc.runtime.settings import Settings
from imgsvc.worker.lease import LeasedWorker
from tests.support.service import Servers, settings_of, until
from tests.test_queue import SUCCESS, submission

OTHER = replace(SUCCESS, width=99)
LONG_S = 60


def worker_of(queue: Queue, settings: Settings, perform: Callable[[Claim], Awaitable[Outcome]]) -> LeasedWorker:
    async def can_perform() -> bool:
        return True

    return LeasedWorker(queue, perform, can_perform, slots=2, sandbox="off", settings=settings, metrics=WorkerMetrics())


@asynccontextmanager
async def working(worker: LeasedWorker) -> AsyncGenerator[None]:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(worker.main())
        yield
        worker.stop()


async def submitted(queue: Queue) -> str:
    upload_id = str(uuid4())
    await queue.reserve(upload_id)
    await queue.submit(submission(upload_id))
    return upload_id


async def known(queue: Queue, upload_id: str) -> Record:
    record = await queue.get(upload_id)
    assert record is not None
    return record


async def ended(queue: Queue, upload_id: str) -> Record:
    async def done() -> bool:
        return (await known(queue, upload_id)).done

    await until(done)
    return await known(queue, upload_id)


async def begun_again(queue: Queue, upload_id: str) -> None:
    async def again() -> bool:
        return (await known(queue, upload_id)).attempt >= 2

    await until(again)


async def deaf() -> AsyncGenerator[None]:
    """A worker's subscription that says nothing."""
    await asyncio.Event().wait()
    yield


async def test_a_retry_is_never_ended_by_what_was_cancelled_before_it(
    monkeypatch: pytest.MonkeyPatch, servers: Servers
) -> None:
    """Not even where the worker did not hear of the cancel: the files that it stored until then are cleared."""
    settings = settings_of(servers.environment() | {"IMGSVC_LEASE_S": str(LONG_S)})
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def perform(_: Claim) -> Outcome:
        if begun.is_set():
            return OTHER
        begun.set()
        await go_on.wait()
        return SUCCESS

    async with Queue.open(settings) as queue:
        monkeypatch.setattr(queue, "signals", deaf)
        async with working(worker_of(queue, settings, perform)):
            upload_id = await submitted(queue)
            await begun.wait()
            assert await queue.cancel(upload_id)
            await queue.ack_sweep(upload_id)
            retried = await queue.retry(upload_id)
            assert retried is not None
            assert retried.admission is Admission.RESERVED
            await begun_again(queue, upload_id)
            go_on.set()
            assert (await ended(queue, upload_id)).success == OTHER


async def test_an_old_renewals_answer_takes_no_newer_lease_away(
    monkeypatch: pytest.MonkeyPatch, servers: Servers
) -> None:
    """Nobody else wanted the job whose lease had lapsed, and its worker goes on with it."""
    settings = settings_of(servers.environment() | {"IMGSVC_LEASE_S": "0.5"})
    begun, answered, jobs = asyncio.Event(), asyncio.Event(), list[Claim]()

    async def perform(claim: Claim) -> Outcome:
        jobs.append(claim)
        begun.set()
        await answered.wait()
        return SUCCESS

    async with Queue.open(settings) as queue:
        renew = queue.renew
        late: list[str] = []

        async def slow(worker: WorkerInfo, tokens: Mapping[str, str]) -> list[str]:
            if not tokens or answered.is_set():
                return await renew(worker, tokens)
            if late:
                return []  # these are lost on their way
            late.extend(tokens)
            await begun_again(queue, late[0])
            lost = await renew(worker, tokens)
            asyncio.get_running_loop().call_later(0.1, answered.set)
            return lost

        monkeypatch.setattr(queue, "renew", slow)
        async with working(worker_of(queue, settings, perform)):
            upload_id = await submitted(queue)
            await begun.wait()
            record = await ended(queue, upload_id)
    assert (record.success, len(jobs)) == (SUCCESS, 1)


async def test_a_job_that_an_earlier_version_queued_is_done_and_its_body_forgotten(servers: Servers) -> None:
    """It kept the job's body beside the record, where arq looks for it, and had no name of a request in the record."""
    settings = settings_of(servers.environment())

    async def perform(claim: Claim) -> Outcome:
        assert claim.request_id == ""
        return SUCCESS

    async with Queue.open(settings) as queue, Redis.from_url(settings.redis_url) as redis:
        upload_id = await submitted(queue)
        await cast("Any", redis).hdel(f"imgsvc:upload:{upload_id}", "request_id")
        await redis.set(f"arq:job:{upload_id}", b'{"f": "process", "a": [], "k": {}, "t": null, "et": 1}')
        async with working(worker_of(queue, settings, perform)):
            record = await ended(queue, upload_id)
        assert not await redis.exists(f"arq:job:{upload_id}")
    assert record.success == SUCCESS


async def test_a_worker_that_cannot_hear_any_more_ends_instead_of_going_on(
    monkeypatch: pytest.MonkeyPatch, servers: Servers
) -> None:
    settings = settings_of(servers.environment())

    async def perform(_: Claim) -> Outcome:
        return SUCCESS

    async def broken() -> AsyncGenerator[None]:
        raise LookupError("a bug")
        yield

    async with Queue.open(settings) as queue:
        monkeypatch.setattr(queue, "signals", broken)
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.timeout(10):
                await worker_of(queue, settings, perform).main()
    assert caught.group_contains(LookupError)
