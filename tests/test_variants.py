"""Variants: the box, the crop, the format, the animation and the looks that were asked for are what comes out."""

from base64 import b64decode
from dataclasses import replace
from itertools import accumulate

import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageSequence, ImageStat

from imgsvc.domain.model import FileFormat, Fit, Gravity, OutputFormat, Placeholder, Rendered, Variant
from imgsvc.domain.problems import JobError
from imgsvc.imaging.placeholder import thumbhash
from imgsvc.imaging.render import render
from tests.support import images
from tests.support.images import LIMITS, distance, near, pixel

BOX = Variant("box", 100, 100)
RED, BLUE = (255, 0, 0), (0, 0, 255)


def rendered(source: bytes, *variants: Variant) -> Rendered:
    return render(source, variants, LIMITS, lambda _step, _done, _total: None, lambda _bytes: None)


def one(source: bytes, variant: Variant) -> Image.Image:
    return images.opened(rendered(source, variant).renditions[0].data)


@pytest.mark.parametrize(
    ("fit", "enlarge", "whole", "box", "wanted"),
    [
        ("inside", False, (480, 320), (120, 120), (120, 80)),
        ("inside", False, (480, 320), (None, 80), (120, 80)),
        ("inside", False, (480, 320), (120, None), (120, 80)),
        ("inside", False, (48, 32), (120, 120), (48, 32)),
        ("inside", True, (48, 32), (120, 120), (120, 80)),
        ("cover", False, (480, 320), (120, 120), (120, 120)),
        ("cover", False, (480, 100), (120, 120), (120, 100)),
        ("cover", True, (48, 32), (120, 120), (120, 120)),
        ("contain", False, (480, 320), (120, 120), (120, 120)),
        ("contain", False, (48, 32), (120, 120), (120, 120)),
        ("fill", False, (480, 320), (120, 120), (120, 120)),
        ("fill", False, (48, 320), (120, 120), (48, 120)),
        ("fill", True, (48, 32), (120, 120), (120, 120)),
        ("cover", True, (1, 900), (120, 120), (120, 120)),
        ("fill", True, (1, 1), (3, 5), (3, 5)),
    ],
)
def test_a_variant_has_the_size_that_its_fit_says(
    fit: Fit, enlarge: bool, whole: tuple[int, int], box: tuple[int | None, int | None], wanted: tuple[int, int]
) -> None:
    source = images.encoded(images.scene().resize(whole), "PNG")
    rendition = rendered(source, Variant("v", *box, fit=fit, enlarge=enlarge)).renditions[0]
    assert (rendition.width, rendition.height) == images.opened(rendition.data).size == wanted


def quarters(across: bool = True) -> bytes:
    """An image of 400 x 100 (or upright) in four colours side by side."""
    image = Image.new("RGB", (400, 100) if across else (100, 400))
    for at, colour in enumerate((RED, (0, 200, 0), (250, 250, 0), BLUE)):
        image.paste(colour, (100 * at, 0, 100 * at + 100, 100) if across else (0, 100 * at, 100, 100 * at + 100))
    return images.encoded(image, "PNG")


@pytest.mark.parametrize(
    ("gravity", "across", "wanted"),
    [
        ("left", True, RED),
        ("right", True, BLUE),
        ("top", False, RED),
        ("bottom", False, BLUE),
    ],
)
def test_a_crop_is_taken_from_the_side_that_gravity_names(
    gravity: Gravity, across: bool, wanted: tuple[int, int, int]
) -> None:
    crop = one(quarters(across), replace(BOX, fit="cover", gravity=gravity))
    assert all(near(pixel(crop, x, 0.5), wanted) for x in (0.1, 0.9))


def test_a_crop_is_taken_from_the_middle_where_nobody_says() -> None:
    crop = one(quarters(), replace(BOX, fit="cover"))
    assert near(pixel(crop, 0.2), (0, 200, 0))
    assert near(pixel(crop, 0.8), (250, 250, 0))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_gravity_means_the_sides_that_a_viewer_sees(orientation: int) -> None:
    wanted = images.scene().crop((0, 0, 160, 320)).resize((60, 120))
    crop = one(images.photo(orientation=orientation), Variant("v", 60, 120, fit="cover", gravity="left"))
    assert distance(crop, wanted) < 4


