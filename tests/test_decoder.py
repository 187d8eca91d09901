"""The decoder pool, with real children: each image gets its turn, and its variants or its error."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import psutil
import pytest

from imgsvc.decoder import pool as pool_module
from imgsvc.decoder.pool import DecoderError, DecoderPool, DecoderStartError
from imgsvc.domain.formats import FORMATS
from imgsvc.domain.model import FileFormat, Variant
from imgsvc.domain.presets import PRESETS
from imgsvc.imaging.encode import OUTPUTS
from imgsvc.runtime.settings import MIB
from tests.support import images
from tests.support.decoders import (
    GIB,
    HOSTILE,
    LINUX,
    VARIANTS,
    children_of,
    code_of,
    fork_server_of,
    hostile_pool,
    needs_linux,
    works,
)
from tests.support.hostile_child import ROOM_HELD_S, WORK_CPU_S
from tests.support.images import LIMITS
from tests.support.service import until


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[DecoderPool]:
    """Two children of the real kind, for tests that do no harm."""
    sandbox = "require" if LINUX else "auto"
    async with DecoderPool(
        processes=2, timeout_s=20, memory_bytes=GIB, total_memory_bytes=GIB, limits=LIMITS, sandbox=sandbox
    ) as opened:
        yield opened


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


async def test_variants_and_steps_come_from_a_child(pool: DecoderPool) -> None:
    steps: list[tuple[str, int, int]] = []
    result = await pool.render(
        images.photo(1500, 1000), PRESETS["default"], lambda step, done, total: steps.append((step, done, total))
    )
    assert (result.original.width, result.original.height) == (1500, 1000)
    assert [images.opened(rendition.data).size for rendition in result.renditions] == [(1024, 683), (200, 133)]
    assert steps == [("decode", 0, 3), ("encode:resized_compressed", 1, 3), ("encode:thumbnail", 2, 3)]


@needs_linux
async def test_the_sandbox_is_whole_here(pool: DecoderPool) -> None:
    assert pool.sandbox_status == "full"


@pytest.mark.parametrize("name", FORMATS)
async def test_every_format_is_read_under_lock(pool: DecoderPool, name: str) -> None:
    source = images.encoded(images.scene(1600, 1200), name.upper())
    assert (await pool.render(source, VARIANTS)).original.width == 1600


@pytest.mark.parametrize("fmt", OUTPUTS)
async def test_every_format_is_written_under_lock(pool: DecoderPool, fmt: FileFormat) -> None:
    variant = Variant("v", 1024, 1024, format=fmt, strip=False, blur=1, sharpen=1, frames="all")
    for source in (images.full_of_metadata(), images.animation(3)):
        (rendition,) = (await pool.render(source, [variant])).renditions
        assert images.opened(rendition.data).format == fmt.upper()


@pytest.mark.parametrize("kind", images.KINDS)
async def test_every_way_through_the_decoder_was_warmed_before_the_lock(pool: DecoderPool, kind: str) -> None:
    every = [Variant(f"as_{fmt}", 64, 64, format=fmt, padding=3) for fmt in OUTPUTS]
    made = await pool.render(images.KINDS[kind](), [*PRESETS["default"], *every])
    assert len(made.renditions) == 2 + len(every)


async def test_bad_images_get_their_codes_and_cost_no_child() -> None:
    async with hostile_pool() as pool:  # one child, so that the pool starts and ends none of its own
        before = children_of(pool)
        assert await code_of(pool, b"text") == "unsupported_format"
        assert await code_of(pool, images.photo()[:5000]) == "decode_failed"
        assert await code_of(pool, images.png_header_bomb()) == "image_too_large"
        assert await code_of(pool, images.webp_header_bomb()) == "image_too_large"
        assert children_of(pool) == before


async def test_an_image_larger_than_a_pipe_gets_through(pool: DecoderPool) -> None:
    source = images.encoded(images.scene(2000, 1500), "BMP")
    assert len(source) > 8 * MIB
    assert (await pool.render(source, VARIANTS)).original.width == 2000


async def test_d2_an_image_waits_for_room_without_its_time_running_out() -> None:
    wall_s, images_at_once = 2.8 * ROOM_HELD_S, 3
    async with hostile_pool(processes=images_at_once, wall_s=wall_s) as pool:
        began = time.monotonic()
        await asyncio.gather(*(pool.render(b"fill_the_room", VARIANTS) for _ in range(images_at_once)))
        seconds = time.monotonic() - began
    assert seconds >= images_at_once * ROOM_HELD_S > wall_s, "one at a time, and the last beyond its wall"


@needs_linux
async def test_d19_more_decoders_than_cores_fail_no_image_that_fewer_would_not() -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # which a fork server inherits
    try:
        timeout_s, images_at_once = 2 * WORK_CPU_S, 6
        async with hostile_pool(processes=images_at_once, timeout_s=timeout_s) as pool:
            began = time.monotonic()
            await asyncio.gather(*(pool.render(b"work", VARIANTS) for _ in range(images_at_once)))
            seconds = time.monotonic() - began
    finally:
        os.sched_setaffinity(0, cores)
    assert seconds >= images_at_once * WORK_CPU_S > timeout_s, "all on one core, each beyond its time by the clock"


async def test_cancelling_a_render_kills_its_child_and_the_pool_goes_on() -> None:
    async with hostile_pool() as pool:
        (pid,) = children_of(pool)
        begun = asyncio.Event()
        task = asyncio.create_task(pool.render(b"hang", VARIANTS, lambda _step, _done, _total: begun.set()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not psutil.pid_exists(pid))
        assert await works(pool)


async def test_cancelling_one_who_waits_costs_nobody_a_turn() -> None:
    async with hostile_pool() as pool:
        before = children_of(pool)
        begun = asyncio.Event()
        long = images.photo(4000, 3000)
        busy = asyncio.create_task(pool.render(long, VARIANTS, lambda _step, _done, _total: begun.set()))
        waiting = [asyncio.create_task(works(pool)) for _ in range(10)]
        await begun.wait()
        for task in waiting[1::2]:
            task.cancel()
        assert await asyncio.gather(*waiting[::2]) == [True] * 5
        assert busy.done()
        assert children_of(pool) == before


async def test_who_comes_first_is_served_first() -> None:
    async with hostile_pool() as pool:
        order: list[int] = []

        async def take(turn: int) -> None:
            await pool.render(images.photo(), VARIANTS)
            order.append(turn)

        await asyncio.gather(*(take(turn) for turn in range(10)))
        assert order == list(range(10))


async def test_a_child_that_dies_idle_makes_no_image_fail() -> None:
    async with hostile_pool(processes=2) as pool:
        await asyncio.gather(*(works(pool) for _ in range(2)))
        before = children_of(pool)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        assert all(await asyncio.gather(*(works(pool) for _ in range(6))))
        await until(lambda: before.isdisjoint(children_of(pool)))


async def test_a_child_is_replaced_after_its_share_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_IMAGES_PER_CHILD", 3)
    async with hostile_pool() as pool:
        before = children_of(pool)
        assert all([await works(pool) for _ in range(3)])
        await until(lambda: before.isdisjoint(children_of(pool)))
        assert await works(pool)


@needs_linux
async def test_a_child_that_grows_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_GROWTH_BYTES", -1)
    async with hostile_pool() as pool:
        before = children_of(pool)
        assert await works(pool)
        await until(lambda: before.isdisjoint(children_of(pool)))


async def test_a_closed_pool_leaves_no_process_and_no_file_descriptor() -> None:
    async def use(pool: DecoderPool) -> None:
        async with pool:
            await works(pool)
            await code_of(pool, b"segfault")

    await use(hostile_pool())  # the first one opens what stays open: an event loop's thread pool
    processes, descriptors = children(), psutil.Process().num_fds()
    for _ in range(3):
        await use(hostile_pool())
    assert children() == processes
    assert psutil.Process().num_fds() == descriptors


async def test_closing_a_pool_ends_what_is_under_way_and_what_waits() -> None:
    async with hostile_pool() as pool:
        begun = asyncio.Event()
        busy = asyncio.create_task(pool.render(b"hang", VARIANTS, lambda _step, _done, _total: begun.set()))
        waiting = asyncio.create_task(works(pool))
        await begun.wait()
    with pytest.raises(DecoderError, match="decoder_crashed"):
        await busy
    with pytest.raises(RuntimeError, match="not open"):
        await waiting
    with pytest.raises(RuntimeError, match="not open"):
        await works(pool)


async def test_children_are_started_as_images_come_and_end_when_none_do() -> None:
    async with hostile_pool(processes=3, idle_s=0.4) as pool:
        assert len(children_of(pool)) == 1, "so that a machine on which none comes up is noticed"
        begun = asyncio.Event()
        task = asyncio.create_task(pool.render(b"sleep", VARIANTS, lambda _step, _done, _total: begun.set()))
        await begun.wait()
        await until(lambda: len(children_of(pool)) == 2)  # one is ready for the next image before that comes
        assert all(await asyncio.gather(*(works(pool) for _ in range(9))))
        await until(lambda: len(children_of(pool)) == 3)
        task.cancel()
        await asyncio.wait([task])
        await until(lambda: len(children_of(pool)) == 1)
        assert await works(pool)


async def test_under_a_steady_load_no_child_is_started_or_ended() -> None:
    async with hostile_pool(processes=3, idle_s=0.2) as pool:
        await pool.render(b"work", VARIANTS)
        await until(lambda: len(children_of(pool)) == 2)
        before = children_of(pool)
        for _ in range(3):
            await pool.render(b"work", VARIANTS)  # for as long as two idle times
        assert children_of(pool) == before


async def test_owners_who_take_turns_keep_their_children_as_long_as_there_are_enough() -> None:
    async with hostile_pool(processes=2) as pool:
        for owner in "abab":
            await pool.render(images.photo(), VARIANTS, owner=owner)
        before = children_of(pool)  # both, and at times a fresh one for a third owner
        for owner in "abab":
            await pool.render(images.photo(), VARIANTS, owner=owner)
        assert before <= children_of(pool)


async def test_of_many_owners_each_is_served_by_few_children() -> None:
    async with hostile_pool(processes=2) as pool:
        owners = [f"owner-{number % 7}" for number in range(28)]
        rendered = await asyncio.gather(*(pool.render(images.photo(), VARIANTS, owner=owner) for owner in owners))
        assert len(rendered) == 28
        await until(lambda: len(children_of(pool)) <= 3)  # one is fresh for whoever comes next


async def test_the_fork_server_s_end_costs_no_image_that_comes_after_it() -> None:
    async with hostile_pool(processes=2) as pool:
        begun = asyncio.Event()
        task = asyncio.create_task(code_of(pool, b"sleep", lambda _step, _done, _total: begun.set()))
        await begun.wait()
        fork_server_of(pool).kill()
        assert await task == "decoder_crashed", "which a job survives"
        assert all(await asyncio.gather(*(works(pool) for _ in range(3))))


async def test_a_child_that_cannot_start_says_why() -> None:
    with pytest.raises(DecoderStartError, match="no such codec"):
        await hostile_pool(processes=2, command=(*HOSTILE, "stillborn")).__aenter__()
    with pytest.raises(DecoderStartError, match="/nowhere/python"):
        await hostile_pool(command=("/nowhere/python",)).__aenter__()


@needs_linux
async def test_a_machine_that_lacks_a_part_of_the_sandbox_is_told_or_refused_at_the_start() -> None:
    command = (*HOSTILE, "without_landlock")
    async with hostile_pool(command=command) as pool:
        assert pool.sandbox_status == "partial: no landlock"
    with pytest.raises(DecoderStartError, match=r"IMGSVC_SANDBOX=require, .* lacks landlock \(.*disabled at boot"):
        await hostile_pool(command=command, sandbox="require").__aenter__()


async def test_when_no_child_comes_up_any_more_an_image_is_turned_away_instead_of_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "_BACK_OFF_S", 0.01)
    async with hostile_pool() as pool:
        monkeypatch.setattr(pool, "_command", (*HOSTILE, "stillborn"))
        fork_server_of(pool).kill()
        await until(lambda: not children_of(pool))
        with pytest.raises(DecoderStartError):  # which a job survives
            await works(pool)
        monkeypatch.undo()
        await until(lambda: not pool.is_broken)
        assert await works(pool)


async def test_a_pool_outlives_a_time_without_file_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_BACK_OFF_S", 0.01)
    async with hostile_pool() as pool:
        await works(pool)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = max(int(fd) for fd in os.listdir("/dev/fd")) + 1  # noqa: PTH208 (names alone)
        spare = [os.dup(0) for _ in range(most)]  # so that there is none free below the limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        try:
            assert await code_of(pool, b"leave") == "decoder_crashed"
            with pytest.raises(DecoderStartError):
                await works(pool)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in spare:
                os.close(fd)
        await until(lambda: not pool.is_broken)
        assert await works(pool)


def test_importing_the_pool_leaves_pillow_out() -> None:
    script = "import sys, imgsvc.decoder.pool; sys.exit('PIL' in sys.modules)"
    subprocess.run([sys.executable, "-I", "-c", script], check=True)
