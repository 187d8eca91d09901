"""Files of the public's that came out wrong once, each with what browsers and other libraries make of it."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from PIL import Image

from imgsvc.domain.model import Rendered, Variant
from imgsvc.domain.problems import JobError
from imgsvc.imaging.render import render
from tests.support import images
from tests.support.images import LIMITS

FOLDER = Path(os.environ.get("PIXEL_CASES") or Path(__file__).parents[2] / "shared" / "cases" / "pixels")
WHOLE = Variant("whole", 4000, 4000, format="png")
CLEAR = (0, 0, 0, 0)


@dataclass(frozen=True)
class Case:
    """What is right of a file: its size, colours at shares of its sides, frames, warnings."""

    size: tuple[int, int]
    pixels: dict[tuple[float, float], tuple[int, int, int, int]]
    frames: int = 1
    warnings: tuple[str, ...] = ()


def flat(size: tuple[int, int], colour: tuple[int, int, int], frames: int = 1) -> Case:
    return Case(size, {(at, at): (*colour, 255) for at in (0.02, 0.5, 0.98)}, frames)


RED, GREEN, CRIMSON = (255, 0, 0), (0, 255, 0), (220, 20, 60, 255)
CASES: dict[str, Case] = {
    "EOI-in-the-middle-of-the-scan.jpg": Case(
        (400, 326),
        {(0.02, 0.02): (169, 137, 126, 255), (0.5, 0.5): (157, 139, 135, 255), (0.98, 0.98): (128, 128, 128, 255)},
        warnings=("truncated",),
    ),
    "no-EOI.jpg": Case(
        (400, 326),
        {(0.02, 0.02): (169, 137, 126, 255), (0.5, 0.5): (157, 139, 135, 255), (0.98, 0.98): (86, 50, 16, 255)},
        warnings=("truncated",),
    ),
    "apng-default-image.png": flat((40, 30), GREEN, 2),
    "apng-plays-70000.png": flat((40, 30), RED, 2),
    "av-exif6.avif": Case((64, 48), {(0.02, 0.02): (255, 0, 0, 255), (0.98, 0.02): (0, 255, 2, 255)}),
    "bigtiff-64x48.tif": flat((64, 48), (0, 0, 0)),
    "doc-2000x1200.jpg": flat((2000, 1200), (255, 253, 255)),
    "gif-301-frames.gif": flat((100, 80), GREEN, 301),
    "gif-delay-0-0.gif": flat((40, 30), RED, 3),
    "gif-loop-65535.gif": flat((40, 30), RED, 3),
    "gra.png": Case(
        (400, 300), {(0.5, 0.5): (128, 127, 90, 255), (0.02, 0.02): CLEAR, (0.98, 0.98): (251, 4, 90, 255)}
    ),
    "logo-pal.png": Case((1000, 1000), {(0.5, 0.5): CRIMSON, (0.02, 0.02): CLEAR}),
    "logo.png": Case((1000, 1000), {(0.5, 0.5): CRIMSON, (0.02, 0.02): CLEAR}),
    "png-badcrc-gAMA.png": flat((32, 32), (200, 30, 30)),
    "png-badcrc-tEXt.png": flat((32, 32), (200, 30, 30)),
    "png-cicp-p3.png": flat((32, 32), (193, 83, 51)),
    "png-gama-0.551.png": flat((32, 32), (193, 108, 76)),
    "png-grey2-trns.png": Case((32, 32), {(0.25, 0.5): CLEAR, (0.75, 0.5): (0, 0, 0, 255)}),
    "png-iccp-1.5MB.png": flat((32, 32), (200, 30, 30)),
    "png-rgb16-trns.png": Case((32, 32), {(0.25, 0.5): CLEAR, (0.75, 0.5): (255, 3, 3, 255)}),
    "png-ztxt-1.2MB.png": flat((32, 32), (200, 30, 30)),
    "scr-pal.png": Case((1600, 1200), {(0.5, 0.5): (220, 220, 230, 255), (0.98, 0.98): (250, 250, 252, 255)}),
    "tiff-24-pages-a4-g4.tif": Case((2480, 3508), {(0.5, 0.5): (255, 255, 255, 255)}),
    "webp-anim-alpha-half.webp": Case((60, 40), {(0.25, 0.5): (200, 40, 40, 255), (0.75, 0.5): CLEAR}, 3),
    "xmp6-only.jpg": Case((60, 40), {(0.02, 0.02): (254, 0, 0, 255), (0.98, 0.02): (0, 255, 1, 255)}),
}
# what each of the animations comes to as a film: its format, and how many frames
FILMS: dict[str, dict[str, int]] = {
    "apng-default-image.png": {"webp": 2, "gif": 2, "keep": 2},
    "apng-plays-70000.png": {"webp": 2, "gif": 2, "keep": 2},
    "gif-delay-0-0.gif": {"webp": 3, "gif": 3, "keep": 3},
    "gif-loop-65535.gif": {"webp": 3, "gif": 3, "keep": 3},
    "webp-anim-alpha-half.webp": {"webp": 3, "gif": 3, "keep": 3},
}

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the files are not at {FOLDER}; set PIXEL_CASES")


def rendered(name: str, variant: Variant = WHOLE) -> Rendered:
    source = (FOLDER / name).read_bytes()
    return render(source, [variant], LIMITS, lambda _step, _done, _total: None, lambda _bytes: None)


def is_like(found: object, wanted: tuple[int, int, int, int]) -> bool:
    assert isinstance(found, tuple)
    if wanted[3] == 0:
        return found[3] == 0
    return all(abs(int(is_) - should) <= 3 for is_, should in zip(found, wanted, strict=True))


def test_every_file_of_the_folder_is_listed() -> None:
    assert {path.name for path in FOLDER.iterdir()} == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_d40_a_file_of_the_public_comes_out_as_browsers_show_it(name: str) -> None:
    case, result = CASES[name], rendered(name)
    picture = images.opened(result.renditions[0].data).convert("RGBA")
    assert (result.original.width, result.original.height) == picture.size == case.size
    assert result.original.frames == case.frames
    assert result.warnings == case.warnings
    for (across, down), wanted in case.pixels.items():
        found = picture.getpixel((int(picture.width * across), int(picture.height * down)))
        assert is_like(found, wanted), f"{found} at {across}, {down}, not {wanted}"


@pytest.mark.parametrize("name", FILMS)
def test_d40_an_animation_of_the_public_stays_one(name: str) -> None:
    for fmt, frames in FILMS[name].items():
        result = rendered(name, replace(WHOLE, format=fmt, frames="all"))  # pyright: ignore[reportArgumentType] (a format)
        film = Image.open(images.BytesIO(result.renditions[0].data))
        assert getattr(film, "n_frames", 1) == frames
        assert result.warnings == ()


def test_d40_too_long_a_film_is_refused_or_cut() -> None:
    film = replace(WHOLE, format="webp", frames="all")
    with pytest.raises(JobError, match="too_many_frames"):
        rendered("gif-301-frames.gif", film)


@pytest.mark.parametrize("name", ["gra.png", "logo.png", "logo-pal.png", "scr-pal.png", "doc-2000x1200.jpg"])
@pytest.mark.parametrize("side", [1000, 400])
def test_d40_a_gif_of_it_is_close_to_its_pixels(name: str, side: int) -> None:
    gif, exact = (
        images.opened(rendered(name, Variant("v", side, side, format=fmt)).renditions[0].data).convert("RGBA")
        for fmt in ("gif", "png")
    )
    visible = exact.getchannel("A").point([255 if alpha >= 128 else 0 for alpha in range(256)])
    assert gif.getchannel("A").tobytes() == visible.tobytes(), "cut at half"
    exact.putalpha(visible)
    ground = Image.new("RGBA", gif.size, "white")
    difference = images.distance(Image.alpha_composite(ground, gif), Image.alpha_composite(ground, exact))
    assert difference <= 1.0, "levels of 255"
