"""Workers die and freeze during derivations: readers of an upload never notice, and nothing is left."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from typing import Any

import pytest
import pytest_asyncio
from redis import Redis

from tests.support import images
from tests.support.hooks.derives_and_dies import MISHAPS
from tests.support.service import (
    Servers,
    Service,
    decoders,
    freeze,
    leftovers,
    settings_of,
    suspend_decoders,
    thaw,
    until,
)

PHOTO = images.photo()
LEASE_S = 1.0
DYING = "tests.support.hooks.derives_and_dies"
VARIANTS = {
    "thumbnail": {"width": 60, "height": 60, "fit": "cover", "format": "webp"},
    "card": {"width": 320, "height": 200, "fit": "cover"},
}


class Reader:
    """Fetches an upload's result and all its files, again and again, as its clients do."""

    def __init__(self, service: Service, upload_id: str) -> None:
        self._service = service
        self._id = upload_id
        self._given_out: dict[str, str] = {}
        self.rounds = 0

    async def read(self) -> None:
        """Everything once: what the result names, and what any earlier result has named."""
        answer = await self._service.client.get(f"/upload/{self._id}/result")
        assert answer.status_code == 200, answer.text
        result = answer.json()
        assert list(result["result"])[:2] == ["resized_compressed", "thumbnail"]
        for name, path in result["result"].items():
            sha256 = result["variants"][name]["sha256"]
            assert self._given_out.setdefault(path, sha256) == sha256, "a name stands for one content"
        for path, sha256 in self._given_out.items():
            file = await self._service.client.get(path)
            assert file.status_code == 200, path
            assert hashlib.sha256(file.content).hexdigest() == sha256, path
        self.rounds += 1

    @classmethod
    @asynccontextmanager
    async def reading(cls, service: Service, upload_id: str) -> AsyncGenerator["Reader"]:
        reader = cls(service, upload_id)
        await reader.read()

        async def go_on() -> None:
            while True:
                await reader.read()

        task = asyncio.create_task(go_on())
        try:
            yield reader
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                await task  # what it has found
        await reader.read()


@pytest_asyncio.fixture(scope="module")
async def workerless(servers: Servers) -> AsyncGenerator[Service]:
    """Each test starts its workers, and none is left after it."""
    settings: dict[str, Any] = {"lease_s": LEASE_S, "decoders": 1, "sweep_interval_s": 0.2, "s3_timeout_s": 1}
    async with Service.start(servers.environment(), workers=0, **settings) as started:
        yield started


@pytest_asyncio.fixture
async def deserted(workerless: Service) -> AsyncGenerator[Service]:
    yield workerless
    await asyncio.gather(*(worker.kill() for worker in workerless.workers if worker.running))
    workerless.workers.clear()


async def until_derived(service: Service, upload_id: str, *statuses: str) -> dict[str, Any]:
    derivation: dict[str, Any] = {}

    async def there() -> bool:
        nonlocal derivation
        derivation = (await service.status(upload_id))["derivation"]
        return derivation["status"] in statuses

    await until(there)
    return derivation


async def derive(service: Service, upload_id: str) -> None:
    answer = await service.client.post(f"/upload/{upload_id}/variants", json={"variants": VARIANTS})
    assert answer.status_code == 202, answer.text


def files(service: Service, upload_id: str) -> set[str]:
    found = leftovers(service.environment)["objects"]
    return {key.rpartition("/")[2] for key in found if key.startswith(f"processed/{upload_id}/")}


def members(service: Service) -> list[str]:
    """What is to be removed of uploads that stay."""
    with closing(Redis.from_url(settings_of(service.environment).redis_url)) as redis:
        found: Any = redis.zrange("imgsvc:obsolete", 0, -1)
    return [member.decode() for member in found]


OLD = {"sample_resized_compressed.jpeg", "sample_thumbnail.jpeg"}


def new(revision: int, attempt: int) -> set[str]:
    numbers = f"{revision}.a{attempt}" if attempt > 1 else str(revision)
    return {f"sample_thumbnail.{numbers}.webp", f"sample_card.{numbers}.jpeg"}


@pytest.mark.parametrize("step", MISHAPS)
async def test_q24_no_reader_notices_that_a_worker_dies_during_a_derivation(deserted: Service, step: str) -> None:
    doomed = await deserted.start_worker(DYING, step)
    upload_id = await deserted.upload(PHOTO)
    assert (await deserted.ended(upload_id))["status"] == "SUCCESS"
    async with Reader.reading(deserted, upload_id) as reader:
        await derive(deserted, upload_id)
        await asyncio.wait_for(doomed.wait(), 30)
        at_its_death = (await deserted.status(upload_id))["derivation"]
        assert at_its_death["status"] == ("SUCCESS" if step == "finished" else "PROGRESS")
        await deserted.start_worker()
        derivation = await until_derived(deserted, upload_id, "SUCCESS", "FAILURE")
        rounds = reader.rounds
        await until(lambda: reader.rounds > rounds + 1)
        # what was replaced is served for a day, and what the dead worker has stored is removed
        await until(lambda: files(deserted, upload_id) == OLD | new(2, derivation["attempt"]))
    assert (derivation["status"], derivation["revision"]) == ("SUCCESS", 2)
    assert derivation["attempt"] == (1 if step == "finished" else 2)
    assert (await deserted.status(upload_id))["attempt"] == 1


async def test_q27_a_frozen_worker_that_wakes_after_its_derivation_was_made_changes_nothing(deserted: Service) -> None:
    zombie = await deserted.start_worker()
    upload_id = await deserted.upload(PHOTO)
    await deserted.ended(upload_id)
    async with Reader.reading(deserted, upload_id) as reader:
        suspend_decoders(zombie)
        await derive(deserted, upload_id)
        await until_derived(deserted, upload_id, "PROGRESS")
        freeze(zombie)
        await deserted.start_worker()
        derivation = await until_derived(deserted, upload_id, "SUCCESS")
        for decoder in decoders(zombie):
            decoder.resume()
        thaw(zombie)
        await deserted.until_ready(2)
        rounds = reader.rounds
        await until(lambda: reader.rounds > rounds + 1)
        await until(lambda: files(deserted, upload_id) == OLD | new(2, attempt=2))
    assert (await deserted.status(upload_id))["derivation"] == derivation


async def test_q27_what_a_frozen_worker_stores_of_a_cancelled_derivation_is_removed(deserted: Service) -> None:
    zombie = await deserted.start_worker()
    upload_id = await deserted.upload(PHOTO)
    await deserted.ended(upload_id)
    async with Reader.reading(deserted, upload_id):
        suspend_decoders(zombie)
        await derive(deserted, upload_id)
        await until_derived(deserted, upload_id, "PROGRESS")
        freeze(zombie)
        answer = await deserted.client.post(f"/upload/{upload_id}/cancel")
        assert answer.json()["derivation"]["status"] == "CANCELLED"
        await derive(deserted, upload_id)
        await deserted.start_worker()
        assert (await until_derived(deserted, upload_id, "SUCCESS"))["revision"] == 3
        for decoder in decoders(zombie):
            decoder.resume()
        thaw(zombie)
        await deserted.until_ready(2)
        later = new(3, attempt=1)
        await until(lambda: files(deserted, upload_id) == OLD | later)

        def is_settled() -> bool:
            return not any(":2:" in member for member in members(deserted))

        await until(is_settled)
    assert files(deserted, upload_id) == OLD | later
