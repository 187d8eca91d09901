"""The fault plan's decoder rows: no file takes more than its share of time or memory, or comes out wrong.

The rows about children that die or are taken over stand in tests/test_hostile_decoder.py, the one about waiting for
room in tests/test_decoder.py, those over time in tests/slow/.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from time import monotonic

import psutil
import pytest

from imgsvc.decoder.pool import DecoderPool
from imgsvc.domain.formats import FORMATS
from imgsvc.domain.model import Rendered, Variant
from imgsvc.runtime.settings import MIB
from tests.support import images, profiles
from tests.support.decoders import DEFAULT, FILM, GIB, answers, decoder_pool, outcome
from tests.support.images import LIMITS

SMALL = (Variant("small", 100, 100),)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[DecoderPool]:
    async with decoder_pool(2) as opened:
        yield opened


@pytest.mark.parametrize(
    ("row", "make", "wanted", "within_s", "grows"),
    [
        ("d1 a PNG of 1600 MP", images.png_header_bomb, {"image_too_large"}, 0.2, 10 * MIB),
        ("d1 a WebP of 268 MP", images.webp_header_bomb, {"image_too_large"}, 0.2, 10 * MIB),
        ("d3 10 000 frames", lambda: images.many_frames(10_000, "GIF"), {"too_many_frames"}, 0.5, 10 * MIB),
        ("d3 5 000 frames", lambda: images.many_frames(5_000, "WEBP"), {"too_many_frames"}, 0.5, 10 * MIB),
        ("d4 a huge second frame", lambda: images.growing_gif(16_000, 16_000), {"image_too_large"}, 0.5, 10 * MIB),
        ("d16 a text of 200 MB", images.png_text_bomb, {"ok"}, 1.0, 64 * MIB),
        ("d16 100 000 chunks", lambda: images.png_of_chunks(100_000), {"ok", "decode_failed"}, 1.0, 64 * MIB),
        ("d16 an APNG", lambda: images.animation(300, "PNG"), {"ok"}, 1.0, 64 * MIB),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else "",
)
async def test_what_a_small_file_claims_costs_nearly_nothing(
    row: str, make: Callable[[], bytes], wanted: set[str], within_s: float, grows: int
) -> None:
    source = make()
    async with decoder_pool() as pool:
        with answers() as given:
            await pool.render(images.photo(), SMALL)
            begin = monotonic()
            came = await outcome(pool, source, FILM)
            seconds = monotonic() - begin
    before, after = given
    assert after.pid == before.pid
    grown = after.peak_bytes - before.peak_bytes
    print(f"{row}: {came if isinstance(came, str) else 'ok'} after {seconds:.3f} s, {grown / MIB:.1f} MiB more")
    assert (came if isinstance(came, str) else "ok") in wanted
    assert seconds <= 2 * within_s
    assert grown <= grows


async def test_d2_the_largest_legal_images_are_decoded_as_far_as_there_is_room() -> None:
    def plain(fmt: str, mode: str, **options: object) -> bytes:
        return images.encoded(images.plain("red", mode, (7000, 7000)), fmt, **options)

    sources = [
        plain("JPEG", "RGB", progressive=True, subsampling="4:4:4"),
        plain("PNG", "RGBA", compress_level=1),
        plain("WEBP", "RGBA", method=0, quality=50),
        plain("TIFF", "RGBA", compression="tiff_lzw"),
        plain("AVIF", "RGB", speed=10),
    ]
    async with decoder_pool(2) as pool:
        held = psutil.Process().memory_info().rss
        with answers() as given:
            rendered = await asyncio.gather(*(pool.render(source, DEFAULT) for source in sources))
        grown = psutil.Process().memory_info().rss - held
    assert len(given) == len(sources)
    most = max(answer.peak_bytes for answer in given)
    print(f"the largest child held {most / MIB:.0f} MiB, its parent {grown / MIB:.0f} MiB more")
    assert [one.original.width for one in rendered] == [7000] * 5
    assert most <= GIB
    assert grown <= 64 * MIB


async def test_d3_the_pixels_of_all_frames_count() -> None:
    film = images.animation(10)  # of 8 x 8 pixels
    async with decoder_pool(limits=replace(LIMITS, max_animation_pixels=639)) as pool:
        assert await outcome(pool, film, FILM) == "too_many_frames"
        assert isinstance(await outcome(pool, film), Rendered), "one frame is no film"
    async with decoder_pool(limits=replace(LIMITS, max_animation_pixels=640)) as pool:
        assert isinstance(await outcome(pool, film, FILM), Rendered)


async def test_d4_a_later_frame_is_cut_to_the_first_one_s_size(pool: DecoderPool) -> None:
    came = await pool.render(images.growing_gif(16, 16), FILM)
    assert (came.renditions[0].width, came.renditions[0].height) == (8, 8)


def test_d5_plugins_for_what_is_never_read_are_never_loaded() -> None:
    script = """
