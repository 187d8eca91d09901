"""The memory that a worker's fetches share."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from imgsvc.worker.memory import SharedMemory

TOTAL, PART = 120, 10


async def _taken(memory: SharedMemory, held: AsyncExitStack, owner: str) -> int:
    """How often an owner gets a part without waiting."""
    count = 0
    while memory.has_room(owner, PART):
        await held.enter_async_context(memory.hold(owner, PART))
        count += 1
    return count


def _waiting(memory: SharedMemory, owner: str, size: int, got: list[str]) -> asyncio.Task[None]:
    async def wait() -> None:
        async with memory.hold(owner, size):
            got.append(owner)

    return asyncio.create_task(wait())


async def test_x8_an_owner_alone_has_most_of_it_and_never_all() -> None:
    memory = SharedMemory(TOTAL)
    async with AsyncExitStack() as held:
        assert await _taken(memory, held, "heap") == 8
        assert await _taken(memory, held, "guest") > 0
    assert memory.held_bytes == 0


async def test_x8_what_is_larger_than_all_of_it_takes_all() -> None:
    memory = SharedMemory(TOTAL)
    async with memory.hold("heap", 10 * TOTAL):
        assert memory.held_bytes == TOTAL
        assert not memory.has_room("guest", 1)
    assert memory.held_bytes == 0


async def test_x8_who_holds_nothing_does_not_wait_behind_one_who_has_his_share() -> None:
    memory, got = SharedMemory(TOTAL), list[str]()
    async with AsyncExitStack() as held:
        await _taken(memory, held, "heap")
        more = _waiting(memory, "heap", PART, got)
        await asyncio.sleep(0)
        await _waiting(memory, "guest", PART, got)
        assert got == ["guest"]
    await more
    assert got == ["guest", "heap"]
    assert memory.held_bytes == 0


async def test_x8_nobody_overtakes_one_who_holds_nothing_and_needs_much() -> None:
    memory, got = SharedMemory(TOTAL), list[str]()
    async with AsyncExitStack() as held:
        await _taken(memory, held, "heap")
        large = _waiting(memory, "large", TOTAL, got)
        await asyncio.sleep(0)
        assert not memory.has_room("small", 1)
        small = _waiting(memory, "small", 1, got)
        await asyncio.sleep(0)
        assert got == []
    await asyncio.gather(large, small)
    assert got == ["large", "small"]


@pytest.mark.parametrize("is_granted", [False, True])
async def test_x8_who_gives_up_waiting_leaves_nothing_and_keeps_nobody(is_granted: bool) -> None:
    memory, got = SharedMemory(TOTAL), list[str]()
    async with AsyncExitStack() as held:
        await held.enter_async_context(memory.hold("heap", TOTAL))
        first, second = _waiting(memory, "first", TOTAL, got), _waiting(memory, "second", PART, got)
        await asyncio.sleep(0)
        if is_granted:
            await held.aclose()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    await second
    assert got == ["second"]
    assert memory.held_bytes == 0
