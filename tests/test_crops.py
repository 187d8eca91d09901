"""Crops, trimmed borders, turns and padding: what is asked for of the upright original is what comes out."""

from dataclasses import replace
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageSequence

from imgsvc.domain.model import Crop, Flip, Point, Rendered, Rotation, Variant
from imgsvc.domain.problems import JobError
from imgsvc.imaging.render import render
from tests.support import images
from tests.support.images import LIMITS, distance, near, pixel

PNG = Variant("v", 1000, 1000, format="png")
SIZE = 480, 320
"""Of the scene."""


def rendered(source: bytes, *variants: Variant) -> Rendered:
    return render(source, variants, LIMITS, lambda _step, _done, _total: None, lambda _bytes: None)


def one(source: bytes, variant: Variant) -> Image.Image:
    return images.opened(rendered(source, variant).renditions[0].data)


def png(image: Image.Image) -> bytes:
    return images.encoded(image, "PNG")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("crop", "wanted"),
    [
        (Crop(0.25, 0.5, 0.5, 0.25), (120, 160, 360, 240)),
        (Crop(48, 32, 96, 64), (48, 32, 144, 96)),
        (Crop(0, 0, 1, 1), (0, 0, *SIZE)),
        (Crop(1, 2, 479, 318), (1, 2, *SIZE)),
    ],
)
def test_a_crop_is_of_the_upright_original(orientation: int, crop: Crop, wanted: tuple[int, int, int, int]) -> None:
    result = one(images.photo(orientation=orientation), replace(PNG, crop=crop))
    assert distance(result, images.scene().crop(wanted)) < 4


def test_a_crop_of_a_scaled_photograph_has_every_pixel_that_it_needs() -> None:
    scene = images.scene(2400, 1600)
    source = images.encoded(scene, "JPEG", quality=95)
    crop = one(source, Variant("v", 300, 300, crop=Crop(0.5, 0.5, 0.125, 0.125)))
    assert crop.size == (300, 200), "as many pixels as the original has there"
    small = one(source, Variant("v", 150, 150, crop=Crop(600, 400, 1200, 800)))
    assert distance(small, scene.crop((600, 400, 1800, 1200)).resize((150, 100), Image.Resampling.LANCZOS)) < 3


def test_fractions_are_rounded_to_the_pixels_of_the_original() -> None:
    dots = Image.new("L", (10, 10))
    dots.putpixel((3, 7), 255)
    result = one(png(dots), replace(PNG, crop=Crop(0.31, 0.69, 0.06, 0.09)))
    assert (result.size, result.getpixel((0, 0))) == ((1, 1), 255)


def test_what_a_crop_takes_beyond_the_edge_is_left_out_with_a_warning() -> None:
    result = rendered(images.photo(), replace(PNG, crop=Crop(-100, 100, 200, 300)))
    assert result.warnings == ("crop_clipped",)
    assert distance(images.opened(result.renditions[0].data), images.scene().crop((0, 100, 100, 320))) < 4
    assert rendered(images.photo(), replace(PNG, crop=Crop(0.3, 0, 0.7, 1))).warnings == ()


@pytest.mark.parametrize("crop", [Crop(480, 0, 10, 10), Crop(0, 60_000, 65_535, 5_000), Crop(-20, -20, 10, 10)])
def test_g1_a_crop_outside_of_the_image_fails_and_says_so(crop: Crop) -> None:
    with pytest.raises(JobError, match="crop_outside"):
        rendered(images.photo(), PNG, replace(PNG, name="cut", crop=crop))


@pytest.mark.parametrize("size", [SIZE, (700, 700)])
def test_nothing_of_what_is_cut_off_shines_through(size: tuple[int, int]) -> None:
    inner = Image.new("RGB", (100, 100), "black")
    inner.paste("white", (10, 10, 90, 90))
    cut = replace(PNG, width=size[0], height=size[1], crop=Crop(10, 10, 80, 80), enlarge=True)
    assert one(png(inner), cut).getcolors() == [(min(size) ** 2, (255, 255, 255))]
    assert one(png(inner), replace(cut, crop=None, trim=1)).getcolors() == [(min(size) ** 2, (255, 255, 255))]


TURNED: list[tuple[Rotation, Flip | None]] = [(turn, flip) for turn in (0, 90, 180, 270) for flip in (None, "h", "v")]


