"""More light than a screen without HDR has: gain maps beside an ordinary picture, and pictures of 10 and 12 bits.

The values are those that Chromium shows on such a screen. The files are other encoders': x265 by way of libheif, aom
by way of avifenc.
"""

import io
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image

from imgsvc.domain.model import Variant
from tests.support import heif, images
from tests.support.heif import Item, auxiliary, coded, grid
from tests.support.images import png_chunk
from tests.support.odd_images import QUARTERS, SIDES, avif, jpeg_with, segment
from tests.support.pixels import Colour, at, code_of, decoded, near, rendered

RED = (200, 40, 30)
BASE = Image.new("RGB", (128, 96), RED)
GAINS = images.scene(64, 48)
APPLE = "urn:com:apple:photo:2020:aux:hdrgainmap"

# light in red, green and blue of sRGB's primaries, in terms of the white of text, and what is seen of it
PATCHES: tuple[tuple[tuple[float, float, float], Colour], ...] = (
    ((0.0, 0.0, 0.0), (0, 0, 0)),
    ((0.05, 0.05, 0.05), (44, 44, 44)),
    ((0.18, 0.18, 0.18), (85, 85, 85)),
    ((1.0, 1.0, 1.0), (187, 187, 187)),
    ((3.0, 3.0, 3.0), (239, 239, 239)),
    ((4.9, 4.9, 4.9), (255, 255, 255)),
    ((0.8, 0.1, 0.05), (169, 63, 44)),
    ((0.1, 0.6, 0.1), (60, 149, 63)),
    ((0.05, 0.1, 0.9), (44, 63, 179)),
    ((3.0, 0.5, 0.2), (255, 119, 76)),
)
SIDE = 64
JPEG_OUT = Variant("v", format="jpeg")
_TO_BT2020 = ((0.6274, 0.3293, 0.0433), (0.0691, 0.9195, 0.0114), (0.0164, 0.0880, 0.8956))
_WHITE_NITS = 203  # ITU-R BT.2408
PQ_BT2020 = (9, 16)


