"""Derivations in a queue without workers: uploads, derivations that are under way, and what they leave."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

from imgsvc.domain.model import Variant
from imgsvc.jobs import derived
from imgsvc.jobs.files import File
from imgsvc.jobs.record import Derived, Failure, Record, Success
from imgsvc.jobs.types import Admission, Claim
from tests.support.submissions import submission
from tests.support.world import World

OLD = Success(4, 3, 1, (File("resized_compressed", 4, 3, 9, "ab", "jpeg"), File("thumbnail", 4, 3, 9, "ab", "jpeg")))
NEW = Success(4, 3, 1, (File("thumbnail", 2, 2, 5, "cd", "webp", revision=2),), warnings=("truncated",))
FAILURE = Failure("decode_failed", "broken")
CARD = Variant("card", width=80, height=80, fit="cover")
LASTING = {"IMGSVC_LEASE_S": "60"}


async def record_of(world: World, upload_id: str) -> Record:
    record = await world.queue.get(upload_id)
    assert record is not None
    return record


async def succeeded(world: World, **options: Any) -> str:
    upload_id = str(uuid4())
    await world.queue.reserve(upload_id)
    submitted = submission(upload_id)
    await world.queue.submit(replace(submitted, options=replace(submitted.options, **options)))
    assert await world.queue.finish(await world.claimed(), OLD)
    return upload_id


async def derive(world: World, upload_id: str, names: tuple[str, ...] = ("thumbnail",), **wanted: Any) -> Admission:
    record = await record_of(world, upload_id)
    answer = await world.queue.derive(record, replace(record.options, **wanted), names)
    assert answer is not None
    return answer.admission


async def begun(world: World, *names: str, **wanted: Any) -> Claim:
    """The claim on a derivation that is under way, of the thumbnail unless it has other names."""
    upload_id = await succeeded(world)
    assert await derive(world, upload_id, names or ("thumbnail",), **wanted) is Admission.RESERVED
    return await world.claimed()


async def obsolete(world: World) -> list[str]:
    return [name.decode() for name in await world.redis.zrange("imgsvc:obsolete", 0, -1)]


async def made(world: World, claim: Claim) -> Derived:
    record = derived.under_way(await record_of(world, claim.id), claim.revision or 0)
    assert record is not None
    files = tuple(replace(file, revision=claim.revision or 0) for file in NEW.files)
    return derived.outcome(record, replace(NEW, files=files))
