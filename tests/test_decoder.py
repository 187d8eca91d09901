"""The decoder pool, with real children: no image can hurt the service, or another image."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from imgsvc.decoder import pool as pool_module
from imgsvc.decoder import wire
from imgsvc.decoder.pool import DecoderError, DecoderPool, DecoderStartError
from imgsvc.formats import FORMATS
from imgsvc.imaging.encode import OUTPUTS
from imgsvc.model import FileFormat, Variant
from imgsvc.presets import PRESETS
from tests import images
from tests.hostile_child import ROOM_HELD_S
from tests.images import LIMITS

LINUX = sys.platform == "linux"
MIB = 1024 * 1024
GIB = 1024 * MIB
VARIANTS = (Variant("small", 100, 100),)
ROOT = Path(__file__).parent.parent
HOSTILE = (sys.executable, "-I", "-W", "ignore", str(Path(__file__).with_name("hostile_child.py")))

needs_linux = pytest.mark.skipif(not LINUX, reason="the sandbox is Linux's")


def hostile_pool(
    *,
    processes: int = 1,
    wall_s: float = 20.0,
    memory: int = GIB,
    sandbox: str = "auto",
    command: Sequence[str] = HOSTILE,
) -> DecoderPool:
    return DecoderPool(
        processes=processes,
        wall_s=wall_s,
        memory_bytes=memory,
        room_bytes=GIB,
        limits=LIMITS,
        sandbox=sandbox,
        command=command,
    )


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[DecoderPool]:
    """Two children of the real kind, for tests that do no harm."""
    sandbox = "require" if LINUX else "auto"
    async with DecoderPool(
        processes=2, wall_s=20, memory_bytes=GIB, room_bytes=GIB, limits=LIMITS, sandbox=sandbox
    ) as opened:
        yield opened


@pytest.fixture(scope="module")
async def hostile() -> AsyncIterator[DecoderPool]:
    """One child that does what its images say, for tests that end one child at most."""
    async with hostile_pool() as opened:
        yield opened


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


async def until(condition: Callable[[], bool], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


async def code_of(pool: DecoderPool, source: bytes) -> str:
    with pytest.raises(DecoderError) as caught:
        await pool.render(source, VARIANTS)
    return caught.value.code


async def works(pool: DecoderPool) -> bool:
    return len((await pool.render(images.photo(), VARIANTS)).renditions) == 1


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
    assert pool.posture == "full"


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
    assert len((await pool.render(images.KINDS[kind](), PRESETS["default"])).renditions) == 2


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: b"text", "unsupported_format"),
        (lambda: images.photo()[:5000], "decode_failed"),
        (images.png_header_bomb, "image_too_large"),
        (images.webp_header_bomb, "image_too_large"),
        (lambda: images.animation(301), "too_many_frames"),
    ],
)
async def test_a_bad_image_gets_its_code_and_costs_no_child(
    pool: DecoderPool, make: Callable[[], bytes], code: str
) -> None:
    before = children_of(pool)
    assert await code_of(pool, make()) == code
    assert children_of(pool) == before


async def test_an_image_larger_than_a_pipe_gets_through(pool: DecoderPool) -> None:
    source = images.encoded(images.scene(2000, 1500), "BMP")
    assert len(source) > 8 * MIB
    assert (await pool.render(source, VARIANTS)).original.width == 2000


async def test_d6_a_decoder_that_segfaults_costs_only_its_own_image(caplog: pytest.LogCaptureFixture) -> None:
    async with hostile_pool(processes=2) as pool:
        await pool.render(images.photo(), VARIANTS)
        crash = asyncio.create_task(code_of(pool, b"segfault"))
        good = [asyncio.create_task(works(pool)) for _ in range(20)]
        assert await crash == "decoder_crashed"
        assert all(await asyncio.gather(*good))
        await until(lambda: len(children_of(pool)) == 2, within_s=1)
    assert "SIGSEGV" in caplog.text


@pytest.mark.parametrize(
    ("act", "code"),
    [
        *((act, "decoder_crashed") for act in ("leave", "garbage", "long_header", "lie_about_a_length")),
        *((act, "decoder_crashed") for act in ("report_steps_for_ever", "foreign_code", "ask_for_room_twice")),
        ("allocate", "decoder_oom"),
        pytest.param("hog_cpu", "decode_timeout", marks=needs_linux),
    ],
)
async def test_d8_d9_a_child_gone_wrong_is_a_typed_error_and_the_next_image_is_fine(act: str, code: str) -> None:
    sandbox = "off" if act == "hog_cpu" else "auto"  # the lock would not let it signal itself
    async with hostile_pool(memory=512 * MIB, sandbox=sandbox) as pool:
        resident = psutil.Process().memory_info().rss
        assert await code_of(pool, act.encode()) == code
        assert psutil.Process().memory_info().rss < resident + 16 * MIB
        assert await works(pool)


async def test_d9_a_stray_print_does_not_disturb_the_replies(hostile: DecoderPool) -> None:
    assert len((await hostile.render(b"chatter", VARIANTS)).renditions) == 1
    assert await works(hostile)


async def test_a_child_killed_from_outside_counts_as_out_of_memory() -> None:
    async with hostile_pool() as pool:
        (pid,) = children_of(pool)
        stuck = asyncio.create_task(code_of(pool, b"hang"))
        await until(lambda: psutil.Process(pid).cpu_times().user > 0.2, within_s=5)
        os.kill(pid, signal.SIGKILL)
        assert await stuck == "decoder_oom"


async def test_a_childs_last_words_reach_the_log_and_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    async with hostile_pool() as pool:
        assert await code_of(pool, b"speak_its_last") == "decoder_crashed"
        await until(lambda: "last words" in caplog.text, within_s=2)
    record = next(record for record in caplog.records if "last words" in record.getMessage())
    assert record.levelno == logging.WARNING
    assert len(record.getMessage()) < 6000


@pytest.mark.parametrize("act", [b"hang", b"hang_up"])
async def test_d7_an_image_that_takes_too_long_is_killed_at_the_wall(act: bytes) -> None:
    async with hostile_pool(wall_s=0.5) as pool:
        (pid,) = children_of(pool)
        began = time.monotonic()
        assert await code_of(pool, act) == "decode_timeout"
        assert time.monotonic() - began < 1.0
        await until(lambda: not psutil.pid_exists(pid), within_s=1)
        assert await works(pool)


async def test_d2_an_image_waits_for_room_without_its_time_running_out() -> None:
    wall_s, images_at_once = 1.8 * ROOM_HELD_S, 3
    async with hostile_pool(processes=images_at_once, wall_s=wall_s) as pool:
        began = time.monotonic()
        await asyncio.gather(*(pool.render(b"fill_the_room", VARIANTS) for _ in range(images_at_once)))
        seconds = time.monotonic() - began
    assert seconds >= images_at_once * ROOM_HELD_S > wall_s, "one at a time, and the last beyond its wall"


async def test_cancelling_a_render_kills_its_child_and_the_pool_goes_on() -> None:
    async with hostile_pool() as pool:
        (pid,) = children_of(pool)
        begun = asyncio.Event()
        task = asyncio.create_task(pool.render(b"hang", VARIANTS, lambda _step, _done, _total: begun.set()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not psutil.pid_exists(pid), within_s=0.5)
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
        for pid in children_of(pool):
            os.kill(pid, signal.SIGKILL)
        assert all(await asyncio.gather(*(works(pool) for _ in range(6))))
        await until(lambda: len(children_of(pool)) == 2, within_s=1)


async def test_a_child_is_replaced_after_its_share_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_IMAGES_PER_CHILD", 3)
    async with hostile_pool() as pool:
        before = children_of(pool)
        assert all([await works(pool) for _ in range(3)])
        await until(lambda: before.isdisjoint(children_of(pool)), within_s=1)
        assert await works(pool)


@needs_linux
async def test_a_child_that_grows_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "MAX_GROWTH_BYTES", -1)
    async with hostile_pool() as pool:
        before = children_of(pool)
        assert await works(pool)
        await until(lambda: before.isdisjoint(children_of(pool)), within_s=1)


@needs_linux
async def test_d10_code_in_a_locked_child_finds_no_way_out(hostile: DecoderPool) -> None:
    found = json.loads((await hostile.render(b"escape", VARIANTS)).renditions[0].data)
    assert found.pop("environment") == []
    assert found.pop("thread") == "done"  # what libwebp needs
    assert set(found.values()) == {"PermissionError"}, found


@needs_linux
async def test_d10_our_environment_never_reaches_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGSVC_S3_SECRET_ACCESS_KEY", "secret")
    async with hostile_pool() as pool:
        (pid,) = children_of(pool)
        with suppress(psutil.AccessDenied):  # not even readable, unless we are root
            assert psutil.Process(pid).environ() == {}


async def test_d11_a_killed_parent_takes_its_children_along() -> None:
    script = """