def turned(image: Image.Image, rotate: Rotation, flip: Flip | None) -> Image.Image:
    image = image.rotate(-rotate, expand=True)
    if flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT if flip == "h" else Image.Transpose.FLIP_TOP_BOTTOM)
    return image


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize(("rotate", "flip"), TURNED)
def test_an_image_is_rotated_clockwise_and_then_flipped(orientation: int, rotate: Rotation, flip: Flip | None) -> None:
    source = images.photo(orientation=orientation)
    variants = [replace(PNG, rotate=rotate, flip=flip), Variant("small", 120, 60, rotate=rotate, flip=flip)]
    large, small = (images.opened(rendition.data) for rendition in rendered(source, *variants).renditions)
    wanted = turned(images.scene(), rotate, flip)
    assert distance(large, wanted) < 4
    wanted.thumbnail((120, 60), Image.Resampling.LANCZOS)
    assert distance(small, wanted) < 4


@pytest.mark.parametrize(("rotate", "flip"), TURNED)
def test_a_crop_is_of_the_original_and_the_box_of_what_is_turned(rotate: Rotation, flip: Flip | None) -> None:
    variant = Variant("v", 100, 50, fit="cover", gravity="left", crop=Crop(80, 0, 320, 320), rotate=rotate, flip=flip)
    whole = turned(images.scene().crop((80, 0, 400, 320)), rotate, flip)
    wanted = whole.crop((0, 80, 320, 240)).resize((100, 50), Image.Resampling.LANCZOS)
    assert distance(one(images.photo(), variant), wanted) < 4


def spot(at: Point, size: tuple[int, int] = SIZE) -> bytes:
    """A grey picture with a small red spot."""
    image = Image.new("RGB", size, "#808080")
    x, y = at.x * size[0], at.y * size[1]
    ImageDraw.Draw(image).ellipse((x - 9, y - 9, x + 9, y + 9), "red")
    return png(image)


@pytest.mark.parametrize(("rotate", "flip"), TURNED)
@pytest.mark.parametrize("crop", [None, Crop(0.25, 0.25, 0.75, 0.75)])
@pytest.mark.parametrize("box", [(300, 60), (60, 300)])
def test_a_point_is_of_the_upright_original_and_in_the_middle_of_what_is_kept(
    rotate: Rotation, flip: Flip | None, crop: Crop | None, box: tuple[int, int]
) -> None:
    point = Point(0.55, 0.62)
    variant = Variant("v", *box, fit="cover", gravity=point, crop=crop, rotate=rotate, flip=flip, enlarge=True)
    kept = one(spot(point), variant)
    red, green, _ = kept.convert("RGB").split()
    found = ImageChops.subtract(red, green).point([255 * (level > 60) for level in range(256)]).getbbox()
    assert found
    if box[0] < box[1]:
        assert (found[0] + found[2]) / 2 / kept.width == pytest.approx(0.5, abs=0.08)
    else:
        assert (found[1] + found[3]) / 2 / kept.height == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("point", [Point(0, 0), Point(1, 1), Point(1, 0), Point(0.02, 0.5)])
def test_a_point_near_the_edge_is_kept_at_the_edge(point: Point) -> None:
    kept = one(images.photo(), Variant("v", 100, 200, fit="cover", gravity=point))
    left = 0 if point.x < 0.5 else 320
    assert distance(kept, images.scene().crop((left, 0, left + 160, 320)).resize((100, 200))) < 4


@pytest.mark.parametrize("at", [Point(0.1, 0.5), Point(0.3, 0.5)])
def test_content_is_looked_for_inside_of_the_crop(at: Point) -> None:
    """The scene lies in a corner that the crop leaves out, a spot inside of it."""
    image = images.opened(spot(at, (1200, 200)))
    image.paste(images.scene(300, 200), (900, 0))
    variant = Variant("v", 100, 100, fit="cover", gravity="entropy", crop=Crop(0, 0, 0.7, 1))
    red, green, _ = one(png(image), variant).convert("RGB").split()
    assert ImageChops.subtract(red, green).getbbox()


FRAME = Image.new("RGB", (200, 120), "#f0f0f0")
FRAME.paste(images.scene(90, 40), (60, 50))
"""A picture with a border of 60, 50, 50 and 30 pixels."""


@pytest.mark.parametrize("orientation", [1, 2, 5, 6, 8])
def test_a_border_of_one_colour_is_trimmed(orientation: int) -> None:
    stored = images.encoded(turned_back(FRAME, orientation), "PNG", exif=images.exif(orientation))
    result = one(stored, replace(PNG, trim=0))
    assert result.size == (90, 40)
    assert distance(result, images.scene(90, 40)) < 1


def turned_back(image: Image.Image, orientation: int) -> Image.Image:
    way = images.STORED.get(orientation)
    return image if way is None else image.transpose(way)


def test_a_border_may_be_as_uneven_as_the_tolerance_says() -> None:
    uneven = FRAME.copy()
    uneven.putpixel((5, 5), (215, 215, 215))  # a tenth darker
    assert one(png(uneven), replace(PNG, trim=9)).size == (145, 85)
    assert one(png(uneven), replace(PNG, trim=10)).size == (90, 40)
    width, height = one(images.encoded(FRAME, "JPEG", quality=90), replace(PNG, trim=10)).size
    assert 0 <= width - 90 <= 16, "a JPEG's colours reach over the edge, by one block at most"
    assert 0 <= height - 40 <= 16


