"""Uploads received in pieces, in the queue alone: who may add, what counts, and what is swept (rows T9 and T10)."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from imgsvc.domain.options import Options
from imgsvc.domain.states import Status
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Source, Submission
from imgsvc.jobs.resumable import FencedError, Part, Piece, Transfer, TransferRefusedError, Transfers
from tests.support.service import Servers, settings_of, until
from tests.support.world import World

OPTIONS = Options(filename="a.jpg", metadata={"k": "v"})
PIECE = Piece.of(1, 0, b"abc")
PART = Part('"0123-1"', "ab" * 32)


async def begun(queue: Queue, owner: str = "", length: int | None = 100) -> str:
    upload_id = str(uuid4())
    await queue.reserve(upload_id, owner=owner, announced=length or 0)
    assert await queue.transfers.begin(upload_id, owner, OPTIONS, length=length, header="filename YQ==")
    return upload_id


async def taken(transfers: Transfers, upload_id: str, owner: str = "") -> Transfer:
    transfer = await transfers.take(upload_id, owner, "write")
    assert transfer
    return transfer


async def read(transfers: Transfers, upload_id: str) -> Transfer:
    transfer = await transfers.take(upload_id, "")
    assert transfer
    return transfer


@asynccontextmanager
async def queue_with(servers: Servers, **settings: str) -> AsyncGenerator[Queue]:
    environment = servers.environment() | {f"IMGSVC_{name.upper()}": value for name, value in settings.items()}
    async with Queue.open(settings_of(environment)) as queue:
        yield queue


async def test_what_is_committed_is_read_by_the_next(world: World) -> None:
    transfers, upload_id = world.queue.transfers, await begun(world.queue)
    first = await taken(transfers, upload_id)
    assert (first.offset, first.length, first.options, first.header) == (0, 100, OPTIONS, "filename YQ==")
    await transfers.commit(first, 50, parts=[PART], format="jpeg", multipart="m")
    await transfers.commit(first, 53, tail=[PIECE], is_last=True)
    now = await read(transfers, upload_id)
    assert (now.offset, now.parts, now.tail, now.format, now.multipart) == (53, (PART,), (PIECE,), "jpeg", "m")
    assert (now.fence, now.writer, now.is_complete) == (1, None, False)
    assert await world.status(upload_id) is None, "nobody sees it yet"


async def test_t9_only_the_newest_fence_commits(world: World) -> None:
    transfers, upload_id = world.queue.transfers, await begun(world.queue)
    frozen = await taken(transfers, upload_id)
    newest = await taken(transfers, upload_id)
    with pytest.raises(FencedError):
        await transfers.commit(frozen, 50, parts=[PART])
    await transfers.commit(newest, 3, tail=[PIECE])
    assert (await read(transfers, upload_id)).writer == 2, "reading takes nothing"
    assert (await transfers.take(upload_id, "", "fence", holder=1) or newest).fence == 2, "it has it no longer"
    await transfers.take(upload_id, "", "fence")
    with pytest.raises(FencedError):
        await transfers.commit(newest, 50, parts=[PART])
    now = await read(transfers, upload_id)
    assert (now.offset, now.parts, now.tail, now.writer) == (3, (), (PIECE,), None)


async def test_t9_of_many_at_once_one_commits(world: World) -> None:
    transfers, upload_id = world.queue.transfers, await begun(world.queue)

    async def writer() -> bool:
        transfer = await taken(transfers, upload_id)
        await asyncio.sleep(0)
        try:
            await transfers.commit(transfer, transfer.fence, is_last=True)
        except FencedError:
            return False
        return True

    won = await asyncio.gather(*(writer() for _ in range(20)))
    now = await read(transfers, upload_id)
    assert (any(won), now.fence, now.offset) == (True, 20, 20)


async def test_a_commit_that_is_repeated_counts_once(world: World) -> None:
    transfers, upload_id = world.queue.transfers, await begun(world.queue)
    transfer = await taken(transfers, upload_id)
    for _ in range(2):
        await transfers.commit(transfer, 50, parts=[PART])
    for _ in range(2):
        await transfers.commit(transfer, 100, parts=[PART], is_complete=True, sha256="cd")
    now = await read(transfers, upload_id)
    assert (now.offset, now.parts, now.sha256, now.is_complete) == (100, (PART, PART), "cd", True)
    assert (await taken(transfers, upload_id)).fence == 1, "nothing can be added"


async def test_t2_other_offsets_and_lengths_take_nothing(world: World) -> None:
    transfers, upload_id = world.queue.transfers, await begun(world.queue, length=None)
    transfer = await taken(transfers, upload_id)
    await transfers.commit(transfer, 3, tail=[PIECE])
    for given, why in (({"offset": 0}, "OFFSET"), ({"offset": 4}, "OFFSET"), ({"length": 2}, "LENGTH")):
        with pytest.raises(TransferRefusedError) as refused:
            await transfers.take(upload_id, "", "write", **given)
        assert (refused.value.why, refused.value.transfer.offset) == (why, 3)
    assert (await read(transfers, upload_id)).fence == 1
    known = await transfers.take(upload_id, "", "write", offset=3, length=3)
    assert known
    assert (known.length, known.is_received, known.is_complete) == (3, True, False)
    for _ in range(2):
        await transfers.commit(known, 3, parts=[PART], is_complete=True)
    assert (await read(transfers, upload_id)).parts == (PART,), "what was the tail"
    with pytest.raises(TransferRefusedError):
        await transfers.take(upload_id, "", "write", length=4)


async def test_another_owners_upload_is_unknown(world: World) -> None:
    transfers, upload_id = world.queue.transfers, await begun(world.queue, "shop")
    for owner in ("", "blog"):
        assert await transfers.take(upload_id, owner, "write") is None
        assert not await transfers.drop(upload_id, owner)
    assert (await taken(transfers, upload_id, "shop")).fence == 1


async def test_what_is_given_up_takes_nothing_any_more(world: World) -> None:
    transfers, upload_id = world.queue.transfers, await begun(world.queue)
    transfer = await taken(transfers, upload_id)
    assert await transfers.drop(upload_id, "")
    assert not await transfers.drop(upload_id, "")
    with pytest.raises(FencedError):
        await transfers.commit(transfer, 50, parts=[PART])
    assert await transfers.take(upload_id, "") is None
    assert [key for key in await world.redis.keys() if b"transfer" in key or b"receiving" in key] == []


async def test_what_is_submitted_is_told_as_complete_and_its_pieces_are_swept(world: World) -> None:
    transfers, upload_id = world.queue.transfers, await begun(world.queue)
    transfer = await taken(transfers, upload_id)
    await transfers.commit(transfer, 100, parts=[PART], is_complete=True)
    await world.queue.submit(Submission(upload_id, transfer.options, Source(100, "ab", "jpeg")))
    assert await world.status(upload_id) is Status.PENDING
    now = await read(transfers, upload_id)
    assert (now.offset, now.is_queued) == (100, True)
    assert not await transfers.drop(upload_id, ""), "it is an upload as any other"
    assert await world.redis.zscore("imgsvc:obsolete", f"originals/{upload_id}.piece.") is not None


async def test_t10_what_is_never_finished_is_swept(servers: Servers) -> None:
    async with queue_with(servers, resumable_ttl_s="1") as queue:
        upload_id = await begun(queue)
        transfer = await taken(queue.transfers, upload_id)
        await queue.transfers.commit(transfer, 50, parts=[PART])
        assert await queue.sweep(10) == []
        found: list[str] = []

        async def swept() -> bool:
            found.extend(item.id for item in await queue.sweep(10) if item.with_original)
            return bool(found)

        await until(swept)
        assert found == [upload_id]
        assert await queue.transfers.take(upload_id, "") is None
        with pytest.raises(FencedError):
            await queue.transfers.commit(transfer, 60)


async def test_t10_an_owner_has_no_more_uploads_begun_than_allowed(servers: Servers) -> None:
    async with queue_with(servers, max_resumable="2") as queue:
        first, _ = [await begun(queue, "shop") for _ in range(2)]
        third = str(uuid4())
        await queue.reserve(third, owner="shop")
        assert await queue.transfers.begin(third, "shop", OPTIONS) is None
        await begun(queue, "blog")
        transfer = await taken(queue.transfers, first, "shop")
        await queue.transfers.commit(transfer, 100, parts=[PART], is_complete=True)
        assert await queue.transfers.begin(third, "shop", OPTIONS)


async def test_a_length_that_becomes_known_counts_in_the_quota(servers: Servers) -> None:
    async with queue_with(servers, quota_bytes="20000", max_upload_bytes="20000") as queue:
        upload_id = await begun(queue, "shop", length=None)
        other = await begun(queue, "shop", length=12_000)
        with pytest.raises(TransferRefusedError) as refused:
            await queue.transfers.take(upload_id, "shop", "write", length=15_000)
        assert (refused.value.why, refused.value.wait_s > 1000) == ("QUOTA_EXCEEDED", True)
        assert await queue.transfers.drop(other, "shop")
        known = await queue.transfers.take(upload_id, "shop", "write", length=15_000)
        assert known
        assert known.length == 15_000
