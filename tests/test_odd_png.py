"""PNG as its files are: colours told by numbers, one colour for transparency, chunks that are damaged or vast.

The values are those of Chromium.
"""

import zlib
from dataclasses import replace
from time import process_time

import pytest

from tests.support import odd_images, profiles
from tests.support.images import LIMITS, png_chunk
from tests.support.odd_images import code_points, gamma, png
from tests.support.pixels import CLEAR, at, code_of, decoded, near, rendered

BRICK = (180, 90, 60)
RED = (200, 30, 30)
DISPLAY_P3 = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)


def chromaticities(*values: int) -> bytes:
    return png_chunk(b"cHRM", b"".join(value.to_bytes(4, "big") for value in values))


def of_one(*levels: int, kind: int = 2, depth: int = 8, chunks: tuple[bytes, ...] = (), palette: bytes = b"") -> bytes:
    """A PNG of one colour."""
    return png([levels] * 32, *chunks, kind=kind, depth=depth, palette=palette)


@pytest.mark.parametrize(
    ("chunks", "wanted"),
    [
        ((gamma(55_100),), (193, 108, 76)),
        ((gamma(100_000),), (219, 161, 133)),
        ((gamma(45_455),), BRICK),
        ((gamma(0),), BRICK),
        ((gamma(45_455), chromaticities(*DISPLAY_P3)), (195, 83, 47)),
        ((chromaticities(*DISPLAY_P3),), BRICK),
        ((png_chunk(b"sRGB", b"\x00"), gamma(55_100)), BRICK),
        ((code_points(12, 13),), (193, 83, 51)),
        ((code_points(9, 13),), (217, 68, 50)),
        ((code_points(1, 13),), BRICK),
        ((code_points(1, 1),), (176, 81, 49)),
        ((code_points(12, 13), gamma(55_100)), (193, 83, 51)),
        ((code_points(12, 13, full=0),), BRICK),
        ((code_points(99, 99),), BRICK),
    ],
    ids=str,
)
def test_colours_that_numbers_tell_are_converted(chunks: tuple[bytes, ...], wanted: tuple[int, int, int]) -> None:
    assert near(at(decoded(of_one(*BRICK, chunks=chunks))), wanted)
    assert rendered(of_one(*BRICK, chunks=chunks)).warnings == ()


@pytest.mark.parametrize(
    ("levels", "kind", "depth", "wanted"),
    [
        ((90,), 0, 8, (108, 108, 108)),
        ((90, 200), 4, 8, (108, 108, 108, 200)),
        ((*BRICK, 200), 6, 8, (193, 108, 76, 200)),
        ((90 * 257,), 0, 16, (108, 108, 108)),
        (tuple(level * 257 for level in BRICK), 2, 16, (193, 108, 76)),
        (tuple(level * 257 for level in (*BRICK, 200)), 6, 16, (193, 108, 76, 200)),
        ((1,), 3, 8, (193, 108, 76)),
    ],
)
def test_gamma_counts_in_every_kind_of_png(levels: tuple[int, ...], kind: int, depth: int, wanted: object) -> None:
    palette = bytes((0, 0, 0, *BRICK)) if kind == 3 else b""
    found = at(decoded(of_one(*levels, kind=kind, depth=depth, chunks=(gamma(55_100),), palette=palette)))
    assert near(found, wanted)  # pyright: ignore[reportArgumentType] (levels)


@pytest.mark.parametrize(
    ("transfer", "level", "wanted"),
    [(16, 60, 26), (16, 128, 132), (16, 160, 213), (16, 255, 255), (18, 60, 39), (18, 128, 99), (18, 255, 255)],
)
def test_brightness_beyond_white_is_squeezed_into_it_and_that_is_told(transfer: int, level: int, wanted: int) -> None:
    source = of_one(level, level, level, chunks=(code_points(9, transfer),))
    assert near(at(decoded(source)), (wanted,) * 3, by=4)
    assert rendered(source).warnings == ("colour_assumed",)


@pytest.mark.parametrize(
    ("primaries", "transfer", "wanted"),
    [
        *((1, 16, (255, 52, 21)), (12, 16, (255, 0, 0)), (1, 18, (152, 70, 46))),
        *((12, 18, (164, 64, 38)), (9, 18, (186, 49, 38))),
    ],
)
def test_bright_colours_keep_their_hue(primaries: int, transfer: int, wanted: tuple[int, int, int]) -> None:
    assert near(at(decoded(of_one(*BRICK, chunks=(code_points(primaries, transfer),)))), wanted, by=6)


def keyed(kind: int, depth: int, key: tuple[int, ...], other: tuple[int, ...]) -> bytes:
    """Left of the middle all is transparent, by its colour."""
    chunk = png_chunk(b"tRNS", b"".join(level.to_bytes(2, "big") for level in key))
    return png([key] * 16 + [other] * 16, chunk, kind=kind, depth=depth)


