"""Overlays: where they go, how much of them shows, and what a hostile or odd one costs."""

from dataclasses import replace

import pytest
from PIL import Image, ImageSequence

from imgsvc.domain.model import Limits, Variant
from imgsvc.domain.overlays import Overlay
from imgsvc.domain.problems import JobError
from imgsvc.imaging.render import render
from imgsvc.imaging.spaces import display_p3
from tests.support import images
from tests.support.images import LIMITS, encoded
from tests.support.pixels import near

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
LOGO = encoded(images.plain(RED, size=(40, 20)), "PNG")
PICTURE = encoded(images.plain(BLUE, size=(400, 200)), "PNG")
WHOLE = Variant("whole", 400, 400, format="png")
BARE = Overlay("logo", margin=0, sha256="of the logo")


def made(
    overlay: Overlay = BARE,
    variant: Variant = WHOLE,
    *,
    logo: bytes = LOGO,
    picture: bytes = PICTURE,
    limits: Limits = LIMITS,
) -> Image.Image:
    """The file of a variant with an overlay."""
    wanted = replace(variant, overlay=overlay)
    result = render(
        picture, [wanted], limits, lambda _step, _done, _total: None, lambda _bytes: None, {overlay.sha256: logo}
    )
    Image.MAX_IMAGE_PIXELS = LIMITS.max_pixels  # which rendering sets to what a source may have
    return images.opened(result.renditions[0].data)


def box_of(image: Image.Image, colour: tuple[int, int, int] = RED) -> tuple[int, int, int, int] | None:
    """Where the pixels of a colour are: left, top, right and bottom."""
    red, green, blue = image.convert("RGB").split()
    is_it = [
        band.point([255 * (abs(level - wanted) <= 40) for level in range(256)])
        for band, wanted in zip((red, green, blue), colour, strict=True)
    ]
    return Image.merge("RGB", is_it).convert("L").point([0] * 255 + [255]).getbbox()


@pytest.mark.parametrize(
    ("position", "corner"),
    [
        ("top-left", (0, 0)),
        ("top", (150, 0)),
        ("top-right", (300, 0)),
        ("left", (0, 75)),
        ("center", (150, 75)),
        ("right", (300, 75)),
        ("bottom-left", (0, 150)),
        ("bottom", (150, 150)),
        ("bottom-right", (300, 150)),
    ],
)
def test_an_overlay_is_where_its_position_says(position: str, corner: tuple[int, int]) -> None:
    shown = made(replace(BARE, position=position))  # pyright: ignore[reportArgumentType] (each is one)
    assert box_of(shown) == (*corner, corner[0] + 100, corner[1] + 50), "a quarter of the picture"


@pytest.mark.parametrize(
    ("margin", "box"),
    [
        (0.02, (296, 146, 396, 196)),
        (10, (290, 140, 390, 190)),
        (0.5, (200, 50, 300, 100)),
        (8192, (0, 0, 100, 50)),  # there is no room for it
    ],
)
def test_a_margin_is_of_pixels_or_of_the_shorter_side(margin: float, box: tuple[int, int, int, int]) -> None:
    assert box_of(made(replace(BARE, margin=margin))) == box


@pytest.mark.parametrize(
    ("scale", "logo", "size"),
    [
        (1.0, (40, 20), (400, 200)),
        (0.5, (40, 20), (200, 100)),
        (0.5, (20, 40), (50, 100)),
        (0.5, (800, 800), (100, 100)),  # larger than the picture as a file
        (1.0, (1, 3000), (1, 200)),
        (0.01, (40, 20), (4, 2)),
    ],
)
def test_the_scale_is_of_the_picture(scale: float, logo: tuple[int, int], size: tuple[int, int]) -> None:
    shown = made(replace(BARE, scale=scale, position="top-left"), logo=encoded(images.plain(RED, size=logo), "PNG"))
    assert box_of(shown) == (0, 0, *size)


@pytest.mark.parametrize(("opacity", "wanted"), [(1.0, RED), (0.5, (128, 0, 127)), (0.1, (26, 0, 229)), (0.0, BLUE)])
def test_the_opacity_says_how_much_of_it_shows(opacity: float, wanted: tuple[int, int, int]) -> None:
    assert near((*images.pixel(made(replace(BARE, opacity=opacity)), 0.9, 0.9), 255), wanted)


def test_its_own_transparency_counts_too() -> None:
    logo = Image.new("RGBA", (40, 20), (*RED, 0))
    logo.paste((*RED, 128), (20, 0, 40, 20))
    shown = made(replace(BARE, opacity=0.5, scale=1), logo=encoded(logo, "PNG"))
    assert images.pixel(shown, 0.1, 0.5) == BLUE
    assert near((*images.pixel(shown, 0.9, 0.5), 255), (64, 0, 191))