@pytest.mark.parametrize("at", [0, 500])
def test_entropy_finds_the_part_where_something_is(at: int) -> None:
    image = Image.new("RGB", (600, 100), "#dddddd")
    image.paste(images.scene(100, 100), (at, 0))
    variants = [replace(BOX, name="e", fit="cover", gravity="entropy"), replace(BOX, name="whole", width=600)]
    crop = images.opened(rendered(images.encoded(image, "PNG"), *variants).renditions[0].data)
    assert distance(crop, images.scene(100, 100)) < 6


def test_contain_lays_the_image_on_its_canvas() -> None:
    source = images.encoded(images.plain(RED, size=(200, 100)), "PNG")
    on_white = one(source, replace(BOX, fit="contain"))
    assert near(pixel(on_white, 0.5, 0.1), (255, 255, 255))
    assert near(pixel(on_white, 0.5, 0.5), RED)
    on_blue = one(source, replace(BOX, fit="contain", background="#0000ff", gravity="top"))
    assert near(pixel(on_blue, 0.5, 0.1), RED)
    assert near(pixel(on_blue, 0.5, 0.9), BLUE)
    on_nothing = one(source, replace(BOX, fit="contain", format="png"))
    assert on_nothing.convert("RGBA").getpixel((50, 5)) == (0, 0, 0, 0)


@pytest.mark.parametrize("fmt", ["jpeg", "webp", "avif", "png", "gif", "jxl"])
def test_every_format_is_written(fmt: FileFormat) -> None:
    rendition = rendered(images.photo(), replace(BOX, format=fmt)).renditions[0]
    image = images.opened(rendition.data)
    assert (rendition.format, image.format, image.size) == (fmt, fmt.upper(), (100, 67))
    assert distance(image, images.scene().resize((100, 67))) < 8


@pytest.mark.parametrize("fmt", ["webp", "avif", "png", "gif", "jxl"])
def test_transparency_stays_where_the_format_has_it(fmt: FileFormat) -> None:
    image = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (100, 0, 200, 200))
    source = images.encoded(image, "PNG")
    result = one(source, replace(BOX, format=fmt)).convert("RGBA")
    assert result.getpixel((20, 50))[3] == 0  # pyright: ignore[reportIndexIssue, reportOptionalSubscript] (a tuple)
    assert near(pixel(result, 0.8), RED, by=8)
    assert near(pixel(one(source, replace(BOX, format=fmt, background="#0000ff")), 0.2), BLUE, by=8)


@pytest.mark.parametrize(
    ("fmt", "mode", "wanted"),
    [
        *(("JPEG", "RGB", "jpeg"), ("PNG", "RGBA", "png"), ("GIF", "P", "gif"), ("WEBP", "RGB", "webp")),
        *(("AVIF", "RGB", "avif"), ("TIFF", "RGB", "jpeg"), ("TIFF", "RGBA", "png"), ("BMP", "RGB", "jpeg")),
        *(("HEIF", "RGB", "jpeg"), ("JXL", "RGB", "jxl"), ("JPEG", "CMYK", "jpeg")),
    ],
)
def test_keep_is_the_format_that_came_or_the_nearest_that_browsers_show(
    fmt: str, mode: str, wanted: OutputFormat
) -> None:
    source = images.encoded(images.scene().convert(mode), fmt)
    variants = [replace(BOX, format="keep"), Variant("canvas", 300, 300, fit="contain", format="keep")]
    for rendition in rendered(source, *variants).renditions:
        assert rendition.format == wanted
        assert (images.opened(rendition.data).format or "").lower() == wanted


@pytest.mark.parametrize("fmt", ["jpeg", "webp", "avif", "jxl"])
def test_quality_is_what_it_costs(fmt: FileFormat) -> None:
    variants = [replace(BOX, name=f"q{quality}", format=fmt, quality=quality) for quality in (20, 60, 95)]
    sizes = [len(rendition.data) for rendition in rendered(images.photo(), *variants).renditions]
    assert sizes == sorted(set(sizes))