import sys
from imgsvc.imaging.warmup import warm_up
warm_up()
loaded = {name.removeprefix("PIL.").removesuffix("ImagePlugin") for name in sys.modules if name.endswith("ImagePlugin")}
assert not loaded & {"Eps", "Pdf", "Psd", "Icns", "Fits", "Ico", "Mic", "Fpx", "Wmf", "Sgi", "Tga"}, loaded
"""
    subprocess.run([sys.executable, "-I", "-c", script], check=True, timeout=30)


async def test_d7_a_jpeg_of_very_many_scans_is_stopped_at_its_limit() -> None:
    source = images.many_scans(8000, (4000, 3000))
    async with decoder_pool(timeout_s=1.0) as pool:
        begin = monotonic()
        assert await outcome(pool, source) == "decode_timeout"
        seconds = monotonic() - begin
        assert isinstance(await outcome(pool, images.photo()), Rendered)
    print(f"stopped after {seconds:.2f} s")
    assert seconds < 20, "all of it takes a minute"


@pytest.mark.parametrize("name", FORMATS)
async def test_d12_a_truncated_image_is_never_taken_for_whole(
    pool: DecoderPool, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = images.encoded(images.scene(), name.upper())
    cuts = [whole[: max(20, len(whole) * part // 64)] for part in range(1, 64)]
    came = await asyncio.gather(*(outcome(pool, cut, SMALL) for cut in cuts))
    assert "died" not in caplog.text
    told = [one if isinstance(one, str) else ", ".join(one.warnings) for one in came]
    assert set(told) <= {"decode_failed", "truncated"}
    assert set(told[:16]) == {"decode_failed"}, "most of it is missing"
    assert sorted(told) == told, "the more there is of it, the better"


@pytest.mark.parametrize("name", FORMATS)
async def test_d12_a_truncated_image_is_refused_where_the_operator_says_so(name: str) -> None:
    whole = images.encoded(images.scene(), name.upper())
    cuts = [whole[: len(whole) * part // 16] for part in range(2, 16)]
    async with decoder_pool(limits=replace(LIMITS, truncated="refuse")) as pool:
        assert set(await asyncio.gather(*(outcome(pool, cut, SMALL) for cut in cuts))) == {"decode_failed"}


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "TIFF"])
async def test_d15_a_profile_of_10_mb_is_converted_or_dropped(pool: DecoderPool, fmt: str) -> None:
    profile = profiles.padded(profiles.rgb(profiles.SRGB, 2.2), 10 * MIB)
    came = await outcome(pool, images.encoded(images.plain((200, 100, 50)), fmt, icc_profile=profile))
    if isinstance(came, Rendered):
        assert images.near(images.pixel(images.opened(came.renditions[0].data)), (200, 100, 50), by=6)
    else:
        assert came == "decode_failed"


async def test_d17_the_same_input_gives_the_same_bytes_whatever_the_child_and_the_attempt() -> None:
    variants = (
        *DEFAULT,
        *(Variant(fmt, 300, 300, format=fmt, frames="all") for fmt in ("webp", "avif", "png", "gif")),
        Variant("jxl", 300, 300, format="jxl"),
        Variant("crop", 200, 200, fit="cover", gravity="entropy", blur=2, sharpen=1),
    )
    sources = [images.photo(1200, 800), images.animation(5), images.encoded(images.scene().convert("RGBA"), "PNG")]
    runs: list[list[Rendered]] = []
    for _ in range(2):
        async with decoder_pool(2) as pool:
            for _ in range(2):
                runs.append(await asyncio.gather(*(pool.render(source, variants) for source in sources)))
    assert all(run == runs[0] for run in runs)
