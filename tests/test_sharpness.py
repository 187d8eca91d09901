"""Sharpness in figures: test patterns that show what an eye would see, each held against a resize of all pixels.

Every bound is met by Pillow's LANCZOS of all pixels, and missed by a way that blurs, aliases, bleeds or smears, which
the tests try too: none of the bounds is one that anything would meet. Levels are of 255.
"""

from collections.abc import Callable
from functools import cache
from math import cos, pi
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageFont, ImageStat, JpegImagePlugin

from imgsvc.domain.model import OutputFormat, Variant
from imgsvc.imaging.encode import encode
from imgsvc.imaging.geometry import Box, Size
from imgsvc.imaging.resize import HAS_SIMD, resize
from tests.bench.drawings import DRAWINGS
from tests.bench.photos import photo
from tests.support import images
from tests.support.pixels import rendered

Resize = Callable[[Image.Image, Size, Box], Image.Image]

SIDE = 720


def lanczos(pixels: Image.Image, size: Size, box: Box) -> Image.Image:
    return pixels.resize(size, Image.Resampling.LANCZOS, box)


def reducing(pixels: Image.Image, size: Size, box: Box) -> Image.Image:
    """What saves Pillow time: whole numbers of pixels are averaged first."""
    return pixels.resize(size, Image.Resampling.BICUBIC, box, reducing_gap=1.3)


def nearest(pixels: Image.Image, size: Size, box: Box) -> Image.Image:
    return pixels.resize(size, Image.Resampling.NEAREST, box)


def made(source: Image.Image, size: Size, fmt: str = "PNG", **options: object) -> Image.Image:
    """What the decoder makes of a file of `source`."""
    file = images.encoded(source, fmt, **options)
    return images.opened(rendered(file, Variant("made", *size, format="png")).renditions[0].data)


@cache
def zone_plate() -> Image.Image:
    """Rings that are the finer the farther out they are: a cycle is two pixels wide at the middle of an edge."""
    half = SIDE // 2
    levels = [round(127.5 + 127.5 * cos(pi * distance / SIDE)) for distance in range(2 * half * half + 1)]
    squares = [at * at for at in range(half)]
    quarter = Image.frombytes("L", (half, half), bytes(levels[x + y] for y in squares for x in squares))
    plate = Image.new("L", (SIDE, SIDE))
    plate.paste(quarter, (half, half))
    plate.paste(quarter.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (0, half))
    plate.paste(plate.crop((0, half, SIDE, SIDE)).transpose(Image.Transpose.FLIP_TOP_BOTTOM), (0, 0))
    return plate


def energy(plate: Image.Image, least: float, most: float) -> float:
    """How much a smaller zone plate varies where the rings have `least` to `most` of the finest that it can show."""
    side = plate.width
    finest = side * side / SIDE / 2
    mask, middle = Image.new("L", plate.size), side / 2
    draw = ImageDraw.Draw(mask)
    for radius, fill in ((most * finest, 255), (least * finest, 0)):
        draw.ellipse((middle - radius, middle - radius, middle + radius, middle + radius), fill)
    return ImageStat.Stat(plate.convert("L"), mask).stddev[0]


def smaller(way: Resize, scale: float) -> Image.Image:
    side = round(SIDE / scale)
    return way(zone_plate(), (side, side), (0, 0, SIDE, SIDE))


def is_sharp(plate: Image.Image) -> bool:
    """Whether it shows the rings that it can; black and white rings vary by 90."""
    return energy(plate, 0.6, 0.8) > (78 if HAS_SIMD else 70)


def is_clean(plate: Image.Image) -> bool:
    """Whether the rings that it cannot show have become grey, and no other pattern."""
    return energy(plate, 1.3, SIDE) < (12 if HAS_SIMD else 16)


@pytest.mark.parametrize("scale", [1.5, 2.7, 4])
def test_fine_rings_are_kept_and_finer_ones_leave_no_pattern(scale: float) -> None:
    for way in (resize, lanczos):
        assert is_sharp(smaller(way, scale)), way.__name__
        assert is_clean(smaller(way, scale)), way.__name__
    assert not is_sharp(smaller(reducing, scale)) or not HAS_SIMD
    assert not is_clean(smaller(nearest, scale))


@pytest.mark.parametrize("scale", [2.7, 4])
def test_a_jpeg_that_is_decoded_at_a_smaller_scale_is_as_sharp(scale: float) -> None:
    side = round(SIDE / scale)
    plate = made(zone_plate(), (side, side), "JPEG", quality=95)
    assert is_sharp(plate)
    assert is_clean(plate)