def test_a_jpeg_has_full_colour_resolution_only_where_its_quality_shows_it() -> None:
    def layers(quality: int) -> list[tuple[int, int]]:
        image = one(images.photo(), replace(BOX, quality=quality))
        return [(horizontal, vertical) for _, horizontal, vertical, _ in image.layer]  # pyright: ignore[reportAttributeAccessIssue] (JPEG's own)

    assert layers(85) == [(2, 2), (1, 1), (1, 1)]
    assert layers(92) == [(1, 1), (1, 1), (1, 1)]
    assert "progressive" not in one(images.photo(), BOX).info


def test_grayscale_takes_the_colour_and_leaves_the_transparency() -> None:
    grey = one(images.photo(), replace(BOX, grayscale=True))
    assert grey.mode == "L"
    half = images.encoded(images.plain((255, 0, 0, 128), "RGBA"), "PNG")
    assert one(half, replace(BOX, grayscale=True, format="png")).convert("RGBA").getpixel((9, 9)) == (76, 76, 76, 128)


def edges(image: Image.Image) -> float:
    return ImageStat.Stat(image.convert("L").filter(ImageFilter.FIND_EDGES)).mean[0]


def test_blur_softens_and_sharpen_sharpens() -> None:
    plain, soft, sharp = (
        one(images.photo(), replace(BOX, format="png", **looks)) for looks in ({}, {"blur": 3.0}, {"sharpen": 2.0})
    )
    assert 1.1 * edges(soft) < edges(plain) < 0.9 * edges(sharp)


@pytest.mark.parametrize("looks", [{"blur": 4.0}, {"sharpen": 4.0}])
def test_effects_do_not_pull_colour_from_under_transparent_pixels(looks: dict[str, float]) -> None:
    image = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (50, 0, 100, 100))
    result = one(images.encoded(image, "PNG"), replace(BOX, format="png", **looks))
    assert min(result.convert("RGB").getchannel("R").crop((50, 0, 100, 100)).tobytes()) >= 254


DURATIONS = [70, 120, 40, 200]


def film(fmt: str, loop: int | None = 0, *, transparent: bool = False) -> bytes:
    """Four frames with a patch that moves, on a plain or on no ground."""
    pictures: list[Image.Image] = []
    for at in range(4):
        picture = Image.new("RGBA", (200, 100), (0, 0, 0, 0) if transparent else (240, 240, 240, 255))
        ImageDraw.Draw(picture).ellipse((50 * at, 0, 50 * at + 49, 99), (255, 40 * at, 0, 255))
        pictures.append(picture)
    options: dict[str, object] = {} if loop is None else {"loop": loop}
    return images.encoded(
        pictures[0], fmt, save_all=True, append_images=pictures[1:], duration=DURATIONS, disposal=2, **options
    )


def ends(image: Image.Image) -> list[int]:
    """When each different frame ends, in milliseconds."""
    durations: list[int] = []
    for frame in ImageSequence.Iterator(image):
        frame.load()  # a WebP tells then
        durations.append(int(frame.info["duration"]))
    return list(accumulate(durations))


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize(
    ("fmt_in", "fmt_out"),
    [(fmt_in, fmt_out) for fmt_in in ("GIF", "WEBP", "PNG") for fmt_out in ("gif", "webp")]
    + [("GIF", "keep"), ("WEBP", "keep")],
)
def test_an_animation_keeps_its_frames_their_times_and_its_loop(
    fmt_in: str, fmt_out: OutputFormat, transparent: bool
) -> None:
    variant = Variant("v", 100, 100, format=fmt_out, frames="all")
    rendition = rendered(film(fmt_in, transparent=transparent), variant, replace(variant, name="small", width=20))
    image = Image.open(images.BytesIO(rendition.renditions[0].data))
    assert (image.format or "").lower() == (fmt_in.lower() if fmt_out == "keep" else fmt_out)
    assert image.size == (100, 50)
    frames = [frame.convert("RGBA") for frame in ImageSequence.Iterator(image)]
    assert len(frames) == rendition.original.frames == 4
    assert ends(image) == list(accumulate(DURATIONS))
    assert image.info["loop"] == 0
    for at, frame in enumerate(frames):
        assert near(pixel(frame, (at + 0.5) / 4), (255, 40 * at, 0), by=24)
        elsewhere = frame.getpixel((int(100 * ((at + 2) % 4 + 0.5) / 4), 25))
        assert isinstance(elsewhere, tuple)
        assert elsewhere[3] == 0 if transparent else near(elsewhere[:3], (240, 240, 240), by=24)


