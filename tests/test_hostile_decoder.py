"""A decoder that a file has taken over: it costs its own image, and finds no way out (rows D6 to D11)."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from imgsvc.decoder import wire
from imgsvc.decoder.pool import DecoderPool
from imgsvc.settings import MIB
from tests import images
from tests.decoders import VARIANTS, children_of, code_of, hostile_pool, needs_linux, works
from tests.service import is_alive, until

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
async def hostile() -> AsyncIterator[DecoderPool]:
    """One child that does what its images say, for tests that end one child at most."""
    async with hostile_pool() as opened:
        yield opened


async def test_d6_a_decoder_that_segfaults_costs_only_its_own_image(caplog: pytest.LogCaptureFixture) -> None:
    async with hostile_pool(processes=2) as pool:
        await pool.render(images.photo(), VARIANTS)
        crash = asyncio.create_task(code_of(pool, b"segfault"))
        good = [asyncio.create_task(works(pool)) for _ in range(20)]
        assert await crash == "decoder_crashed"
        assert all(await asyncio.gather(*good))
        await until(lambda: len(children_of(pool)) == 2)
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
        await until(lambda: psutil.Process(pid).cpu_times().user > 0.2)
        os.kill(pid, signal.SIGKILL)
        assert await stuck == "decoder_oom"


async def test_a_childs_last_words_reach_the_log_and_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    async with hostile_pool() as pool:
        assert await code_of(pool, b"speak_its_last") == "decoder_crashed"
        await until(lambda: "last words" in caplog.text)
    record = next(record for record in caplog.records if "last words" in record.getMessage())
    assert record.levelno == logging.WARNING
    assert len(record.getMessage()) < 6000


@pytest.mark.parametrize("act", [b"hang", b"hang_up"])
async def test_d7_an_image_that_takes_too_long_is_killed_at_the_wall(act: bytes) -> None:
    async with hostile_pool(wall_s=0.5) as pool:
        (pid,) = children_of(pool)
        began = time.monotonic()
        assert await code_of(pool, act) == "decode_timeout"
        assert 0.5 <= time.monotonic() - began < 10, "at its own wall, and not at the default of 20 s"
        await until(lambda: not psutil.pid_exists(pid))
        assert await works(pool)


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
from imgsvc.settings import MIB
from tests.decoders import hostile_pool

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
    await until(lambda: not is_alive(orphan))


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