import asyncio
from imgsvc.formats import FORMATS
from imgsvc.imaging.encode import OUTPUTS
from imgsvc.model import FileFormat, Variant
from tests.test_decoder import hostile_pool

async def main():
    async with hostile_pool() as pool:
        await pool.render(b"hang", [Variant("v", 9, 9)], lambda *step: print("busy", flush=True))

asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"busy\n"  # so that the closed pipe is not what ends the child
    (orphan,) = psutil.Process(parent.pid).children()
    parent.kill()
    await parent.wait()
    # where no init reaps orphans, as in some containers, it stays as a zombie
    await until(lambda: not is_alive(orphan), within_s=0.5)


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


async def test_a_child_that_cannot_start_says_why() -> None:
    with pytest.raises(DecoderStartError, match="no such codec"):
        await hostile_pool(processes=2, command=(*HOSTILE, "stillborn")).__aenter__()
    with pytest.raises(DecoderStartError, match="/nowhere/python"):
        await hostile_pool(command=("/nowhere/python",)).__aenter__()


async def test_when_no_child_comes_up_any_more_an_image_is_turned_away_instead_of_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "_BACK_OFF_S", 0.01)
    async with hostile_pool() as pool:
        monkeypatch.setattr(pool, "_command", (*HOSTILE, "stillborn"))
        assert await code_of(pool, b"leave") == "decoder_crashed"
        with pytest.raises(DecoderStartError):  # which a job survives
            await works(pool)
        monkeypatch.undo()
        await until(lambda: not pool._failing, within_s=5)  # pyright: ignore[reportPrivateUsage]
        assert await works(pool)