def test_a_jpeg_that_is_decoded_at_the_very_size_would_not_be() -> None:
    with Image.open(images.BytesIO(images.encoded(zone_plate(), "JPEG", quality=95))) as decoded:
        decoded.draft("L", (SIDE // 4, SIDE // 4))
        decoded.load()
    assert decoded.width == SIDE // 4
    assert not is_sharp(decoded) or not is_clean(decoded)


def faintest_line(way: Resize, scale: float) -> float:
    """How dark the faintest of thin black lines on white is, as a share of what it is for its width: 1 / scale."""
    width, height, apart = 1201, 60, 37
    page = Image.new("L", (width, height), 255)
    at = range(apart, width - apart, apart)
    for x in at:
        ImageDraw.Draw(page).line(((x, 0), (x, height)), 0, 1)
    small = way(page, (round(width / scale), round(height / scale)), (0, 0, width, height))
    middle = small.crop((0, small.height // 2, small.width, small.height // 2 + 1)).tobytes()
    return min(255 - min(middle[int(x / scale) - 3 : int(x / scale) + 4]) for x in at) * scale / 255


@pytest.mark.parametrize("scale", [1.5, 2.7])
def test_thin_lines_stay_dark_wherever_they_fall(scale: float) -> None:
    least = 0.6 if HAS_SIMD else 0.55
    assert faintest_line(resize, scale) > least
    assert faintest_line(lanczos, scale) > least
    assert faintest_line(reducing, scale) < 0.6
    assert faintest_line(nearest, scale) == 0


def disc() -> Image.Image:
    """Red with a soft rim, on green that nobody sees."""
    large = Image.new("L", (1200, 1200))
    ImageDraw.Draw(large).ellipse((100, 100, 1100, 1100), 255)
    shown = large.resize((600, 600), Image.Resampling.BOX)
    picture = Image.new("RGB", shown.size, (0, 255, 0))
    picture.paste((220, 20, 20), mask=shown.point([0, *[255] * 255]))
    picture.putalpha(shown)
    return picture


def halo(small: Image.Image, background: str) -> int:
    """The most that it differs, laid on a background, from a picture that was laid on it before it was resized."""
    whole = disc()
    wanted = Image.alpha_composite(Image.new("RGBA", whole.size, background), whole).convert("RGB")
    shown = Image.alpha_composite(Image.new("RGBA", small.size, background), small.convert("RGBA")).convert("RGB")
    difference = ImageChops.difference(shown, lanczos(wanted, small.size, (0, 0, *whole.size)))
    return max(int(most) for _, most in ImageStat.Stat(difference).extrema)


@pytest.mark.parametrize("background", ["white", "black"])
@pytest.mark.parametrize("side", [400, 222, 150])
def test_no_hidden_colour_shines_round_a_soft_edge(side: int, background: str) -> None:
    assert halo(made(disc(), (side, side)), background) < 32, "what a kernel may overshoot"
    apart = [lanczos(band, (side, side), (0, 0, 600, 600)) for band in disc().split()]
    assert halo(Image.merge("RGBA", apart), background) > 50


def red_text() -> Image.Image:
    picture = Image.new("RGB", (1200, 600), "white")
    draw = ImageDraw.Draw(picture)
    for row in range(8):
        draw.text((30, 20 + row * 70), "Sale ends on Sunday", (255, 0, 0), ImageFont.load_default(56))
    return picture


def smeared(fmt: OutputFormat, **fields: Any) -> float:
    """How much a file's red letters on white differ from the pixels that were encoded."""
    wanted = lanczos(red_text(), (600, 300), (0, 0, 1200, 600))
    file = rendered(images.encoded(red_text(), "PNG"), Variant("made", 600, 300, format=fmt, **fields))
    return max(ImageStat.Stat(ImageChops.difference(images.opened(file.renditions[0].data), wanted)).rms)


@pytest.mark.parametrize("fmt", ["jpeg", "avif"])
def test_red_letters_are_not_smeared(fmt: OutputFormat) -> None:
    assert smeared(fmt) < 6
    assert smeared(fmt, chroma="4:2:0") > 10


@pytest.mark.parametrize(
    ("picture", "full"),
    [
        (lambda: photo(600, 400), False),
        (lambda: photo(200, 150), False),
        (red_text, True),
        (lambda: images.plain("red"), True),
        (lambda: DRAWINGS["form"](), True),
        (lambda: DRAWINGS["lines"](), True),
    ],
    ids=["photograph", "small photograph", "letters", "one colour", "screen", "chart"],
)
def test_drawings_keep_the_resolution_of_their_colours_and_photographs_half(
    picture: Callable[[], Image.Image], full: bool
) -> None:
    jpeg = images.opened(encode(picture(), "jpeg"))
    assert isinstance(jpeg, JpegImagePlugin.JpegImageFile)
    assert JpegImagePlugin.get_sampling(jpeg) == (0 if full else 2), "4:4:4 or 4:2:0"