def pq(nits: float) -> float:
    """The level of a light, 0 to 1 (SMPTE ST 2084)."""
    power = (nits / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


@cache
def patches(order: str) -> bytes:
    """Squares of PATCHES in a row, in PQ and BT.2020 of 16 bits."""
    row = b""
    for light, _ in PATCHES:
        wide = (sum(a * b for a, b in zip(line, light, strict=True)) for line in _TO_BT2020)
        row += struct.pack(f"{order}3H", *(round(65_535 * pq(_WHITE_NITS * value)) for value in wide)) * SIDE
    return row * SIDE


def heic_of_patches(bits: int) -> bytes:
    picture = pillow_heif.from_bytes("RGB;16", (SIDE * len(PATCHES), SIDE), patches("<"))
    file = io.BytesIO()
    before = pillow_heif.options.SAVE_HDR_TO_12_BIT
    pillow_heif.options.SAVE_HDR_TO_12_BIT = bits == 12
    try:
        picture.save(
            file,
            quality=95,
            chroma=444,
            color_primaries=9,
            transfer_characteristics=16,
            matrix_coefficients=9,
            full_range_flag=1,
        )
    finally:
        pillow_heif.options.SAVE_HDR_TO_12_BIT = before
    return file.getvalue()


def png_of_patches(*chunks: bytes) -> bytes:
    width = SIDE * len(PATCHES)
    pixels = patches(">")
    rows = b"".join(b"\x00" + pixels[at : at + 6 * width] for at in range(0, len(pixels), 6 * width))
    head = png_chunk(b"IHDR", struct.pack("!IIBBBBB", width, SIDE, 16, 2, 0, 0, 0))
    body = (*chunks, png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(body)


def check_patches(source: bytes, by: int) -> None:
    result, image = rendered(source), decoded(source)
    assert result.warnings == ("colour_assumed",)
    for number, (light, wanted) in enumerate(PATCHES):
        found = at(image, (number + 0.5) / len(PATCHES))
        assert near(found, wanted, by=by), (light, found)


@pytest.mark.parametrize("bits", [10, 12])
def test_a_heic_of_more_light_than_white_is_shown_as_a_screen_without_hdr_would(bits: int) -> None:
    source = heic_of_patches(bits)
    assert pillow_heif.open_heif(source).info["bit_depth"] == bits
    check_patches(source, by=6)


@pytest.mark.parametrize("bits", [10, 12])
def test_an_avif_of_more_light_than_white_is_shown_as_a_screen_without_hdr_would(bits: int, tmp_path: Path) -> None:
    if shutil.which("avifenc") is None:
        pytest.skip("no avifenc: apt-get install --no-install-recommends libavif-bin")
    (tmp_path / "in.png").write_bytes(png_of_patches())
    options = ["-d", str(bits), "--cicp", "9/16/9", "-y", "444", "-r", "full", "-j", "1", "-s", "8", "-l"]
    if bits == 12:  # lossless would have to keep red, green and blue as they are
        options[-1:] = ["--min", "0", "--max", "1"]
    else:
        options[options.index("9/16/9")] = "9/16/0"
    command = ["avifenc", *options, str(tmp_path / "in.png"), str(tmp_path / "out.avif")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    check_patches((tmp_path / "out.avif").read_bytes(), by=4 if bits == 10 else 14)


def test_a_png_of_more_light_than_white_is_shown_as_a_screen_without_hdr_would() -> None:
    check_patches(png_of_patches(png_chunk(b"cICP", bytes((*PQ_BT2020, 0, 1)))), by=6)


# --- gain maps


def ultra_hdr(*, version: str = "1.0", second: bytes | None = None, offset: int | None = None) -> bytes:
    """A JPEG with a gain map behind it, found by its MPF segment and described by XMP."""
    xmp = (
        "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
        f"<rdf:Description xmlns:hdrgm='http://ns.adobe.com/hdr-gain-map/1.0/' hdrgm:Version=\"{version}\"/>"
        "</rdf:RDF></x:xmpmeta>"
    )
    app1 = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + xmp.encode())
    gains = images.encoded(GAINS, "JPEG") if second is None else second
    base = images.encoded(BASE, "JPEG", quality=95)

    def mpf(size: int) -> bytes:
        head = b"MM\x00*" + struct.pack("!IH", 8, 3)
        head += struct.pack("!HHI4s", 0xB000, 7, 4, b"0100") + struct.pack("!HHII", 0xB001, 4, 1, 2)
        head += struct.pack("!HHII", 0xB002, 7, 32, 50) + bytes(4)
        far = size - 10 if offset is None else offset
        entries = struct.pack("!IIIHH", 0x030000, size, 0, 0, 0) + struct.pack("!IIIHH", 0, len(gains), far, 0, 0)
        return segment(0xE2, b"MPF\x00" + head + entries)

    size = len(base) + len(app1) + len(mpf(10))
    return base[:2] + app1 + mpf(size) + base[2:] + gains


def heic_with_gain_map(kind: str = APPLE) -> bytes:
    return heif.heif(coded(BASE), coded(GAINS, auxiliary(kind), hidden=True, auxl=[1]))


def heic_with_tone_map() -> bytes:
    """As ISO 21496-1 has it: a base picture, and beside it an alternative that is made of it and its gain map."""
    made = Item(b"tmap", bytes(62), (heif.size(128, 96), heif.code_points(9, 16, 9)), {b"dimg": [1, 2]})
    either = heif.box(b"grpl", heif.full(b"altr", struct.pack("!4I", 100, 2, 3, 1)))
    return heif.heif(coded(BASE), coded(GAINS, hidden=True), made, groups=either)


@pytest.mark.parametrize(
    "make",
    [ultra_hdr, lambda: ultra_hdr(version="9.9"), heic_with_gain_map, heic_with_tone_map],
    ids=["JPEG", "JPEG of a later version", "HEIC as Apple has it", "HEIC by ISO 21496-1"],
)
def test_of_a_picture_with_a_gain_map_the_picture_is_what_is_shown(make: Callable[[], bytes]) -> None:
    source = make()
    result, image = rendered(source), decoded(source)
    assert (result.original.width, result.original.height, result.original.frames) == (128, 96, 1)
    assert result.warnings == ()
    assert near(at(image), RED, by=4)
    assert near(at(image, 0.95, 0.95), RED, by=4)


def test_nothing_of_a_gain_map_is_in_what_is_made_of_the_picture() -> None:
    for source in (ultra_hdr(), heic_with_gain_map()):
        (made,) = rendered(source, JPEG_OUT).renditions
        assert b"MPF\x00" not in made.data
        assert b"hdrgm" not in made.data
        assert made.data.count(b"\xff\xd8\xff") == 1


def test_of_a_heic_with_several_pictures_the_one_it_names_is_what_is_shown() -> None:
    source = heif.heif(coded(GAINS), coded(BASE), primary=2)
    result = rendered(source)
    assert (result.original.width, result.original.height, result.original.frames) == (128, 96, 1)
    assert near(at(decoded(source)), RED, by=4)


# --- hostile ones


def mpf(body: bytes) -> bytes:
    return jpeg_with(segment(0xE2, b"MPF\x00" + body))


@pytest.mark.parametrize(
    "make",
    [
        *(lambda cut=cut: ultra_hdr()[:-cut] for cut in (1, 100, 600)),
        *(lambda: ultra_hdr(second=b""), lambda: ultra_hdr(second=b"\xff\xd8\xff" * 1000)),
        *(lambda: ultra_hdr(offset=2**32 - 1), lambda: mpf(b"II*\x00" + b"\xff" * 60)),
        lambda: mpf(b"MM\x00*" + struct.pack("!IHHHII", 8, 1, 0xB001, 4, 1, 2**32 - 1) + bytes(4)),
        lambda: heic_with_gain_map()[:-40],
    ],
)
def test_d61_a_damaged_gain_map_is_no_damage_to_the_picture(make: Callable[[], bytes]) -> None:
    result, image = rendered(make()), decoded(make())
    assert result.warnings == ()
    assert near(at(image, 0.1, 0.1), QUARTERS[0] if image.width == SIDES[0] else RED, by=8)


@pytest.mark.parametrize("points", [(0, 0), (3, 3), (255, 255), (65_535,) * 2, (9, 255), (255, 16), (10, 16), (2, 16)])
def test_d62_code_points_that_make_no_sense_are_no_reason_to_fail(points: tuple[int, int]) -> None:
    result = rendered(avif(Image.new("RGB", (64, 48), RED), points=points))
    assert result.original.format == "avif"


def tile(side: int = 64) -> Item:
    return coded(Image.new("RGB", (side, side), RED), hidden=True)


def larger_than_it_says() -> Item:
    large = tile(1024)
    return replace(large, properties=(large.properties[0], heif.size(64, 64)), hidden=False)


def test_a_heic_in_tiles_is_shown_whole() -> None:
    image = decoded(heif.heif(grid(2, 2, 120, 100, [2] * 4), tile()))
    assert image.size == (120, 100)
    assert near(at(image, 0.95, 0.95), RED, by=4)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: heif.heif(grid(255, 255, 7_000, 7_000, [2] * 65_025), tile()), "decode_failed"),
        (lambda: heif.heif(grid(2, 2, 30_000, 30_000, [2] * 4), tile()), "image_too_large"),
        (lambda: heif.heif(grid(1, 1, 64, 64, [1])), "decode_failed"),
        (lambda: heif.heif(*(grid(2, 2, 128, 128, [ahead] * 4) for ahead in (2, 3, 1))), "decode_failed"),
        (lambda: heif.heif(larger_than_it_says()), "decode_failed"),
        (lambda: heif.heif(coded(BASE, heif.code_points(65_535, 65_535, 65_535))), "decode_failed"),
        (lambda: heif.heif(coded(BASE, auxl=[2]), coded(GAINS, auxiliary(APPLE), auxl=[1])), "decode_failed"),
    ],
    ids=["65 025 tiles", "beyond the limit", "itself", "a cycle", "larger than it says", "code points", "maps of maps"],
)
def test_d60_a_heic_put_together_of_nonsense_fails_by_its_header_or_as_damaged(
    make: Callable[[], bytes], code: str
) -> None:
    assert code_of(make()) == code
