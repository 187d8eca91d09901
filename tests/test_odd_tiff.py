"""TIFF of every make: its pixels are right, or it is refused by name; never noise, never a thumbnail."""

import zlib
from dataclasses import replace
from time import process_time
from typing import Any

import pytest

from imgsvc.domain.formats import sniff
from tests.support import images, odd_images
from tests.support.odd_images import QUARTERS, SIDES, camera_raw, quarter, rgb16, strips, tags, tiff
from tests.support.pixels import WHOLE, at, code_of, decoded, near, rendered

PLANES = ("H", [2])
BOTH = pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])


def is_right(source: bytes, by: int = 3) -> bool:
    """Whether it shows its four colours."""
    image = decoded(source)
    places = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)]
    return image.size == SIDES and all(
        near(at(image, *place), colour, by) for place, colour in zip(places, QUARTERS, strict=True)
    )


@BOTH
@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
@pytest.mark.parametrize("planes", [False, True], ids=["pixels", "planes"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("packed", [False, True], ids=["raw", "deflated"])
def test_rgb_is_read_in_every_order(order: str, big: bool, planes: bool, bits: int, packed: bool) -> None:
    pixel, letter = (quarter, "B") if bits == 8 else (rgb16, "H")
    parts = strips(pixel, letter, order, planes=planes)
    page = tags(2, [bits] * 3, 8 if packed else 1, t284=("H", [1 + planes]))
    source = tiff((page, [zlib.compress(part) for part in parts] if packed else parts), order=order, big=big)
    assert is_right(source)
    if big:
        assert sniff(source[:64]) is not None
        assert rendered(source).original.format == "tiff"


def inverted(x: int, y: int) -> list[int]:
    return [*(255 - level for level in quarter(x, y)), 0]


@BOTH
def test_cmyk_is_read(order: str) -> None:
    assert is_right(tiff((tags(5, [8] * 4), strips(inverted, "B", order)), order=order))


@BOTH
@pytest.mark.parametrize("scale", [1, 257], ids=["values of 8 bits", "values of 16 bits"])
@pytest.mark.parametrize("bits", [4, 8])
def test_a_colour_map_is_read_whatever_its_values_are(order: str, scale: int, bits: int) -> None:
    colours = [[*(colour[band] * scale for colour in QUARTERS), *[0] * (2**bits - 4)] for band in range(3)]
    every = [QUARTERS.index(quarter(x, y)) for y in range(SIDES[1]) for x in range(SIDES[0])]
    if bits == 4:
        every = [high << 4 | low for high, low in zip(every[::2], every[1::2], strict=True)]
    page = tags(3, [bits], t320=("H", sum(colours, [])))  # noqa: RUF017 (three of them)
    assert is_right(tiff((page, [bytes(every)]), order=order))


@BOTH
def test_a_map_of_8_bits_that_is_mostly_black_is_read(order: str) -> None:
    page = tags(3, [8], t320=("H", [0, 200] + [0] * 254 + [0, 100] + [0] * 254 + [0, 50] + [0] * 254))
    source = tiff((page, [b"\x01" * (SIDES[0] * SIDES[1])]), order=order)
    assert near(at(decoded(source)), (200, 100, 50))


def grey(x: int, y: int) -> int:
    return quarter(x, y)[0]


@BOTH
@pytest.mark.parametrize(("photometric", "wanted"), [(0, 55), (1, 200)], ids=["0 is white", "0 is black"])
@pytest.mark.parametrize("bits", [8, 16])
def test_grey_is_read_whichever_end_is_white(order: str, photometric: int, wanted: int, bits: int) -> None:
    letter, scale = ("B", 1) if bits == 8 else ("H", 257)
    source = tiff((tags(photometric, [bits]), strips(lambda x, y: (grey(x, y) * scale,), letter, order)), order=order)
    assert near(at(decoded(source), 0.25, 0.25), (wanted,) * 3)


@BOTH
def test_lab_and_ycbcr_are_read(order: str) -> None:
    lab = tiff((tags(8, [8] * 3), strips(lambda _x, _y: (round(44 * 2.55), 62, 45), "B", order)), order=order)
    assert near(at(decoded(lab)), (198, 34, 33), by=6)

    def ycbcr(x: int, y: int) -> list[int]:
        red, green, blue = quarter(x, y)
        light = 0.299 * red + 0.587 * green + 0.114 * blue
        return [round(light), round((blue - light) * 0.564 + 128), round((red - light) * 0.713 + 128)]

    whole = tiff((tags(6, [8] * 3, t530=("H", [1, 1])), strips(ycbcr, "B", order)), order=order)
    assert is_right(whole)
    blocks = b"".join(
        bytes((*(ycbcr(x + dx, y + dy)[0] for dy in (0, 1) for dx in (0, 1)), *ycbcr(x, y)[1:]))
        for y in range(0, SIDES[1], 2)
        for x in range(0, SIDES[0], 2)
    )
    assert is_right(tiff((tags(6, [8] * 3, t530=("H", [2, 2])), [blocks]), order=order))


@BOTH
@pytest.mark.parametrize(
    "page",
    [
        (tags(5, [8] * 5, t338=("H", [2])), (10, 20, 30, 40, 255), "B", False),
        (tags(1, [8] * 2, t338=("H", [2]), t284=PLANES), (100, 200), "B", True),
        (tags(1, [16] * 2, t338=("H", [2])), (30_000, 65_535), "H", False),
        (tags(2, [32] * 3), (1 << 31, 1 << 30, 1 << 29), "I", False),
        (tags(1, [32]), (200 << 24,), "I", False),
        (tags(9, [8] * 3), (100, 128, 128), "B", False),
    ],
    ids=[
        "CMYK with alpha",
        "grey and alpha in planes",
        "16-bit grey with alpha",
        "32-bit RGB",
        "32-bit grey",
        "ICCLab",
    ],
)
def test_d44_what_cannot_be_read_right_is_refused_by_name(order: str, page: Any) -> None:
    entries, pixel, letter, planes = page
    source = tiff((entries, strips(lambda _x, _y: pixel, letter, order, planes=planes)), order=order)
    assert code_of(source) == "unsupported_format"


@BOTH
@pytest.mark.parametrize("dng", [True, False])
def test_d44_a_camera_s_raw_file_is_refused_not_taken_for_its_thumbnail(order: str, dng: bool) -> None:
    assert code_of(camera_raw(order, dng=dng)) == "unsupported_format"


@BOTH
def test_the_levels_of_a_pyramid_are_neither_frames_nor_raw(order: str) -> None:
    small = ({**tags(2, [8] * 3), 254: ("I", [1]), 256: ("H", [8]), 257: ("H", [8]), 278: ("H", [8])}, [bytes(192)])
    whole = (tags(2, [8] * 3), strips(quarter, "B", order))
    for source in (tiff(whole, small, order=order), tiff(whole, order=order, below=[small])):
        assert is_right(source)
        assert rendered(source).original.frames == 1


@BOTH
@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
def test_a_page_of_choice_is_taken(order: str, big: bool) -> None:
    def page(level: int) -> odd_images.Page:
        return tags(1, [8]), strips(lambda _x, _y: (level,), "B", order)

    source = tiff(page(40), page(120), page(220), order=order, big=big)
    for number, level in enumerate((40, 120, 220)):
        for name in ("page", "frame"):
            result = rendered(source, replace(WHOLE, **{name: number}))
            assert near(at(images.opened(result.renditions[0].data).convert("RGBA")), (level,) * 3)
            assert (result.original.frames, result.warnings) == (1, ())
    assert rendered(source, replace(WHOLE, page=3)).warnings == ("frame_missing",)
    together = rendered(source, *(replace(WHOLE, name=f"p{number}", page=number) for number in (2, 0, 1)))
    found = [at(images.opened(rendition.data).convert("RGBA"))[0] for rendition in together.renditions]
    assert found == [220, 40, 120]


def test_d43_pages_are_not_counted_and_not_walked_in_vain() -> None:
    source = odd_images.many_pages(60_000)
    begin = process_time()
    assert rendered(source).original.frames == 1
    assert process_time() - begin < 1
    assert near(at(decoded(source, replace(WHOLE, page=59_999))), (128, 128, 128))
    assert process_time() - begin < 5


def test_d43_pages_in_a_circle_come_to_an_end() -> None:
    source = bytearray(tiff((tags(1, [8]), strips(lambda _x, _y: (9,), "B"))))
    source[-4:] = source[4:8]
    assert rendered(bytes(source), replace(WHOLE, page=5)).warnings == ("frame_missing",)
