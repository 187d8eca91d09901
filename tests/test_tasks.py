"""What a job does when something that it needs is away, and what the sweeper does then."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from time import time
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
import pytest_asyncio
from botocore.exceptions import ClientError
from redis.asyncio import Redis

from imgsvc.decoder.pool import DecoderStartError
from imgsvc.domain.model import Original, Placeholder, Rendered, Rendition
from imgsvc.domain.options import Options
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Failure, Outcome, Postponed, Source
from imgsvc.jobs.types import Claim
from imgsvc.outbound import UnreachableError
from imgsvc.runtime.metrics import Metrics, WorkerMetrics
from imgsvc.storage import Storage, StorageError
from imgsvc.worker.fetch import DEADLINE_S as FETCH_DEADLINE_S
from imgsvc.worker.fetch import Fetcher
from imgsvc.worker.memory import SharedMemory
from imgsvc.worker.overlays import Overlays
from imgsvc.worker.postponing import DEADLINE_S
from imgsvc.worker.sweep import Sweeper
from imgsvc.worker.tasks import Processor
from tests.support.service import Servers, settings_of
from tests.test_queue import submission

NOWHERE = {"IMGSVC_REDIS_URL": "redis://127.0.0.1"}
EMPTY = Source(0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "jpeg")


class Hands:
    """A queue with one job, and everything else that its worker has, which fails as it is told."""

    def __init__(self, queue: Queue, redis: Redis) -> None:
        self.queue = queue
        self.redis = redis

    async def outcome(
        self,
        *,
        storage: Exception | None = None,
        decoders: Exception | None = None,
        **fields: int,
    ) -> Outcome:
        """What comes of a job whose record has these fields too."""
        await self._submit(EMPTY, None, fields)
        (claim,) = await self.queue.claim("w1", 1)

        @asynccontextmanager
        async def read(_: str) -> AsyncGenerator[Any]:
            if storage:
                raise storage
            yield SimpleNamespace(size=0), nothing()

        async def render(*_: object, **_options: object) -> None:
            assert decoders
            raise decoders

        has: Any = SimpleNamespace(read=read, render=render)
        return await Processor(self.queue, has, has, Overlays(has), None, WorkerMetrics())(claim)

    async def outcome_of_fetch(self, error: Exception, **fields: int) -> Outcome:
        """What comes of the fetch of an original whose host, or this worker, is not able to."""
        await self._submit(None, "http://localhost/", fields)
        (claim,) = await self.queue.fetches.claim("w1", 1, (), print)

        def request(*_: object, **_options: object) -> None:
            raise error

        has: Any = SimpleNamespace(request=request)
        return await Fetcher(self.queue, has, has, SharedMemory(1), WorkerMetrics(), max_bytes=1, timeout_s=1)(claim)

    async def _submit(self, source: Source | None, url: str | None, fields: Mapping[str, int]) -> None:
        upload_id = str(uuid4())
        await self.queue.reserve(upload_id)
        await self.queue.submit(replace(submission(upload_id), source=source, url=url))
        if fields:
            await cast("Any", self.redis).hset(f"imgsvc:upload:{upload_id}", mapping=fields)


async def nothing() -> AsyncGenerator[bytes]:
    for _ in ():
        yield b""


def ago(seconds: float) -> int:
    """That long ago, in ms since the epoch."""
    return int(1000 * (time() - seconds))


@pytest_asyncio.fixture
async def hands(servers: Servers) -> AsyncGenerator[Hands]:
    settings = settings_of(servers.environment())
    async with Queue.open(settings) as queue, Redis.from_url(settings.redis_url) as redis:
        yield Hands(queue, redis)


async def test_a_job_waits_for_storage_however_often_it_was_tried_before(hands: Hands) -> None:
    outcome = await hands.outcome(storage=StorageError(), attempt=5000)
    assert isinstance(outcome, Postponed)
    assert 15 <= outcome.delay_s <= 30


async def test_a_worker_whose_decoders_do_not_start_fails_no_job(hands: Hands) -> None:
    outcome = await hands.outcome(decoders=DecoderStartError("no memory"))
    assert isinstance(outcome, Postponed)
    assert not outcome.alone, "it claims no other job either"


@pytest.mark.parametrize("lacks", [{"storage": StorageError()}, {"decoders": DecoderStartError("no memory")}])
async def test_no_job_waits_for_ever(hands: Hands, lacks: dict[str, Any]) -> None:
    assert isinstance(await hands.outcome(**lacks, started_at=ago(DEADLINE_S + 60)), Failure)


async def test_a_fetch_waits_longer_for_what_its_worker_lacks_than_for_a_host_that_is_away(hands: Hands) -> None:
    long_ago = ago(FETCH_DEADLINE_S + 60)
    waits = await hands.outcome_of_fetch(TimeoutError("no memory"), started_at=long_ago)
    assert isinstance(waits, Postponed)
    assert waits.alone, "others may have all that they need"
    assert isinstance(await hands.outcome_of_fetch(UnreachableError("away"), started_at=long_ago), Failure)
    assert isinstance(await hands.outcome_of_fetch(UnreachableError("away")), Postponed)


@pytest.mark.parametrize("fails_at", [None, 5])
async def test_the_files_of_a_large_set_are_stored_a_few_at_a_time_until_one_fails(fails_at: int | None) -> None:
    begun, running, at_once = list[int](), set[int](), list[int]()

    async def put(*_: object, **_digest: object) -> None:
        number = len(begun)
        begun.append(number)
        running.add(number)
        at_once.append(len(running))
        await asyncio.sleep(0)
        running.remove(number)
        if number == fails_at:
            raise StorageError

    has: Any = SimpleNamespace(put=put)
    processor = Processor(has, has, has, Overlays(has), None, WorkerMetrics())
    record = cast("Any", SimpleNamespace(id="an-id", options=Options(), expires_at=None))
    files = tuple(Rendition("v", width, 1, "jpeg", b"x", set_width=width) for width in range(1, 41))
    rendered = Rendered(Original(1, 1, "jpeg", 1), files, Placeholder("AAAAAAAA", "#000000"))
    stored = processor._store(record, rendered, Claim("an-id", "w1:1"))  # pyright: ignore[reportPrivateUsage]
    if fails_at is None:
        assert len(await stored) == len(begun) == 40
        assert max(at_once) == 8
    else:
        with pytest.raises(StorageError):
            await stored
        assert not running, "or one of them might still write when the job has ended"
        assert len(begun) < 20


async def test_an_upload_that_cannot_be_cleared_keeps_no_other(hands: Hands) -> None:
    uploads = sorted(str(uuid4()) for _ in range(4))
    for upload_id in uploads:
        await hands.queue.reserve(upload_id)
        await hands.queue.abort(upload_id)
    await hands.redis.zadd("imgsvc:sweep", dict.fromkeys(uploads, 1))
    cleared: list[str] = []

    async def clear(prefix: str) -> None:
        if uploads[0] in prefix:
            raise StorageError
        cleared.append(prefix)

    async def is_there() -> bool:
        return True

    storage = cast("Any", SimpleNamespace(clear=clear, is_there=is_there))
    assert await Sweeper(hands.queue, storage, 1).sweep() == 3
    assert {key.rpartition("originals/")[2] for key in cleared if "originals" in key} == set(uploads[1:])
    assert await hands.redis.zscore("imgsvc:sweep", uploads[0]), "it comes again"


async def test_what_s3_misses_where_nobody_expects_it_is_a_failure_like_any_other() -> None:
    async def misses(**_: object) -> None:
        raise ClientError({"Error": {"Code": "NoSuchUpload"}}, "ListMultipartUploads")

    client, settings = cast("Any", SimpleNamespace(list_multipart_uploads=misses)), settings_of(NOWHERE)
    storage = Storage(client, settings, Metrics().storage)
    with pytest.raises(StorageError):
        await storage.clear("processed/")