def test_importing_the_pool_leaves_pillow_out() -> None:
    script = "import sys, imgsvc.decoder.pool; sys.exit('PIL' in sys.modules)"
    subprocess.run([sys.executable, "-I", "-c", script], check=True)


ORIGINAL = b'{"width": 1, "height": 1, "format": "jpeg", "frames": 1}'


@pytest.mark.parametrize(
    "header",
    [
        *(b"", b"[]", b"{}", b'{"Done": null}', b'{"Done": {}, "Step": {}}', b'{"Other": {}}'),
        b'{"Step": {"step": "encode:other", "done": 0, "total": 2}}',
        b'{"Step": {"step": "decode", "done": 3, "total": 2}}',
        b'{"Step": {"step": "decode", "done": true, "total": 2}}',
        b'{"Failed": {"code": ["decode_failed"]}}',
        b'{"Done": {"original": {}, "results": [{"width": 1, "height": 1, "size_bytes": 1}]}}',
        b'{"Done": {"original": %b, "results": []}}' % ORIGINAL,
        b'{"Done": {"original": %b, "results": [{"width": 101, "height": 1, "size_bytes": 1}]}}' % ORIGINAL,
        b'{"Done": {"original": %b, "results": [{"width": 1, "height": 1, "size_bytes": 1000000}]}}' % ORIGINAL,
    ],
)
def test_a_parent_believes_nothing_that_an_honest_child_would_not_say(header: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.read_reply(header, wire.Request(VARIANTS, 1))


def children_of(pool: DecoderPool) -> set[int]:
    return {decoder.pid for decoder in pool._decoders}  # pyright: ignore[reportPrivateUsage]