def test_a_corner_that_something_touches_is_not_the_border() -> None:
    touched = FRAME.copy()
    touched.paste("navy", (0, 0, 20, 20))
    assert one(png(touched), replace(PNG, trim=5)).size == (150, 90)


def test_transparency_is_a_border_whatever_colours_lie_under_it() -> None:
    image = Image.effect_noise((60, 40), 90).convert("RGBA")
    image.putalpha(0)
    image.paste((255, 0, 0, 255), (10, 20, 30, 35))
    result = one(png(image), replace(PNG, trim=0)).convert("RGBA")
    assert result.getcolors() == [(20 * 15, (255, 0, 0, 255))]


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (64, 48)])
@pytest.mark.parametrize("tolerance", [0, 100])
def test_g2_a_picture_of_one_colour_is_not_trimmed_away(size: tuple[int, int], tolerance: float) -> None:
    assert one(png(Image.new("RGB", size, "teal")), replace(PNG, height=5000, trim=tolerance)).size == size


def test_g2_what_is_left_of_a_picture_may_be_a_single_pixel() -> None:
    dot = Image.new("RGB", (900, 600), "white")
    dot.putpixel((899, 123), (0, 0, 0))
    assert one(png(dot), replace(PNG, trim=10)).tobytes() == b"\0\0\0"
    assert one(png(dot), replace(PNG, width=64, height=64, trim=10, enlarge=True)).getcolors() == [(64 * 64, (0, 0, 0))]


def test_g2_a_thin_line_that_is_left_does_not_become_a_picture_without_bounds() -> None:
    line = Image.new("L", (100, 4000), 255)
    line.paste(0, (50, 0, 51, 4000))
    with pytest.raises(JobError, match="image_too_large"):
        rendered(png(line), Variant("v", 100, None, trim=10, enlarge=True))


def test_g2_a_border_does_not_make_a_picture_too_large() -> None:
    """With its border, each of these would be refused: as too high, and for its encoder's memory."""
    strip, square = Image.new("L", (100, 4000), 255), Image.new("L", (1000, 1000), 255)
    strip.paste(0, (10, 100, 90, 110))
    square.paste(0, (10, 100, 810, 110))
    assert one(png(strip), Variant("v", 800, None, trim=10, enlarge=True)).size == (800, 100)
    assert one(png(square), Variant("v", 8192, None, trim=10, enlarge=True, format="avif")).size == (8192, 102)
    with pytest.raises(JobError, match="image_too_large"):
        rendered(png(square), Variant("v", 8192, None, enlarge=True, format="avif"))


def film(fmt: str) -> bytes:
    """Three frames on a plain ground, whose patch moves to the right."""
    pictures: list[Image.Image] = []
    for at in range(3):
        pictures.append(Image.new("RGB", (100, 60), "white"))
        pictures[-1].paste("red", (20 + 20 * at, 10, 30 + 20 * at, 40))
    return images.encoded(pictures[0], fmt, save_all=True, append_images=pictures[1:], duration=50, lossless=True)


@pytest.mark.parametrize("fmt", ["GIF", "WEBP", "PNG"])
def test_g3_all_frames_of_an_animation_are_trimmed_alike(fmt: str) -> None:
    result = one(film(fmt), Variant("v", 100, 100, trim=5, format="gif", frames="all"))
    assert (result.size, getattr(result, "n_frames", 1)) == ((50, 30), 3)
    for at, frame in enumerate(ImageSequence.Iterator(result)):
        assert near(pixel(frame, (5 + 20 * at) / 50), (255, 0, 0), by=20)
        assert near(pixel(frame, (25 + 20 * at) % 60 / 50), (255, 255, 255), by=20)
    still = one(film(fmt), Variant("v", 100, 100, trim=5, frame=1, format="png"))
    assert still.size == (10, 30)


@pytest.mark.parametrize("fmt", ["GIF", "WEBP", "PNG"])
def test_every_frame_of_an_animation_is_cropped_and_turned(fmt: str) -> None:
    variant = Variant("v", 100, 100, crop=Crop(20, 0, 50, 60), rotate=90, padding=5, format="webp", frames="all")
    frames = [frame.convert("RGBA") for frame in ImageSequence.Iterator(one(film(fmt), variant))]
    assert [frame.size for frame in frames] == [(70, 60)] * 3
    for at, frame in enumerate(frames):
        assert near(pixel(frame, 40 / 70, (10 + 20 * at) / 60), (255, 0, 0), by=20)
        assert frame.getpixel((2, 2)) == (0, 0, 0, 0)