@pytest.mark.parametrize(
    ("fmt_in", "loop", "fmt_out", "wanted"),
    # a GIF's number counts the repeats, a WebP's the showings
    [
        ("GIF", None, "webp", 1),
        ("GIF", 2, "webp", 3),
        ("WEBP", 1, "gif", None),
        ("WEBP", 3, "gif", 2),
        ("GIF", 2, "gif", 2),
    ],
)
def test_an_animation_is_shown_as_often_as_before(
    fmt_in: str, loop: int | None, fmt_out: FileFormat, wanted: int | None
) -> None:
    image = one(film(fmt_in, loop), replace(BOX, format=fmt_out, frames="all"))
    assert image.info.get("loop") == wanted


def test_an_animation_is_still_where_the_format_or_the_variant_says_so() -> None:
    variants = [replace(BOX, name="first", format="gif"), replace(BOX, name="png", format="png", frames="all")]
    for rendition in rendered(film("GIF"), *variants).renditions:
        assert getattr(images.opened(rendition.data), "n_frames", 1) == 1


def test_an_animation_that_would_grow_beyond_its_limit_is_refused() -> None:
    with pytest.raises(JobError, match="too_many_frames"):
        rendered(film("GIF"), Variant("v", 8000, 8000, fit="fill", enlarge=True, format="gif", frames="all"))


def test_a_variant_that_no_format_could_hold_is_refused() -> None:
    tall = images.encoded(Image.new("RGB", (1, 4000)), "PNG")
    with pytest.raises(JobError, match="image_too_large"):
        rendered(tall, Variant("v", 100, None, enlarge=True))


def test_metadata_that_is_kept_names_no_place_no_person_s_device_and_no_thumbnail() -> None:
    tags = images.exif(6)
    tags[0x010F], tags[0x013B] = "Camera works", "A photographer"
    tags.get_ifd(0x8825)[0x001D] = "SECRET place"
    photo = tags.get_ifd(0x8769)
    photo[0x829A], photo[0xA431], photo[0x927C], photo[0xA430] = 0.01, "SECRET serial", b"SECRET notes", "SECRET owner"
    source = images.encoded(images.scene(), "JPEG", exif=tags, comment=b"SECRET", xmp=b"<x>SECRET</x>")
    for fmt in ("jpeg", "webp", "avif", "png"):
        rendition = rendered(source, replace(BOX, format=fmt, strip=False)).renditions[0]
        kept = images.opened(rendition.data).getexif()
        assert (kept[0x010F], kept[0x013B], kept.get_ifd(0x8769)[0x829A]) == ("Camera works", "A photographer", 0.01)
        assert kept.get(0x0112, 1) == 1, "it is upright already"
        assert b"SECRET" not in rendition.data


def test_the_placeholder_tells_the_image_and_its_colour() -> None:
    told = rendered(images.encoded(images.plain((250, 10, 10), size=(300, 200)), "PNG"), BOX).placeholder
    assert told.color == "#fa0a0a"
    assert len(b64decode(told.thumbhash)) >= 16


@pytest.mark.parametrize(
    ("alpha", "wanted"),
    # what the format's own encoder (thumbhash 0.1.1 of npm) makes of the same pixels
    [(False, "3gcKLxqwh4eAeHeLd3h3iId3GBAJgo8I"), (True, "YbiFHQo4sIexhn9XmAC3BNhLeIiAiId4eA==")],
)
def test_a_thumbhash_is_that_of_its_inventor(alpha: bool, wanted: str) -> None:
    image = images.scene().resize((32, 32)).convert("RGBA")
    if alpha:
        image.putalpha(Image.linear_gradient("L").resize((32, 32)))
    assert thumbhash(image.size, image.tobytes()) == b64decode(wanted)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (100, 99)])
def test_every_image_has_a_placeholder(size: tuple[int, int]) -> None:
    told = rendered(images.encoded(Image.new("LA", size), "PNG"), replace(BOX, fit="cover")).placeholder
    assert isinstance(told, Placeholder)
    assert told.color == "#ffffff"
