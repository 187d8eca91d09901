"""JPEG as its files are: segments that are too short, and files that end too early."""

from dataclasses import replace

import pytest

from imgsvc.domain.problems import JobError
from tests.support import images
from tests.support.images import LIMITS
from tests.support.odd_images import QUARTERS, jpeg_with, segment
from tests.support.pixels import at, code_of, decoded, near, rendered

RED, GREEN, BLUE, YELLOW = QUARTERS


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        segment(0xE0, b"JFIF\x00"),
        segment(0xE0, b"JFIF\x00\x01\x01"),
        segment(0xE0, b""),
        segment(0xEE, b"Adobe"),
        segment(0xEE, b"Adobe\x00d\x00\x00\x00\x00"),
        segment(0xEE, b"Adobe\x00d\x00\x00\x00\x00\x01"),
        segment(0xFE, b""),
        segment(0xED, b"Photoshop 3.0\x008BIM\x04"),
        segment(0xE2, b"ICC_PROFILE\x00"),
        segment(0xE2, b"ICC_PROFILE\x00\x01"),
        segment(0xE2, b"MPF\x00"),
        segment(0xE1, b"Exif\x00\x00"),
        segment(0xE1, b"Exif"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\x00"),
        b"\xff\xff\xff\xfe\x00\x03x",
        b"\xff\xe5\x00\x01",
        segment(0xFE, b"x") + b"\x00\x01\x02\x03",
    ],
    ids=bytes.hex,
)
def test_a_segment_that_is_too_short_is_no_reason_to_refuse_the_picture(odd: bytes) -> None:
    source = jpeg_with(odd)
    image = decoded(source)
    assert [near(at(image, 0.2, 0.2), RED, by=6), near(at(image, 0.8, 0.8), YELLOW, by=6)] == [True, True]
    assert rendered(source).warnings == ()


def cut(source: bytes, share: float) -> bytes:
    """The JPEG without the last part of its pixels."""
    begin = source.rindex(b"\xff\xda")
    return source[: begin + round((len(source) - begin) * (1 - share))]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("lacks", [1, 2])
def test_a_jpeg_that_lacks_only_its_last_bytes_is_shown_whole(mode: str, lacks: int) -> None:
    source = images.encoded(images.scene().convert(mode), "JPEG", quality=95)
    result = rendered(source[:-lacks])
    assert result.warnings == ("truncated",)
    found, wanted = (images.opened(one.renditions[0].data) for one in (result, rendered(source)))
    assert images.distance(found, wanted) < 0.5


def test_what_a_jpeg_lacks_is_grey_and_told_and_too_much_is_refused() -> None:
    source = images.photo()
    result, image = rendered(cut(source, 0.3)), decoded(cut(source, 0.3))
    assert result.warnings == ("truncated",)
    assert near(at(image, 0.98, 0.98), (128, 128, 128), by=0)
    whole = decoded(source)
    assert near(at(image, 0.1, 0.1), at(whole, 0.1, 0.1)[:3])
    assert code_of(cut(source, 0.3), limits=replace(LIMITS, truncated="refuse")) == "decode_failed"
    assert code_of(cut(source, 0.7)) == "decode_failed"


def test_a_jpeg_that_says_too_early_that_it_is_over_is_told_as_truncated() -> None:
    early = cut(images.photo(), 0.3) + b"\xff\xd9" + bytes(3000)
    assert rendered(early).warnings == ("truncated",)
    assert code_of(early, limits=replace(LIMITS, truncated="refuse")) == "decode_failed"
    assert code_of(cut(images.photo(), 0.7) + b"\xff\xd9") == "decode_failed"


def test_a_picture_that_ends_in_grey_is_whole() -> None:
    source = images.encoded(images.plain((128, 128, 128), size=(64, 48)), "JPEG", quality=95)
    assert rendered(source).warnings == ()
    assert rendered(source + b"\xff\xd9" + b"more").warnings == ()


def test_a_progressive_jpeg_shows_all_once_its_second_scan_has_begun() -> None:
    source = images.encoded(images.scene(), "JPEG", progressive=True)
    outcomes: list[str] = []
    for share in range(2, 16):
        part = source[: len(source) * share // 16]
        try:
            outcomes.append(",".join(rendered(part).warnings))
        except JobError as error:
            outcomes.append(error.code)
    assert set(outcomes) == {"decode_failed", "truncated"}
    assert outcomes == sorted(outcomes), "the more there is of it, the better"
    assert outcomes[3] == "truncated", "a third is enough"
