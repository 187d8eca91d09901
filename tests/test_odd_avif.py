"""AVIF: the spaces, apertures and turns that its boxes tell. The values are Chromium's and sharp's."""

import pytest
from PIL import Image

from imgsvc.imaging.isobmff import Facts, facts
from tests.support import images
from tests.support.odd_images import QUARTERS, avif, avif_with, clean_aperture, turned
from tests.support.pixels import at, decoded, near, rendered

BRICK = Image.new("RGB", (64, 48), (180, 90, 60))
RED, GREEN, BLUE, YELLOW = QUARTERS


@pytest.mark.parametrize(
    ("points", "wanted"),
    [
        ((1, 13), (180, 90, 60)),
        ((1, 1), (180, 90, 60)),
        ((2, 2), (180, 90, 60)),
        ((12, 13), (192, 84, 51)),
        ((12, 1), (192, 84, 51)),
        ((12, 2), (192, 84, 51)),
        ((9, 13), (217, 69, 50)),
        ((1, 8), (219, 161, 132)),
    ],
)
def test_colours_that_code_points_tell_are_converted(points: tuple[int, int], wanted: tuple[int, int, int]) -> None:
    source = avif(BRICK, points=points)
    assert near(at(decoded(source)), wanted)
    assert rendered(source).warnings == ()


@pytest.mark.parametrize("transfer", [16, 18])
def test_brightness_beyond_white_is_told(transfer: int) -> None:
    grey = Image.new("RGB", (64, 48), (128, 128, 128))
    source = avif(grey, points=(9, transfer))
    assert near(at(decoded(source)), {16: (132,) * 3, 18: (99,) * 3}[transfer], by=4)
    assert rendered(source).warnings == ("colour_assumed",)


@pytest.mark.parametrize(
    ("aperture", "size", "colours"),
    [
        (clean_aperture(32, 24), (32, 24), (RED, YELLOW)),
        (clean_aperture(30, 20, -17, -14), (30, 20), (RED, RED)),
        (clean_aperture(30, 20, 17, 14), (30, 20), (YELLOW, YELLOW)),
        (clean_aperture(100, 20), (64, 48), (RED, YELLOW)),
    ],
)
def test_only_what_the_clean_aperture_leaves_is_shown(
    aperture: bytes, size: tuple[int, int], colours: tuple[tuple[int, int, int], ...]
) -> None:
    source = avif_with(aperture)
    result, image = rendered(source), decoded(source)
    assert (result.original.width, result.original.height) == image.size == size
    assert near(at(image, 0.05, 0.05), colours[0], by=6)
    assert near(at(image, 0.95, 0.95), colours[1], by=6)


def test_a_picture_is_turned_as_its_boxes_say_after_it_is_cut() -> None:
    image = decoded(avif_with(turned(1)))
    assert image.size == (48, 64)
    assert near(at(image, 0.25, 0.25), GREEN, by=6)
    cut = decoded(avif_with(clean_aperture(30, 20, -17, -14), turned(1)))
    assert cut.size == (20, 30)
    assert near(at(cut), RED, by=6)


def test_the_exif_of_an_avif_turns_nothing_and_nor_does_xmp_anywhere() -> None:
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf tiff:Orientation='6'/></x:xmpmeta>"
    wide = images.scene(240, 160)
    for fmt in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF"):
        source = images.encoded(wide, fmt, **({"tiffinfo": {700: xmp}} if fmt == "TIFF" else {"xmp": xmp}))
        assert decoded(source).size == (240, 160), fmt


@pytest.mark.parametrize("data", [b"", b"\x00" * 100, avif()[:60], b"\x00\x00\x00\x01meta" * 1000])
def test_boxes_that_make_no_sense_say_nothing(data: bytes) -> None:
    assert facts(data) == Facts()