def test_hidden_colours_of_an_overlay_do_not_bleed_into_what_shows() -> None:
    logo = Image.new("RGBA", (400, 400), (0, 255, 0, 0))
    logo.paste((*RED, 255), (100, 100, 300, 300))
    shown = made(
        replace(BARE, scale=0.5), picture=encoded(images.plain(RED, size=(400, 400)), "PNG"), logo=encoded(logo, "PNG")
    )
    assert shown.convert("RGB").getextrema() == ((255, 255), (0, 0), (0, 0))


def test_a_tile_repeats_over_all_of_the_picture_with_its_margin_between() -> None:
    shown = made(replace(BARE, tile=True, margin=20, position="bottom-right")).convert("RGB")
    assert shown.getpixel((399, 199)) == BLUE
    for across in range(400):
        for down in range(200):
            inside = (379 - across) % 120 < 100 and (179 - down) % 70 < 50
            assert shown.getpixel((across, down)) == (RED if inside else BLUE), (across, down)


def test_d81_tiles_of_a_pixel_cover_a_large_picture() -> None:
    dot = encoded(images.plain(RED, size=(1, 1)), "PNG")
    variant = replace(WHOLE, width=8192, height=None, enlarge=True)
    strip = encoded(images.plain(BLUE, size=(3000, 20)), "PNG")
    shown = made(replace(BARE, tile=True, scale=0.01), variant, logo=dot, picture=strip)
    assert shown.convert("RGB").getextrema() == ((255, 255), (0, 0), (0, 0))


@pytest.mark.parametrize("tile", [False, True])
def test_a_picture_of_one_pixel_has_an_overlay_too(tile: bool) -> None:
    dot = encoded(images.plain(BLUE, size=(1, 1)), "PNG")
    assert made(replace(BARE, tile=tile, margin=0.5), picture=dot).convert("RGB").getpixel((0, 0)) == RED


@pytest.mark.parametrize(
    ("picture", "logo", "mode"),
    [
        ("L", "L", "L"),
        ("L", "LA", "L"),
        ("L", "RGB", "RGB"),
        ("L", "P", "RGB"),
        ("LA", "L", "RGBA"),
        ("RGB", "LA", "RGB"),
        ("RGB", "RGBA", "RGB"),
        ("RGBA", "RGBA", "RGBA"),
        ("P", "RGBA", "RGB"),
        ("1", "1", "L"),
    ],
)
def test_colours_come_in_with_an_overlay_and_transparency_is_kept(picture: str, logo: str, mode: str) -> None:
    shown = made(
        picture=encoded(Image.new(picture, (40, 20)), "PNG"),
        logo=encoded(Image.new("L", (40, 20), 255).convert(logo), "PNG"),
    )
    assert shown.mode == mode
    assert near(shown.convert("RGBA").getpixel((39, 19)), (255, 255, 255)), "the overlay is white"  # pyright: ignore[reportArgumentType]
    clear = 0 if mode == "RGBA" else 255
    assert shown.convert("RGBA").getpixel((0, 0)) == (0, 0, 0, clear), "and nowhere else"


def test_a_grey_variant_has_an_overlay_in_its_own_colours() -> None:
    shown = made(variant=replace(WHOLE, grayscale=True))
    assert images.pixel(shown, 0.9, 0.9) == RED
    assert len(set(images.pixel(shown, 0.1, 0.1))) == 1


def test_an_overlay_is_neither_blurred_nor_sharpened() -> None:
    shown = made(variant=replace(WHOLE, blur=30, sharpen=10))
    assert box_of(shown) == (300, 150, 400, 200)


def test_an_overlay_is_on_the_picture_and_not_on_what_pads_it() -> None:
    shown = made(variant=replace(WHOLE, fit="contain", background="#00ff00"))
    assert shown.size == (400, 400)
    assert box_of(shown) == (300, 250, 400, 300)
    assert box_of(shown, GREEN) == (0, 0, 400, 400)


def test_an_overlay_is_on_the_part_that_a_crop_keeps() -> None:
    shown = made(variant=replace(WHOLE, width=100, height=100, fit="cover"))
    assert box_of(shown) == (75, 88, 100, 100)


def test_every_frame_has_its_overlay() -> None:
    film = images.animation(5, size=(100, 50))
    shown = made(variant=replace(WHOLE, format="gif", frames="all"), picture=film)
    frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(shown)]
    assert len(frames) == 5
    assert {box_of(frame) for frame in frames} == {(75, 37, 100, 50)} or {box_of(frame) for frame in frames} == {
        (75, 38, 100, 50)
    }


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP"])
def test_an_overlay_may_be_of_any_format_that_is_read(fmt: str) -> None:
    assert box_of(made(logo=encoded(images.plain(RED, size=(64, 32)), fmt))) == (300, 150, 400, 200)


