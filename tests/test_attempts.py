"""Jobs that are begun more than once: no attempt stores under another one's names, and only one's files are kept."""

from collections.abc import AsyncGenerator, Iterable
from dataclasses import replace

import orjson
import pytest
import pytest_asyncio

from imgsvc.jobs import derived
from imgsvc.jobs.files import File, revision_of
from imgsvc.jobs.record import Success
from imgsvc.jobs.types import Claim, Obsolete
from imgsvc.storage import Storage
from imgsvc.worker.sweep import Sweeper
from tests.support.derivations import FAILURE, OLD, begun, derive, obsolete, record_of, succeeded
from tests.support.service import Servers, settings_of
from tests.support.world import World

FILE = File("thumbnail", 4, 3, 9, "ab", "jpeg")
STEM = "a"  # of the original's name, in tests/support/submissions.py


def made_by(claim: Claim) -> Success:
    files = tuple(replace(file, revision=claim.revision or 1, attempt=claim.attempt) for file in OLD.files)
    return replace(OLD, files=files)


async def begun_twice(fleeting: World) -> tuple[Claim, Claim]:
    """The claims of a worker that has lost its job, and of the one that has it now."""
    upload_id = await fleeting.submitted()
    first, second = await fleeting.claimed(), await fleeting.lapsed("w2")
    assert (first.id, second.id, first.attempt, second.attempt) == (upload_id, upload_id, 1, 2)
    return first, second


async def looked_through(world: World) -> list[tuple[str, int]]:
    """Uploads and revisions of which files may be there that no record has."""
    return [Obsolete(member).of_revision for member in await obsolete(world) if "/" not in member]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (FILE, "thumbnail.jpeg"),
        (replace(FILE, attempt=2), "thumbnail.a2.jpeg"),
        (replace(FILE, set_width=640, attempt=12), "thumbnail-640.a12.jpeg"),
        (replace(FILE, revision=3), "thumbnail.3.jpeg"),
        (replace(FILE, revision=3, attempt=2), "thumbnail.3.a2.jpeg"),
    ],
)
def test_a_files_name_has_what_sets_it_apart_from_other_files_of_its_variant(file: File, name: str) -> None:
    for original, stem in (("photo.jpg", "photo"), ("my.2.a3.photo.4.a5.jpg", "my.2.a3.photo.4.a5")):
        key = file.key("an-id", original)
        assert key == f"processed/an-id/{stem}_{name}"
        assert revision_of(key) == file.revision


def test_a_record_has_an_attempt_only_of_files_that_were_made_later_than_at_the_first() -> None:
    kept = replace(OLD, files=(FILE, replace(FILE, quality=80), replace(FILE, attempt=2)))
    rows = orjson.loads(kept.packed())[3]
    assert [len(row) for row in rows] == [6, 7, 11]
    assert tuple(File.from_row(row) for row in rows) == kept.files
    assert File.from_row([*rows[2], "of a later version"]) == kept.files[2]


async def test_q28_what_earlier_attempts_have_stored_is_looked_for_when_a_job_has_ended(fleeting: World) -> None:
    first, second = await begun_twice(fleeting)
    assert not await fleeting.queue.finish(first, made_by(first))
    assert await obsolete(fleeting) == [], "the job is under way"
    assert await fleeting.queue.finish(second, made_by(second))
    assert await looked_through(fleeting) == [(second.id, 1)]
    record = await record_of(fleeting, second.id)
    assert record.success
    assert [key.rpartition("/")[2] for key in record.keys(record.success.files)] == [
        f"{STEM}_resized_compressed.a2.jpeg",
        f"{STEM}_thumbnail.a2.jpeg",
    ]


async def test_a_job_that_ends_at_its_first_attempt_leaves_nothing_to_look_for(world: World) -> None:
    await succeeded(world)
    await world.submitted()
    assert await world.queue.finish(await world.claimed(), FAILURE)
    assert await obsolete(world) == []


async def test_q28_a_worker_that_comes_when_its_job_has_long_ended_is_looked_after(fleeting: World) -> None:
    first, second = await begun_twice(fleeting)
    await fleeting.queue.finish(second, made_by(second))
    await fleeting.redis.delete("imgsvc:obsolete")  # that is over
    assert not await fleeting.queue.release(first)
    assert await looked_through(fleeting) == [(first.id, 1)]
    assert (await record_of(fleeting, first.id)).success == made_by(second)


@pytest.mark.parametrize("comes", ["before its end", "after its end"])
async def test_q28_a_derivation_made_by_another_worker_is_looked_after_too(fleeting: World, comes: str) -> None:
    first = await begun(fleeting, "resized_compressed", "thumbnail")
    second = await fleeting.lapsed("w2")
    record = derived.under_way(await record_of(fleeting, second.id), 2)
    assert record
    if comes == "before its end":
        assert not await fleeting.queue.release(first)
        assert await looked_through(fleeting) == []
    assert await fleeting.queue.finish(second, derived.outcome(record, made_by(second)))
    if comes == "after its end":
        await fleeting.redis.delete("imgsvc:obsolete")
        assert not await fleeting.queue.release(first)
    assert await looked_through(fleeting) == [(second.id, 2)]


