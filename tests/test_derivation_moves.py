"""Derivations among all that can happen to an upload, in whatever order."""

import random

import pytest

from imgsvc.domain.states import Status
from imgsvc.jobs import derived
from imgsvc.jobs.files import File
from imgsvc.jobs.record import Derived, Success
from imgsvc.jobs.types import Claim, Obsolete
from tests.support.derivations import FAILURE, OLD, derive, obsolete, record_of, succeeded
from tests.support.world import World


class Moves:
    """One upload, to which anything happens in any order; what must hold is checked after each step."""

    def __init__(self, world: World, upload_id: str, seed: int) -> None:
        self._world = world
        self._id = upload_id
        self._random = random.Random(seed)
        self._claims: list[Claim] = []
        self._made: set[int] = {1}

    async def step(self) -> None:
        moves = [self._derive, self._claim, self._finish, self._fail, self._release, self._progress]
        await self._random.choice([*moves, self._cancel, self._retry, self._lapse])()
        await self._check()

    async def _derive(self) -> None:
        names = self._random.choice([("thumbnail",), ("resized_compressed", "thumbnail")])
        await derive(self._world, self._id, names)

    async def _claim(self) -> None:
        self._claims += await self._world.queue.claim(f"w{self._random.randrange(3)}", 1)

    async def _finish(self) -> None:
        for claim in self._picked():
            record = derived.under_way(await record_of(self._world, self._id), claim.revision or 0)
            if record is None:
                assert not await self._world.queue.finish(claim, Derived(OLD, ()))
                continue
            names = [variant.name for variant in record.options.variants]
            files = tuple(File(name, 1, 1, 1, "ef", "jpeg", revision=claim.revision or 0) for name in names)
            if await self._world.queue.finish(claim, derived.outcome(record, Success(4, 3, 1, files))):
                assert claim.revision not in self._made, "no revision is made twice"
                self._made.add(claim.revision or 0)

    async def _fail(self) -> None:
        for claim in self._picked():
            await self._world.queue.finish(claim, FAILURE)

    async def _release(self) -> None:
        for claim in self._picked():
            await self._world.queue.release(claim)

    async def _progress(self) -> None:
        for claim in self._picked():
            await self._world.queue.progress(claim, self._random.randrange(101), "encode")

    async def _cancel(self) -> None:
        await self._world.queue.cancel(self._id)

    async def _retry(self) -> None:
        await self._world.queue.retry(self._id)

    async def _lapse(self) -> None:
        await self._world.redis.zadd("imgsvc:derivations", {self._id: 1}, xx=True)

    def _picked(self) -> list[Claim]:
        return self._random.sample(self._claims, 1) if self._claims else []

    async def _check(self) -> None:
        record = await record_of(self._world, self._id)
        assert record.status == Status.SUCCESS
        assert record.success
        assert [file.variant for file in record.success.files] == ["resized_compressed", "thumbnail"]
        assert {file.revision for file in record.success.files} <= self._made
        to_be_removed = await obsolete(self._world)
        assert not {*record.keys(record.success.files)} & {*to_be_removed}
        dropped = {Obsolete(member).of_revision[1] for member in to_be_removed if "/" not in member}
        sets = "imgsvc:waiting", "imgsvc:derivations"
        is_queued = [await self._world.redis.zscore(name, self._id) for name in sets] != [None, None]
        derivation = record.derivation
        assert is_queued is (derivation is not None and not derivation.done)
        if is_queued and derivation:
            assert derivation.revision not in dropped, "what is being made is not removed"
        assert await self._world.redis.zcard("imgsvc:jobs") == 0
        lasts = await self._world.redis.ttl(f"imgsvc:upload:{self._id}") > 0
        assert lasts is not is_queued


@pytest.mark.parametrize("seed", range(3))
async def test_q25_whatever_happens_in_whatever_order_the_upload_keeps_its_files(world: World, seed: int) -> None:
    upload_id = await succeeded(world)
    moves = Moves(world, upload_id, seed)
    for _ in range(150):
        await moves.step()
    record = await record_of(world, upload_id)
    assert record.derivation
    assert record.derivation.revision > 5
