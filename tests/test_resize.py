"""Resizing: the same bytes on every CPU, as sharp by Pillow as by SIMD, without halos or shifts."""

import importlib.util
import sys
from random import Random
from types import ModuleType
from unittest.mock import patch

import pytest
from PIL import Image, ImageChops, ImageStat

from imgsvc.imaging import resize as module
from imgsvc.imaging.geometry import Size
from tests.support import images

simd = pytest.mark.skipif(not module.HAS_SIMD, reason="there is no wheel of fast_image_resize for this machine")

MODES = ["L", "La", "RGB", "RGBa", "CMYK"]
SIZES: list[Size] = [(7, 5), (100, 66), (201, 133), (299, 199), (300, 200), (450, 300)]


def picture(mode: str, size: Size = (300, 200)) -> Image.Image:
    scene = images.scene(*size)
    if mode == "La":
        return Image.merge("LA", [scene.convert("L"), scene.getchannel("G")]).convert("La")
    if mode == "RGBa":
        return Image.merge("RGBA", [*scene.split(), scene.getchannel("G")]).convert("RGBa")
    return scene.convert(mode)


def distance(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of their bytes, in levels."""
    assert (one.mode, one.size) == (other.mode, other.size)
    bands = zip(one.split(), other.split(), strict=True)
    return max(ImageStat.Stat(ImageChops.difference(*pair)).mean[0] for pair in bands)


@pytest.fixture
def without_wheel() -> ModuleType:
    """The module as it is where there is no wheel."""
    with patch.dict(sys.modules, {"cykooz_resizer": None}):
        spec = importlib.util.find_spec(module.__name__)
        assert spec is not None
        assert spec.loader is not None
        alone = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(alone)
    return alone


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", MODES)
def test_pillow_stands_in_where_there_is_no_wheel(without_wheel: ModuleType, mode: str, size: Size) -> None:
    pixels, box = picture(mode), (0.0, 0.0, 300.0, 200.0)
    assert not without_wheel.HAS_SIMD
    assert distance(without_wheel.resize(pixels, size, box), module.resize(pixels, size, box)) < 2


@simd
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBa", "CMYK"])
def test_every_cpu_makes_the_same_bytes(mode: str, size: Size) -> None:
    from cykooz_resizer import CpuExtensions, CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer

    pixels, made = picture(mode), set[bytes]()
    options = ResizeOptions()
    options.resize_alg = ResizeAlg.convolution(FilterType.lanczos3)
    options.crop_box = CropBox(0.3, 0.7, 298.1, 199.2)
    best = Resizer().cpu_extensions
    for extensions in (kind for kind in CpuExtensions if kind.value <= best.value):
        resizer, result = Resizer(), Image.new(mode, size)
        resizer.cpu_extensions = extensions
        resizer.resize_pil(pixels, result, options)
        made.add(result.tobytes())
    assert len(made) == 1


@pytest.mark.parametrize("size", [(50, 50), (300, 300)])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_plain_picture_stays_plain(mode: str, size: Size) -> None:
    plain = Image.new(mode, (201, 201), "#808080" if mode != "CMYK" else (10, 20, 30, 40))
    assert module.resize(plain, size, (0.3, 0.6, 200.1, 199.7)).getcolors() == [
        (size[0] * size[1], plain.getpixel((0, 0)))
    ]


@pytest.mark.parametrize("box", [(-1e-7, 0.0, 300.0, 200.0), (0.0, -1e-7, 300.0 + 1e-7, 200.0 + 1e-7)])
def test_a_box_may_miss_the_edge_by_rounding(box: tuple[float, float, float, float]) -> None:
    whole = module.resize(picture("RGB"), (100, 66), (0.0, 0.0, 300.0, 200.0))
    assert distance(module.resize(picture("RGB"), (100, 66), box), whole) < 0.01


def test_half_a_picture_is_where_it_was() -> None:
    halves = Image.new("L", (200, 100))
    halves.paste(255, (100, 0, 200, 100))
    made = module.resize(halves, (50, 25), (0.0, 0.0, 200.0, 100.0))
    assert ImageStat.Stat(made.crop((0, 0, 23, 25))).mean[0] < 1
    assert ImageStat.Stat(made.crop((27, 0, 50, 25))).mean[0] > 254


def test_a_single_pixel_can_be_cut_out() -> None:
    dots = Image.new("L", (9, 9))
    dots.putpixel((4, 4), 255)
    assert module.resize(dots, (1, 1), (4.0, 4.0, 5.0, 5.0)).getpixel((0, 0)) == 255


def test_no_box_makes_it_read_beyond_the_edge() -> None:
    """One such read in some hundred boxes that end at the edge, the first of which is one, ended the process."""
    assert module.resize(Image.new("RGB", (89, 70)), (49, 76), (44.04123711340206, 0.0, 89.0, 70.0)).size == (49, 76)
    random = Random(1)
    for _ in range(3000):
        width, height = random.randint(1, 130), random.randint(1, 130)
        left, top = random.random() * width, random.random() * height
        size = random.randint(1, 140), random.randint(1, 140)
        made = module.resize(Image.new("L", (width, height), 7), size, (left, top, width, height))
        assert made.getcolors() == [(size[0] * size[1], 7)]
