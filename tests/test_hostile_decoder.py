"""A decoder that a file has taken over: it costs its own image, and finds no way out (rows D6 to D11)."""

import asyncio
import errno
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from imgsvc.decoder import wire
from imgsvc.decoder.pipes import PIPE_BYTES
from imgsvc.decoder.pool import DecoderError, DecoderPool
from imgsvc.decoder.process import Decoder
from imgsvc.domain.facts import Position
from imgsvc.domain.model import MAX_FILES, MAX_RESULTS_BYTES, Isolation, Original, Placeholder, Rendered, Variant
from imgsvc.domain.problems import WARNINGS
from imgsvc.runtime.settings import MIB
from tests.support import images
from tests.support.decoders import VARIANTS, children_of, code_of, hostile_pool, needs_linux, works
from tests.support.service import is_alive, until

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
    assert "SIGSEGV" in caplog.text


@pytest.mark.parametrize(
    ("act", "code"),
    [
        *((act, "decoder_crashed") for act in ("leave", "garbage", "long_header", "lie_about_a_length")),
        *((act, "decoder_crashed") for act in ("report_steps_for_ever", "foreign_code", "ask_for_room_twice")),
        *((act, "decoder_crashed") for act in ("send_half_a_frame", "close_stderr")),
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
        begun = asyncio.Event()
        stuck = asyncio.create_task(code_of(pool, b"sleep", lambda _step, _done, _total: begun.set()))
        await begun.wait()
        os.kill(pid, signal.SIGKILL)
        assert await stuck == "decoder_oom"


async def test_a_childs_last_words_reach_the_log_and_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    async with hostile_pool() as pool:
        assert await code_of(pool, b"speak_its_last") == "decoder_crashed"
        await until(lambda: "stderr tail" in caplog.text)
    record = next(record for record in caplog.records if "stderr tail" in record.getMessage())
    assert record.levelno == logging.WARNING
    assert len(record.getMessage()) < 6000


@needs_linux
@pytest.mark.parametrize("act", [b"hang", b"ignore_sigterm"])
async def test_d7_an_image_that_computes_too_long_is_killed_at_its_cpu_time(act: bytes) -> None:
    async with hostile_pool(timeout_s=0.5, wall_s=1000) as pool:
        (pid,) = children_of(pool)
        began = time.monotonic()
        assert await code_of(pool, act) == "decode_timeout"
        assert time.monotonic() - began >= 0.5
        await until(lambda: not psutil.pid_exists(pid))
        assert await works(pool)


@pytest.mark.parametrize(
    ("act", "sandbox"),
    # the lock would not let it stop itself
    [(b"hang", "auto"), (b"hang_up", "auto"), (b"sleep", "auto"), (b"drip", "auto"), (b"stop_itself", "off")],
)
async def test_d7_an_image_that_takes_too_long_is_killed_at_the_wall(act: bytes, sandbox: str) -> None:
    async with hostile_pool(wall_s=0.5, sandbox=sandbox) as pool:
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
async def test_d10_no_system_call_but_those_on_the_list_does_anything(hostile: DecoderPool) -> None:
    found = json.loads((await hostile.render(b"system_calls", VARIANTS)).renditions[0].data)
    assert found.pop("clone3") == errno.ENOSYS, "so that the C library falls back to what can be looked into"
    assert set(found.values()) == {errno.EPERM}, {name: code for name, code in found.items() if code != errno.EPERM}
    assert len(found) > 500


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the gate is x86's")
async def test_d10_a_call_by_the_32_bit_gate_is_a_decoder_s_end(caplog: pytest.LogCaptureFixture) -> None:
    async with hostile_pool() as pool:
        assert await code_of(pool, b"call_by_the_32_bit_gate") == "decoder_crashed"
        assert await works(pool)
    assert "SIGSYS" in caplog.text or "SIGSEGV" in caplog.text, "the latter where the kernel has no such gate"


@needs_linux
async def test_d10_a_decoder_has_limits_on_tasks_and_is_the_first_to_go_without_memory() -> None:
    async with hostile_pool() as pool:
        (pid,) = children_of(pool)
        assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"
        limits = Path(f"/proc/{pid}/limits").read_text()
        (tasks,) = re.findall(r"Max processes +(\d+)", limits)
        assert 1024 < int(tasks) < 100_000


@pytest.mark.parametrize("isolation", ["owner", "image"])
async def test_d20_a_decoder_taken_over_by_one_owner_s_file_never_gets_another_s(isolation: Isolation) -> None:
    async with hostile_pool(processes=2, isolation=isolation) as pool:
        for number in range(8):
            await pool.render(b"take_over", VARIANTS, owner="mallory")
            rendered = await pool.render(b"secret of alice %d" % number, VARIANTS, owner="alice")
            assert rendered.renditions[0].data == b"x", "made by an honest decoder"
            rendered = await pool.render(b"secret of mallory", VARIANTS, owner="mallory")
            assert b"alice" not in rendered.renditions[0].data


async def test_d20_where_owners_share_decoders_the_same_attack_works() -> None:
    async with hostile_pool(isolation="batch") as pool:
        await pool.render(b"take_over", VARIANTS, owner="mallory")
        await pool.render(b"secret of alice", VARIANTS, owner="alice")
        told = await pool.render(b"secret of mallory", VARIANTS, owner="mallory")
        assert json.loads(told.renditions[0].data) == ["secret of alice", "secret of mallory"]


async def test_d20_owners_who_all_come_at_once_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, set[str]] = {}
    ask = Decoder.render

    async def watched(self: Decoder, *arguments: Any) -> Rendered:
        seen.setdefault(self.pid, set()).add(str(self.owner))
        return await ask(self, *arguments)

    monkeypatch.setattr(Decoder, "render", watched)
    async with hostile_pool(processes=3) as pool:
        owners = [f"owner-{number * number % 5}" for number in range(40)]
        acts = [b"segfault" if number % 9 == 0 else b"secret" for number in range(40)]

        async def one(act: bytes, owner: str) -> None:
            with suppress(DecoderError):
                await pool.render(act, VARIANTS, owner=owner)

        await asyncio.gather(*(one(act, owner) for act, owner in zip(acts, owners, strict=True)))
    assert {len(owners) for owners in seen.values()} == {1}
    assert set().union(*seen.values()) == set(owners)


async def test_d21_what_a_decoder_says_unasked_is_no_reply_to_the_next_image() -> None:
    async with hostile_pool() as pool:
        (pid,) = children_of(pool)
        assert (await pool.render(b"send_its_result_twice", VARIANTS)).renditions[0].data == b"x"
        rendered = await pool.render(images.photo(), VARIANTS)
        assert images.opened(rendered.renditions[0].data).size == (100, 67)
        assert pid not in children_of(pool)


async def test_d21_a_decoder_that_takes_no_more_images_costs_its_next_one_the_wall_at_most() -> None:
    async with hostile_pool(wall_s=1.0) as pool:
        assert (await pool.render(b"answer_and_stop_reading", VARIANTS)).renditions[0].data == b"x"
        large = images.encoded(images.scene(1000, 800), "BMP")
        assert len(large) > PIPE_BYTES
        assert await code_of(pool, large) == "decode_timeout"
        assert (await pool.render(large, VARIANTS)).original.width == 1000


async def test_d21_a_decoder_that_floods_stderr_is_ended_before_it_costs_its_parent_anything() -> None:
    async with hostile_pool() as pool:
        before = time.process_time(), psutil.Process().memory_info().rss
        assert await code_of(pool, b"flood_stderr") == "decoder_crashed"
        assert time.process_time() - before[0] < 0.5
        assert psutil.Process().memory_info().rss - before[1] < 4 * MIB
        assert await works(pool)


def test_d21_the_files_made_of_one_image_are_bounded_together() -> None:
    variants = tuple(Variant(f"v{number}", 8192, 8192) for number in range(10))
    result = b'{"variant": "v%d", "width": 8192, "height": 8192, "format": "png", "size_bytes": %d}'
    placeholder = b'{"thumbhash": "AAAAAAAA", "color": "#000000"}'

    def done(size_bytes: int) -> bytes:
        results = b",".join(result % (number, size_bytes) for number in range(10))
        return b'{"Done": {"original": %b, "results": [%b], "placeholder": %b}}' % (ORIGINAL, results, placeholder)

    request = wire.Request(variants, 1)
    most = MAX_RESULTS_BYTES // 10
    assert isinstance(wire.read_reply(done(most), request), wire.Done)
    with pytest.raises(wire.WireError, match="more bytes"):
        wire.read_reply(done(most + 1), request)


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
from imgsvc.domain.formats import FORMATS
from imgsvc.imaging.encode import OUTPUTS
from imgsvc.domain.model import FileFormat, Variant
from imgsvc.runtime.settings import MIB
from tests.support.decoders import hostile_pool

async def main():
    async with hostile_pool() as pool:
        await pool.render(b"hang", [Variant("v", 9, 9)], lambda *step: print("busy", flush=True))

asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"busy\n"  # so that the closed pipe is not what ends the child
    orphans = psutil.Process(parent.pid).children(recursive=True)
    assert len(orphans) >= 2, "the fork server, and what it forked"
    parent.kill()
    await parent.wait()
    # where no init reaps orphans, as in some containers, they stay as zombies
    await until(lambda: not any(is_alive(orphan) for orphan in orphans))


ORIGINAL = b'{"width": 1, "height": 1, "format": "jpeg", "frames": 1, "facts": {"palette": []}}'


@pytest.mark.parametrize(
    "header",
    [
        *(b"", b"[]", b"{}", b'{"Done": null}', b'{"Done": {}, "Step": {}}', b'{"Other": {}}'),
        b'{"Step": {"step": "encode:other", "done": 0, "total": 2}}',
        b'{"Step": {"step": "decode", "done": 3, "total": 2}}',
        b'{"Step": {"step": "decode", "done": true, "total": 2}}',
        b'{"Failed": {"code": ["decode_failed"]}}',
        b'{"Done": {"original": {}, "results": []}}',
    ],
)
def test_a_parent_believes_nothing_that_an_honest_child_would_not_say(header: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.read_reply(header, wire.Request(VARIANTS, 1))


HERO = (*VARIANTS, Variant("hero", 16, 9, "cover", widths=(32, 64), formats=("webp", "jpeg")))
SMALL = {"variant": "small", "width": 1, "height": 1, "format": "jpeg", "size_bytes": 1}
WIDE = {"variant": "hero", "width": 64, "height": 36, "set_width": 64, "format": "webp", "size_bytes": 1}


def done(*results: object) -> bytes:
    placeholder = {"thumbhash": "AAAAAAAA", "color": "#000000"}
    return orjson.dumps({"Done": {"original": orjson.loads(ORIGINAL), "results": results, "placeholder": placeholder}})


def test_d72_a_set_comes_in_as_many_files_as_its_image_is_wide_enough_for() -> None:
    request = wire.Request(HERO, 1)
    narrow = WIDE | {"width": 32, "height": 18, "set_width": 32}
    for results in ([SMALL, WIDE], [SMALL, narrow, narrow | {"format": "jpeg"}, WIDE, WIDE | {"format": "jpeg"}]):
        reply = wire.read_reply(done(*results), request)
        assert isinstance(reply, wire.Done)
        assert [result.variant for result in reply.results] == [result["variant"] for result in results]


def test_the_most_files_with_the_longest_names_fit_into_one_message() -> None:
    name = "v" * 40
    widths = tuple(range(8193 - MAX_FILES, 8193))
    sources = tuple(Variant(name, page=page, widths=widths, background="#ffffff") for page in range(10))
    results = [wire.Result(name, 8192, 8192, "jpeg", 2**28, 100, False, 8192)] * MAX_FILES
    placeholder = Placeholder("A" * 60, "#000000")
    done = wire.Done(Original(8192, 8192, "jpeg", 1), tuple(results), placeholder, tuple(WARNINGS))
    for message in (wire.Request(sources, 2**31), done):
        assert len(wire.frame(message)) < wire.MAX_HEADER_BYTES / 2


@pytest.mark.parametrize(
    "results",
    [
        [WIDE],
        [SMALL],
        [SMALL, SMALL, WIDE],
        [SMALL, SMALL | {"format": "png"}, WIDE],
        [SMALL, WIDE, WIDE],
        [SMALL, *(WIDE | {"width": width, "set_width": width} for width in range(60, 65))],
        [SMALL, WIDE | {"set_width": None}],
        [SMALL, WIDE | {"set_width": 63}],
        [SMALL, WIDE | {"width": 65, "set_width": 65}],
        [SMALL, WIDE | {"height": 37}],
        [SMALL | {"set_width": 1}, WIDE],
        [SMALL | {"variant": "other"}, WIDE],
        [SMALL | {"variant": ["small"]}, WIDE],
        [SMALL | {"width": 101}, WIDE],
        [SMALL | {"size_bytes": 1_000_000}, WIDE],
        [SMALL, WIDE, "hero"],
    ],
)
def test_d72_a_parent_believes_no_results_that_are_not_those_of_its_request(results: list[object]) -> None:
    with pytest.raises(wire.WireError):
        wire.read_reply(done(*results), wire.Request(HERO, 1))


@pytest.mark.parametrize("keep_location", [True, False])
def test_d9_a_position_is_believed_only_where_somebody_asked_for_it(keep_location: bool) -> None:
    said = done(SMALL).replace(b'"palette":[]', b'"palette":[],"position":{"latitude":1,"longitude":2}')
    request = wire.Request(VARIANTS, 1, keep_location=keep_location)
    if keep_location:
        reply = wire.read_reply(said, request)
        assert isinstance(reply, wire.Done)
        assert reply.original.facts.position == Position(1, 2)
    else:
        with pytest.raises(wire.WireError, match="nobody asked"):
            wire.read_reply(said, request)


def test_d9_facts_that_are_none_break_the_protocol() -> None:
    with pytest.raises(wire.WireError, match="facts"):
        wire.read_reply(done(SMALL).replace(b'"palette":[]', b'"palette":["red"]'), wire.Request(VARIANTS, 1))
