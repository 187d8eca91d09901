"""Pixels: what comes in, in whatever state, comes out upright, in sRGB, small and bare."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from PIL import Image

from imgsvc.domain.formats import FORMATS
from imgsvc.domain.model import Limits, Rendered, Variant
from imgsvc.domain.presets import PRESETS
from imgsvc.domain.problems import JobError
from imgsvc.imaging.geometry import place
from imgsvc.imaging.render import render
from tests.support import images
from tests.support.images import LIMITS, distance, near, pixel

SMALL = Variant("small", 120, 120)


def rendered(source: bytes, variants: Sequence[Variant] = (SMALL,), limits: Limits = LIMITS) -> Rendered:
    return render(source, variants, limits, lambda _step, _done, _total: None, lambda _bytes: None)


def one(source: bytes, variant: Variant = SMALL) -> Image.Image:
    return images.opened(rendered(source, [variant]).renditions[0].data)


def code_of(source: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(JobError) as caught:
        rendered(source, limits=limits)
    return caught.value.code


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_come_out_upright_and_alike(orientation: int) -> None:
    result = rendered(images.photo(orientation=orientation))
    assert (result.original.width, result.original.height) == (480, 320)
    assert distance(images.opened(result.renditions[0].data), one(images.photo())) < 1.5


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_counts_in_every_format_that_has_it(fmt: str) -> None:
    stored = images.scene(240, 160).transpose(Image.Transpose.ROTATE_90)
    result = rendered(images.encoded(stored, fmt, exif=images.exif(6)))
    assert (result.original.width, result.original.height) == (240, 160)
    assert distance(images.opened(result.renditions[0].data), one(images.photo(240, 160))) < 4


@pytest.mark.parametrize("tags", [b"Exif\x00\x00garbage", b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff", b"Exif"])
def test_broken_exif_is_no_reason_to_refuse_a_picture(tags: bytes) -> None:
    assert one(images.encoded(images.scene(), "JPEG", exif=tags)).size == (120, 80)


def test_an_orientation_that_makes_no_sense_counts_as_none() -> None:
    assert one(images.encoded(images.scene(), "JPEG", exif=images.exif(9))).size == (120, 80)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read(name: str) -> None:
    result = rendered(images.encoded(images.scene(), name.upper()))
    assert result.original.format == name
    assert distance(images.opened(result.renditions[0].data), one(images.photo())) < 8


def test_pixels_are_converted_from_their_profile_to_srgb() -> None:
    red = images.encoded(images.plain((250, 10, 10)), "PNG", icc_profile=images.swapped_primaries_profile())
    assert near(pixel(one(red)), (10, 10, 250), by=8)


@pytest.mark.parametrize("profile", [b"broken", images.swapped_primaries_profile()[:200], bytes(100_000)])
def test_d15_a_broken_profile_counts_as_none(profile: bytes) -> None:
    red = images.encoded(images.plain((250, 10, 10)), "PNG", icc_profile=profile)
    assert near(pixel(one(red)), (250, 10, 10))


@pytest.mark.parametrize(("mode", "colour"), [("L", 250), ("CMYK", (5, 5, 5, 0))])
def test_d15_a_profile_of_another_colour_model_counts_as_none(mode: str, colour: object) -> None:
    profile = images.swapped_primaries_profile()
    source = images.encoded(images.plain(colour, mode), "JPEG", icc_profile=profile)
    assert near(pixel(one(source)), (250, 250, 250))


def test_cmyk_comes_out_in_its_colours() -> None:
    # Pillow writes CMYK as Adobe does: inverted, and marked so
    cyan = images.encoded(images.plain((255, 0, 0, 0), "CMYK"), "JPEG")
    assert near(pixel(one(cyan)), (0, 255, 255), by=8)


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    grey = one(images.grey_16_bit())
    assert [near(pixel(grey, (i + 0.5) / 4), (v, v, v)) for i, v in enumerate((0, 64, 128, 255))] == [True] * 4


def test_floats_span_from_their_darkest_to_their_brightest() -> None:
    image = Image.new("F", (64, 16), -1.0)
    image.paste(3.0, (32, 0, 64, 16))
    result = one(images.encoded(image, "TIFF"))
    assert near(pixel(result, 0.2), (0, 0, 0), by=6)
    assert near(pixel(result, 0.8), (255, 255, 255), by=6)


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        (images.plain((0, 0, 0, 0), "RGBA"), (255, 255, 255)),
        (images.plain((255, 0, 0, 128), "RGBA"), (255, 127, 127)),
        (images.plain((0, 0), "LA"), (255, 255, 255)),
        (images.plain((0, 128), "LA"), (127, 127, 127)),
        (images.plain(1, "1"), (255, 255, 255)),
        (images.plain(0, "1"), (0, 0, 0)),
    ],
)
def test_transparency_is_laid_on_white(image: Image.Image, wanted: tuple[int, int, int]) -> None:
    assert near(pixel(one(images.encoded(image, "PNG"))), wanted)


def test_a_palette_keeps_its_colours_and_its_holes() -> None:
    result = one(images.palette_with_transparency())
    assert near(pixel(result, 0.25), (255, 0, 0))
    assert near(pixel(result, 0.75), (255, 255, 255))


def test_colours_under_transparent_pixels_do_not_bleed_into_their_neighbours() -> None:
    image = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (201, 0, 400, 400))
    assert min(one(images.encoded(image, "PNG")).convert("L").tobytes()) >= 250


def test_nothing_is_ever_enlarged() -> None:
    assert one(images.photo(90, 60), Variant("large", 1024, 1024)).size == (90, 60)


@pytest.mark.parametrize(("size", "wanted"), [((1, 3000), (1, 120)), ((3000, 1), (120, 1)), ((1, 1), (1, 1))])
def test_a_side_never_shrinks_to_nothing(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert one(images.encoded(Image.new("RGB", size), "PNG")).size == wanted


@pytest.mark.parametrize(
    ("whole", "box", "wanted"),
    [
        ((2725, 2225), (1024, 1024), (1024, 836)),
        ((2225, 2725), (1024, 1024), (836, 1024)),
        ((2725, 2225), (200, 200), (200, 163)),
        ((1000, 500), (500, 100), (200, 100)),
    ],
)
def test_an_image_keeps_its_shape_inside_the_box(
    whole: tuple[int, int], box: tuple[int, int], wanted: tuple[int, int]
) -> None:
    assert place(whole, Variant("box", *box)).size == wanted


def test_variants_come_in_the_order_asked_and_are_made_from_the_largest_on() -> None:
    steps: list[tuple[str, int, int]] = []
    asked = [Variant("s", 50, 50), Variant("l", 400, 400), Variant("m", 300, 300)]
    result = render(
        images.photo(), asked, LIMITS, lambda step, done, total: steps.append((step, done, total)), lambda _: None
    )
    assert [(r.variant, r.width) for r in result.renditions] == [("s", 50), ("l", 400), ("m", 300)]
    assert steps == [("decode", 0, 4), ("encode:l", 1, 4), ("encode:m", 2, 4), ("encode:s", 3, 4)]


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_variant_looks_the_same_alone_and_beside_others(orientation: int) -> None:
    source = images.photo(1200, 800, orientation=orientation)
    beside = rendered(source, [Variant("l", 900, 900), Variant("m", 700, 700), SMALL])
    for rendition, variant in zip(beside.renditions[1:], [Variant("m", 700, 700), SMALL], strict=True):
        assert distance(images.opened(rendition.data), one(source, variant)) < 2


def test_a_draft_decode_looks_like_a_full_one() -> None:
    full = images.scene(1200, 800).resize((140, 93), Image.Resampling.LANCZOS)
    assert distance(one(images.photo(1200, 800), Variant("box", 140, 140)), full) < 2


def test_d14_no_metadata_gets_out() -> None:
    for rendition in rendered(images.full_of_metadata(), PRESETS["default"]).renditions:
        assert b"SECRET" not in rendition.data
        image = images.opened(rendition.data)
        assert not image.getexif()
        assert {"icc_profile", "comment", "xmp", "exif"}.isdisjoint(image.info)


def test_an_mpo_is_its_first_picture() -> None:
    result = rendered(images.two_pictures())
    assert (result.original.format, result.original.frames) == ("jpeg", 1)
    assert near(pixel(images.opened(result.renditions[0].data)), (254, 0, 0))


@pytest.mark.parametrize("fmt", ["GIF", "WEBP", "PNG", "AVIF"])
def test_an_animation_gives_its_first_frame_and_counts_them(fmt: str) -> None:
    source = images.animation(5, fmt)
    assert rendered(source, limits=replace(LIMITS, max_frames=4)).original.frames == 5


def test_d1_the_header_decides_before_a_pixel_is_decoded() -> None:
    for bomb in (images.png_header_bomb(), images.webp_header_bomb()):
        assert code_of(bomb) == "image_too_large"
    assert code_of(images.photo(480, 320), replace(LIMITS, max_pixels=480 * 320 - 1)) == "image_too_large"
    assert code_of(images.photo(480, 320), replace(LIMITS, max_side=479)) == "image_too_large"
    assert rendered(images.photo(480, 320), limits=Limits(480 * 320, 480, 1, 480 * 320)).original.width == 480


@pytest.mark.parametrize("source", [b"", b"%PDF-1.7", b"<svg xmlns='...'/>", b"SIMPLE  =  T", b"8BPS\x00\x01"])
def test_d5_what_is_no_image_of_ours_is_unsupported(source: bytes) -> None:
    assert code_of(source) == "unsupported_format"


def test_d16_a_text_bomb_is_not_unpacked() -> None:
    assert near(pixel(one(images.png_text_bomb())), (254, 0, 0))


@pytest.mark.parametrize("name", FORMATS)
def test_d13_damaged_images_give_an_image_or_a_typed_error(name: str) -> None:
    chance = random.Random(20)  # the same damage on every run
    whole = images.encoded(images.scene(120, 80), name.upper())
    for _ in range(40):
        damaged = bytearray(whole)
        for _ in range(8):
            damaged[chance.randrange(16, len(damaged))] ^= 1 << chance.randrange(8)
        try:
            rendered(bytes(damaged), limits=replace(LIMITS, max_pixels=1_000_000, max_side=4096))
        except JobError as error:
            assert error.code in {"decode_failed", "image_too_large", "too_many_frames", "unsupported_format"}  # noqa: PT017