class Bucket:
    """The files of uploads in a real bucket, and the sweeper of a queue."""

    def __init__(self, world: World, storage: Storage) -> None:
        self._world = world
        self._storage = storage
        self._sweeper = Sweeper(world.queue, storage, 1)

    async def store(self, upload_id: str, names: Iterable[str]) -> None:
        for name in names:
            await self._storage.put(f"processed/{upload_id}/{STEM}_{name}", b"x", "image/jpeg")

    async def swept(self, upload_id: str) -> set[str]:
        """What is left when the sweeper has looked at all that it will ever look at."""
        for member in await obsolete(self._world):
            if "/" not in member:
                await self._world.redis.zadd("imgsvc:obsolete", {member: 1})
        await self._sweeper.sweep_obsolete()
        return {key.rpartition(f"{STEM}_")[2] for key in await self._storage.keys(f"processed/{upload_id}/")}


@pytest_asyncio.fixture
async def bucket(servers: Servers, fleeting: World) -> AsyncGenerator[Bucket]:
    async with Storage.open(settings_of(servers.environment())) as storage:
        await storage.ensure_bucket()
        yield Bucket(fleeting, storage)


async def test_q28_of_all_that_the_attempts_have_stored_the_record_s_files_stay(
    fleeting: World, bucket: Bucket
) -> None:
    first, second = await begun_twice(fleeting)
    kept = {"resized_compressed.a2.jpeg", "thumbnail.a2.jpeg"}
    strays = {"resized_compressed.jpeg", "thumbnail.jpeg"}
    await fleeting.queue.finish(second, made_by(second))
    await bucket.store(first.id, kept | strays)
    assert await bucket.swept(first.id) == kept
    await bucket.store(first.id, strays)  # a worker that wakes hours later, and is told so
    await fleeting.queue.finish(first, made_by(first))
    assert await bucket.swept(first.id) == kept


async def test_q28_a_derivations_strays_go_and_what_it_has_replaced_is_still_served(
    fleeting: World, bucket: Bucket
) -> None:
    await begun(fleeting, "resized_compressed", "thumbnail")
    claim = await fleeting.lapsed("w2")
    record = derived.under_way(await record_of(fleeting, claim.id), 2)
    assert record
    replaced = {"resized_compressed.jpeg", "thumbnail.jpeg"}
    kept = {"resized_compressed.2.a2.jpeg", "thumbnail.2.a2.jpeg"}
    await bucket.store(claim.id, replaced | kept | {"resized_compressed.2.jpeg", "thumbnail.2.jpeg"})
    await fleeting.queue.finish(claim, derived.outcome(record, made_by(claim)))
    assert await bucket.swept(claim.id) == replaced | kept


async def test_q28_what_a_retry_stores_is_never_taken_for_what_was_left_before_it(
    fleeting: World, bucket: Bucket
) -> None:
    _, second = await begun_twice(fleeting)
    await fleeting.queue.finish(second, FAILURE)
    assert await looked_through(fleeting) == [(second.id, 1)]
    await fleeting.queue.retry(second.id)
    third = await fleeting.claimed("w3")
    kept = {"resized_compressed.a3.jpeg", "thumbnail.a3.jpeg"}
    await bucket.store(third.id, kept | {"thumbnail.jpeg", "thumbnail.a2.jpeg"})
    assert kept <= await bucket.swept(third.id)
    await fleeting.queue.finish(third, made_by(third))
    assert await bucket.swept(third.id) == kept


async def test_q28_what_an_upload_has_that_never_succeeds_goes_too(fleeting: World, bucket: Bucket) -> None:
    _, second = await begun_twice(fleeting)
    await bucket.store(second.id, ["thumbnail.jpeg", "thumbnail.a2.jpeg"])
    await fleeting.queue.finish(second, FAILURE)
    assert await bucket.swept(second.id) == set()


async def test_a_replaced_file_of_a_later_attempt_is_swept_by_its_own_name(fleeting: World) -> None:
    _, second = await begun_twice(fleeting)
    await fleeting.queue.finish(second, made_by(second))
    await fleeting.redis.delete("imgsvc:obsolete")
    await derive(fleeting, second.id)
    claim = await fleeting.claimed()
    record = derived.under_way(await record_of(fleeting, claim.id), 2)
    assert record
    anew = replace(OLD, files=(replace(FILE, revision=2),))
    await fleeting.queue.finish(claim, derived.outcome(record, anew))
    assert await obsolete(fleeting) == [f"processed/{second.id}/{STEM}_thumbnail.a2.jpeg"]