@pytest.mark.parametrize(
    ("kind", "depth", "key", "other"),
    [
        *((0, 1, (0,), (1,)), (0, 1, (1,), (0,)), (0, 2, (3,), (2,)), (0, 2, (1,), (0,)), (0, 4, (7,), (8,))),
        *((0, 8, (100,), (101,)), (0, 16, (0x1234,), (0x1235,)), (0, 16, (65_535,), (65_534,)), (0, 16, (0,), (1,))),
        *((2, 8, (10, 20, 30), (10, 20, 31)), (2, 16, (1000, 2000, 3000), (1000, 2000, 3001))),
        (2, 16, (65_535, 1000, 1000), (65_535, 1000, 1001)),
    ],
)
def test_one_colour_for_transparency_counts_in_every_depth(
    kind: int, depth: int, key: tuple[int, ...], other: tuple[int, ...]
) -> None:
    image = decoded(keyed(kind, depth, key, other))
    assert at(image, 0.25) == CLEAR
    most = (1 << depth) - 1
    levels = [level * 255 // most for level in other]
    assert near(at(image, 0.75), levels * 3 if kind == 0 else levels, by=1)


WHOLE = of_one(*RED, chunks=(gamma(45_455), png_chunk(b"tEXt", b"a\x00b")))


@pytest.mark.parametrize("kind", [b"gAMA", b"tEXt", b"IDAT", b"IEND"])
def test_a_wrong_checksum_beside_or_of_the_pixels_is_no_reason_to_refuse_them(kind: bytes) -> None:
    assert near(at(decoded(odd_images.with_wrong_sum(WHOLE, kind))), RED)


@pytest.mark.parametrize(
    "chunk",
    [
        *((b"tIME", b"\x00"), (b"pHYs", b"\x00"), (b"gAMA", b"\x00"), (b"cHRM", b"\x00"), (b"sRGB", b"")),
        *((b"tRNS", b""), (b"zTXt", b"a\x00\x01x"), (b"zTXt", b""), (b"iTXt", b"\xff"), (b"eXIf", b"x")),
        *((b"acTL", b"\x00"), (b"fcTL", b"\x00"), (b"fdAT", b"\x00"), (b"cICP", b"x"), (b"abCd", b"x" * 10)),
        (b"iTXt", b"XML:com.adobe.xmp\x00\x01\x00\x00\x00" + zlib.compress(b"<x/>" * 600_000)),
        (b"zTXt", b"parameters\x00\x00" + zlib.compress(b"a prompt " * 200_000)),
        (b"tEXt", b"parameters\x00" + bytes(3_000_000)),
    ],
    ids=lambda chunk: f"{chunk[0].decode()}-{len(chunk[1])}",
)
def test_d41_what_is_beside_the_pixels_may_be_damaged_or_vast(chunk: tuple[bytes, bytes]) -> None:
    source = of_one(*RED, chunks=(png_chunk(*chunk),))
    assert near(at(decoded(source)), RED)
    assert rendered(source).warnings == ()


@pytest.mark.parametrize("packed", [b"x", b"a\x00\x01x", b"a\x00\x00junk", b"a\x00\x00" + zlib.compress(b"no profile")])
def test_a_profile_that_is_none_is_ignored_and_that_is_told(packed: bytes) -> None:
    source = of_one(*RED, chunks=(png_chunk(b"iCCP", packed),))
    assert near(at(decoded(source)), RED)
    assert rendered(source).warnings == ("profile_dropped",)


@pytest.mark.parametrize(("size", "warnings"), [(1_500_000, ()), (17_000_000, ("profile_dropped",))])
def test_d41_a_large_profile_is_read_and_a_vast_one_stays_packed(size: int, warnings: tuple[str, ...]) -> None:
    profile = profiles.padded(profiles.rgb(profiles.DISPLAY_P3, 2.2), size)
    source = of_one(*BRICK, chunks=(png_chunk(b"iCCP", b"P3\x00\x00" + zlib.compress(profile)),))
    result = rendered(source)
    assert result.warnings == warnings
    assert near(at(decoded(source)), BRICK if warnings else (195, 83, 47), by=5)


def test_d41_a_million_chunks_cost_no_time_to_speak_of() -> None:
    chunks = png_chunk(b"tEXt", b"") * 1_000_001
    begin = process_time()
    assert code_of(WHOLE[:33] + chunks + WHOLE[33:]) == "decode_failed"
    assert process_time() - begin < 10


def test_what_lacks_its_end_is_shown_as_far_as_it_goes() -> None:
    whole = odd_images.lossless(odd_images.picture().resize((640, 480)).effect_spread(40))
    end = whole.rindex(b"IDAT")
    cut = whole[: end + (len(whole) - end) * 3 // 4]
    assert rendered(cut).warnings == ("truncated",)
    image = decoded(cut)
    assert at(image, 0.5, 0.1)[3] == 255
    assert code_of(cut, limits=replace(LIMITS, truncated="refuse")) == "decode_failed"
    assert code_of(whole[: len(whole) // 8]) == "decode_failed"
    assert rendered(whole[:-16]).warnings == (), "all of its pixels are there"