def test_an_overlay_is_upright_and_in_srgb() -> None:
    turned = Image.new("RGB", (20, 40), RED)
    logo = encoded(turned, "JPEG", exif=images.exif(6), quality=100)
    assert box_of(made(logo=logo)) == (300, 150, 400, 200)
    swapped = encoded(images.plain(RED, size=(40, 20)), "PNG", icc_profile=images.swapped_primaries_profile())
    assert images.pixel(made(logo=swapped), 0.9, 0.9) != RED


def test_on_a_picture_that_keeps_its_gamut_an_overlay_has_the_colours_of_its_file() -> None:
    wide = encoded(images.plain(BLUE, size=(400, 200)), "PNG", icc_profile=display_p3())
    shown = made(variant=replace(WHOLE, gamut="keep"), picture=wide)
    assert shown.info["icc_profile"], "its colours are not those of sRGB"
    assert images.pixel(shown, 0.1, 0.1) == BLUE
    assert near((*images.pixel(shown, 0.9, 0.9), 255), (234, 51, 35)), "sRGB's red in Display P3"


def test_a_variant_that_is_all_of_its_original_has_its_overlay_all_the_same() -> None:
    """Whose file is larger than the original's, which must not stand in for it."""
    small = encoded(images.scene(400, 200), "JPEG", quality=5)
    for fmt, quality in (("keep", None), ("jpeg", 95), ("keep", "auto")):
        variant = replace(WHOLE, width=400, height=200, format=fmt, quality=quality)  # pyright: ignore[reportArgumentType] (each is one)
        assert box_of(made(replace(BARE, scale=0.5), variant, picture=small)), (fmt, quality)


def test_of_an_animation_the_first_frame_is_laid_on() -> None:
    film = encoded(
        images.plain(RED, size=(40, 20)), "GIF", save_all=True, append_images=[images.plain(GREEN, size=(40, 20))]
    )
    assert box_of(made(logo=film)) == (300, 150, 400, 200)


@pytest.mark.parametrize(
    "logo",
    [
        images.png_header_bomb(),
        images.png_header_bomb(4097, 4096),
        LOGO[:-30],
        LOGO[:40],
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        images.webp_header_bomb(),
    ],
)
def test_d80_a_bomb_or_a_damaged_overlay_is_refused_as_the_operators(logo: bytes) -> None:
    with pytest.raises(JobError) as caught:
        made(logo=logo)
    assert caught.value.code == "overlay_invalid"


def test_an_overlay_over_more_pixels_than_an_upload_may_have_is_blended_all_the_same() -> None:
    limits = replace(LIMITS, max_pixels=10_000)
    clear = encoded(Image.new("RGBA", (50, 50)), "PNG")
    for tile in (False, True):
        variant = replace(WHOLE, width=1000, height=1000, enlarge=True)
        shown = made(replace(BARE, scale=1, tile=tile, position="center"), variant, picture=clear, limits=limits)
        assert shown.size == (1000, 1000)
        assert box_of(shown) == ((0, 0, 1000, 1000) if tile else (0, 250, 1000, 750))


@pytest.mark.parametrize(("scale", "is_refused"), [(1, True), (0.1, False)])
def test_d81_an_overlay_that_takes_more_memory_than_there_is_is_refused_before_decoding(
    scale: float, is_refused: bool
) -> None:
    overlay = replace(BARE, scale=scale, tile=True)
    variant = replace(WHOLE, width=8192, height=8192, enlarge=True, format="jpeg", overlay=overlay)
    square = encoded(images.plain(BLUE, size=(64, 64)), "PNG")

    def admit(_bytes: int) -> None:
        raise EOFError("there was room for it")

    with pytest.raises(JobError if is_refused else EOFError) as caught:
        render(square, [variant], LIMITS, lambda _step, _done, _total: None, admit, {BARE.sha256: square})
    assert not isinstance(caught.value, JobError) or caught.value.code == "image_too_large"


def test_the_memory_of_an_overlay_is_asked_for_before_any_pixel_is_decoded() -> None:
    large = encoded(images.plain(RED, size=(4096, 4096)), "PNG")
    asked: list[int] = []
    for overlay in (None, replace(BARE, scale=0.01), replace(BARE, scale=1), replace(BARE, scale=1, tile=True)):
        wanted = replace(WHOLE, overlay=overlay)
        render(PICTURE, [wanted], LIMITS, lambda _step, _done, _total: None, asked.append, {BARE.sha256: large})
    assert asked[0] + 4096 * 4096 * 8 <= asked[1] < asked[2] <= asked[3]