def test_a_page_is_cropped_as_a_picture_is() -> None:
    pages = images.encoded(images.plain("red"), "TIFF", save_all=True, append_images=[images.scene().copy()])
    result = one(pages, replace(PNG, page=1, crop=Crop(0, 0, 0.5, 0.5)))
    assert distance(result, images.scene().crop((0, 0, 240, 160))) < 2


PADDED = Variant("v", 300, 300, padding=30, format="png")


@pytest.mark.parametrize(
    ("variant", "size", "margins"),
    [
        (PADDED, (300, 220), (30, 30)),
        (replace(PADDED, padding=0.1), (300, 220), (30, 30)),
        (replace(PADDED, height=None), (300, 220), (30, 30)),
        (replace(PADDED, rotate=90), (220, 300), (30, 30)),
        (replace(PADDED, fit="contain"), (300, 300), (30, 70)),
        (replace(PADDED, fit="contain", gravity="top"), (300, 300), (30, 30)),
        (replace(PADDED, fit="cover", height=150), (300, 150), (30, 30)),
        (replace(PADDED, fit="fill", height=150), (300, 150), (30, 30)),
        (replace(PADDED, width=1000, height=1000), (540, 380), (30, 30)),
    ],
)
def test_padding_lies_inside_of_the_box(variant: Variant, size: tuple[int, int], margins: tuple[int, int]) -> None:
    result = one(images.photo(), variant).convert("RGBA")
    image = result.getchannel("A").getbbox()
    assert result.size == size
    assert image is not None
    assert image[:2] == margins
    for background, wanted in ((None, (255, 255, 255)), ("#0000ff", (0, 0, 255))):
        jpeg = one(images.photo(), replace(variant, format="jpeg", background=background))
        assert near(pixel(jpeg, 0.01, 0.5), wanted, by=12)


@pytest.mark.parametrize(("width", "padding"), [(1, 0.49), (2, 0.49), (3, 1), (200, 99)])
def test_g4_padding_leaves_at_least_a_pixel(width: int, padding: float) -> None:
    result = one(png(images.plain("red", size=(10_000, 1))), Variant("v", width, None, padding=padding, format="png"))
    assert result.width == width
    assert result.getchannel("A").getbbox() if result.mode == "RGBA" else True


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (2, 3)])
@pytest.mark.parametrize("fit", ["inside", "cover", "contain", "fill"])
def test_g4_the_smallest_and_thinnest_pictures_go_through_every_step(size: tuple[int, int], fit: Any) -> None:
    variant = Variant("v", 64, 48, fit=fit, rotate=90, flip="v", trim=3, padding=0.2, crop=Crop(0, 0, 0.001, 1))
    for gravity in ("attention", "entropy", "focus", Point(1, 0)):
        rendition = rendered(png(Image.effect_noise(size, 90)), replace(variant, gravity=gravity)).renditions[0]
        assert images.opened(rendition.data).size == (rendition.width, rendition.height)
        assert rendition.width <= 64
        assert rendition.height <= 48


@pytest.mark.parametrize("looks", [{}, {"rotate": 90}, {"crop": Crop(0.1, 0.2, 0.7, 0.6)}, {"trim": 3}])
def test_small_files_of_a_cut_set_show_what_the_large_ones_show(looks: dict[str, Any]) -> None:
    """They are made from the large ones."""
    scene = Image.new("RGB", (1200, 900), "white")
    scene.paste(images.scene(900, 600), (150, 150))
    variant = replace(Variant("set", widths=(40, 100, 250, 600), format="png"), **looks)
    others = Variant("other", 300, 300, crop=Crop(0, 0, 0.5, 0.5)), Variant("whole", 300, 300)
    *made, _, _ = rendered(png(scene), variant, *others).renditions
    largest = images.opened(made[-1].data)
    for each in made:
        file = images.opened(each.data)
        alone = one(png(scene), replace(variant, widths=None, width=each.width))
        assert distance(file, largest.resize(file.size, Image.Resampling.LANCZOS)) < 1.5
        assert distance(file, alone) < 1.5


def test_a_responsive_set_is_cut_turned_and_trimmed_alike() -> None:
    variant = Variant("set", widths=(40, 80, 400), formats=("png",), trim=2, rotate=90)
    result = rendered(png(FRAME), variant).renditions
    assert [(made.width, made.height) for made in result] == [(40, 90)]
    cut = replace(variant, trim=None, crop=Crop(0.5, 0, 0.5, 1), width=1, height=1, fit="cover", gravity="attention")
    assert [(made.width, made.height) for made in rendered(images.photo(), cut).renditions] == [
        *((40, 40), (80, 80), (240, 240))
    ]
