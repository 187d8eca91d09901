"""Grey of 16 bits: kept to the end where a PNG is made of it and nothing on the way needs 8."""

import struct
from collections.abc import Sequence
from typing import Any

import pytest
from PIL import Image

from imgsvc.domain.model import Variant
from tests.support import images, odd_images
from tests.support.images import encoded, opened
from tests.support.pixels import rendered

SIZE = 320, 200


def grey(levels: Sequence[int]) -> Image.Image:
    return Image.frombytes("I;16", SIZE, struct.pack(f"<{len(levels)}H", *levels))


LEVELS = [(x * 197 + y * 31) % 65_536 for y in range(SIZE[1]) for x in range(SIZE[0])]
RAMP = grey(LEVELS)


def made(source: bytes, **fields: Any) -> Image.Image:
    asked: dict[str, Any] = {"format": "png", **fields}
    return opened(rendered(source, Variant("v", **asked)).renditions[0].data)


def levels(image: Image.Image) -> list[int]:
    return [int(level) for (level,) in struct.iter_unpack("<H", image.tobytes())]


@pytest.mark.parametrize("fmt", ["PNG", "TIFF"])
@pytest.mark.parametrize("out", ["png", "keep"])
def test_every_level_is_kept(fmt: str, out: str) -> None:
    image = made(encoded(RAMP, fmt), format=out)
    if (fmt, out) == ("TIFF", "keep"):
        assert image.mode == "L", "a JPEG"
    else:
        assert levels(image) == LEVELS


def test_a_smaller_picture_has_levels_that_8_bits_lack() -> None:
    slow = Image.frombytes(
        "I;16", SIZE, struct.pack(f"<{len(LEVELS)}H", *(20_000 + x for _ in range(200) for x in range(320)))
    )
    image = made(encoded(slow, "PNG"), width=160)
    assert (image.mode, image.size) == ("I;16", (160, 100))
    middle = levels(image)[160 * 50 : 160 * 51]
    assert all(abs(level - (20_000.5 + 2 * x)) <= 2 for x, level in enumerate(middle))


def test_sharp_edges_stay_within_black_and_white() -> None:
    edges = Image.frombytes(
        "I;16", SIZE, struct.pack(f"<{len(LEVELS)}H", *(65_535 * (x // 7 % 2) for _ in range(200) for x in range(320)))
    )
    found = levels(made(encoded(edges, "PNG"), width=99))
    assert min(found) < 3000
    assert max(found) > 62_000
    swapped = levels(made(encoded(edges, "PNG"), width=640, enlarge=True))
    assert (min(swapped), max(swapped)) == (0, 65_535)


def test_it_is_turned_cropped_and_made_beside_others() -> None:
    source = encoded(RAMP, "PNG", exif=images.exif(6))
    turned, cut, small, plain = rendered(
        source,
        Variant("turned", format="png"),
        Variant("cut", 50, 50, fit="cover", gravity="entropy", format="png", rotate=90),
        Variant("small", 64, format="png", blur=1),
        Variant("plain", 64, format="jpeg"),
    ).renditions
    assert levels(opened(turned.data)) == levels(RAMP.transpose(Image.Transpose.ROTATE_270))
    assert (opened(cut.data).mode, opened(cut.data).size) == ("I;16", (50, 50))
    assert (opened(small.data).mode, opened(plain.data).mode) == ("L", "L")


@pytest.mark.parametrize(
    "fields",
    [
        *({"blur": 1.0}, {"sharpen": 1.0}, {"grayscale": True}, {"background": "#102030"}, {"format": "webp"}),
        {"fit": "contain", "width": 100, "height": 100},
    ],
    ids=str,
)
def test_what_needs_8_bits_gets_them_and_the_same_as_ever(fields: dict[str, Any]) -> None:
    image = made(encoded(RAMP, "PNG"), **({"width": 100} | fields))
    assert image.mode in {"L", "LA", "RGB", "RGBA"}


def test_black_and_white_of_a_tiff_are_those_that_it_says() -> None:
    tags = odd_images.tags(0, [16])  # white is zero
    source = odd_images.tiff((tags, odd_images.strips(lambda x, _y: (1000 * x,), "H")))
    found = levels(made(source))
    assert found[:3] == [65_535, 64_535, 63_535]


def test_in_a_set_each_format_has_the_depth_that_it_can_have() -> None:
    for rendition in rendered(encoded(RAMP, "PNG"), Variant("v", widths=(160, 80), formats=("png", "jpeg"))).renditions:
        assert opened(rendition.data).mode == ("I;16" if rendition.format == "png" else "L")
