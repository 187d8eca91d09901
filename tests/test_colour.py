"""Colour and scaling, held against arithmetic: what a profile means, and what a smaller picture should look like."""

from array import array
from collections.abc import Callable, Sequence

import pytest
from PIL import Image, ImageChops, ImageStat

from imgsvc.domain.model import Variant
from imgsvc.imaging.render import render
from tests.support import images, profiles
from tests.support.images import LIMITS, near, pixel
from tests.support.profiles import XYZ

LOSSLESS = Variant("v", 500, 500, format="png")
# from XYZ of D50 to linear sRGB (Bradford adaptation)
_TO_SRGB = ((3.1338561, -1.6168667, -0.4906146), (-0.9787684, 1.9161415, 0.0334540), (0.0719453, -0.2289914, 1.4052427))


def one(source: bytes, variant: Variant = LOSSLESS) -> Image.Image:
    rendered = render(source, [variant], LIMITS, lambda _step, _done, _total: None, lambda _bytes: None)
    return images.opened(rendered.renditions[0].data)


def in_srgb(level: tuple[int, ...], colorants: Sequence[XYZ], gamma: float) -> tuple[int, int, int]:
    """What a colour of an RGB space is in sRGB, by the arithmetic of the standards."""
    linear = [(value / 255) ** gamma for value in level]
    xyz = [sum(colorant[axis] * value for colorant, value in zip(colorants, linear, strict=True)) for axis in range(3)]
    red, green, blue = (companded(sum(a * b for a, b in zip(row, xyz, strict=True))) for row in _TO_SRGB)
    return red, green, blue


def companded(linear: float) -> int:
    value = min(1.0, max(0.0, linear))
    return round(255 * (12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize(
    ("colorants", "gamma"),
    [(profiles.DISPLAY_P3, 2.2), (profiles.ADOBE_RGB, 2.19921875), (profiles.SRGB, 1.0)],
    ids=["Display P3", "Adobe RGB", "linear"],
)
def test_colours_of_a_wider_space_come_out_as_srgb_shows_them(fmt: str, colorants: Sequence[XYZ], gamma: float) -> None:
    for level in ((200, 100, 50), (90, 160, 120), (128, 128, 128)):
        source = images.encoded(
            images.plain(level), fmt, icc_profile=profiles.rgb(colorants, gamma), quality=95, subsampling="4:4:4"
        )
        assert near(pixel(one(source)), in_srgb(level, colorants, gamma), by=5)


def test_transparency_survives_a_profile() -> None:
    source = images.encoded(
        images.plain((200, 100, 50, 77), "RGBA"), "PNG", icc_profile=profiles.rgb(profiles.DISPLAY_P3, 2.2)
    )
    result = one(source)
    assert near(pixel(result), in_srgb((200, 100, 50), profiles.DISPLAY_P3, 2.2))
    assert result.getchannel("A").getextrema() == (77, 77)


@pytest.mark.parametrize(("mode", "colour"), [("L", 100), ("LA", (100, 200))])
def test_grey_is_read_through_its_own_profile_and_stays_grey(mode: str, colour: object) -> None:
    result = one(images.encoded(images.plain(colour, mode), "PNG", icc_profile=profiles.grey(1.0)))
    assert result.mode == mode
    level = companded(100 / 255)
    assert near(pixel(result), (level, level, level))


@pytest.mark.parametrize("fmt", ["JPEG", "TIFF"])
def test_cmyk_is_read_through_its_own_profile(fmt: str) -> None:
    # a press whose magenta on yellow is a brick red, whatever a computer thinks
    profile = profiles.cmyk({(0, 1, 1, 0): (128, 178, 158)}, paper=(255, 128, 128))
    brick = images.encoded(images.plain((0, 255, 255, 0), "CMYK"), fmt, icc_profile=profile)
    paper = images.encoded(images.plain((0, 0, 0, 0), "CMYK"), fmt, icc_profile=profile)
    assert near(pixel(one(brick)), (208, 74, 70), by=12)
    assert near(pixel(one(paper)), (255, 255, 255), by=3)


def test_an_srgb_profile_changes_nothing() -> None:
    plain = images.encoded(images.scene(), "PNG")
    tagged = images.encoded(images.scene(), "PNG", icc_profile=profiles.rgb(profiles.SRGB, 2.2))
    assert images.distance(one(plain), one(tagged)) < 3


def reference(picture: Image.Image, size: tuple[int, int], curve: Callable[[float], float]) -> list[Image.Image]:
    """Each channel scaled at once from all of its pixels, in floats, after `curve`."""
    steps = [curve(level / 255) for level in range(256)]

    def exact(band: Image.Image) -> Image.Image:
        return Image.frombytes("F", band.size, array("f", map(steps.__getitem__, band.tobytes())).tobytes())

    return [exact(band).resize(size, Image.Resampling.LANCZOS) for band in picture.split()]


def error(result: Image.Image, wanted: Sequence[Image.Image], back: Callable[[float], float]) -> float:
    """Mean difference in levels of 255."""
    total = 0.0
    for band, exact in zip(result.convert("RGB").split(), wanted, strict=True):
        levels = bytes(round(255 * min(1.0, max(0.0, back(value)))) for value in array("f", exact.tobytes()))
        total += ImageStat.Stat(ImageChops.difference(band, Image.frombytes("L", band.size, levels))).mean[0]
    return total / 3


@pytest.mark.parametrize(
    ("box", "by_values", "by_light"),
    [(500, 1.0, 1.5), (96, 1.5, 2.0)],
)
@pytest.mark.parametrize("fmt", ["PNG", "JPEG"])
def test_a_smaller_picture_is_what_all_pixels_say(fmt: str, box: int, by_values: float, by_light: float) -> None:
    source = images.encoded(images.scene(800, 600), fmt, **({} if fmt == "PNG" else {"quality": 95}))
    whole, result = images.opened(source), one(source, Variant("v", box, box, format="png"))
    of_values = error(result, reference(whole, result.size, lambda level: level), lambda level: level)
    of_light = error(result, reference(whole, result.size, lambda v: v**2.2), lambda v: max(0.0, v) ** (1 / 2.2))
    print(f"{fmt} to {box}: {of_values:.2f} levels from the exact values, {of_light:.2f} from exact light")
    assert of_values <= by_values
    assert of_light <= by_light
