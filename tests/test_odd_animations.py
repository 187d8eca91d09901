"""Animations as browsers show them: on a clear canvas, frame over frame; which of them is taken, and how many."""

from dataclasses import replace
from itertools import pairwise
from time import process_time

import pytest
from PIL import Image

from imgsvc.domain.model import FileFormat, OutputFormat, Variant
from tests.support import images, odd_images
from tests.support.images import LIMITS
from tests.support.odd_images import apng, gif, gif_frame
from tests.support.pixels import CLEAR, WHOLE, at, code_of, decoded, near, rendered

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
FULL = (0, 0, 40, 30)
SPOT = (10, 10, 10, 10)
FILM = replace(WHOLE, frames="all")


def film(source: bytes, fmt: OutputFormat = "webp") -> list[Image.Image]:
    """Every frame of what becomes of an animation, as RGBA; not by Pillow, which shows some GIFs otherwise."""
    data = rendered(source, replace(FILM, format=fmt)).renditions[0].data
    count = rendered(data).original.frames
    return [decoded(data, replace(WHOLE, frame=number)) for number in range(count)]


@pytest.mark.parametrize(
    ("source", "middle", "corner"),
    [
        (gif((40, 30), gif_frame(SPOT, 1), background=2), CLEAR, CLEAR),
        (gif((40, 30), gif_frame((0, 0, 20, 30), 1)), CLEAR, GREEN),
        (gif((40, 30), gif_frame(FULL, 2, clear=2)), CLEAR, CLEAR),
        (gif((0, 0), gif_frame(FULL, 1)), GREEN, GREEN),
        (gif((20, 15), gif_frame(FULL, 1)), GREEN, GREEN),
        (gif((40, 30), gif_frame(FULL, 2), end=b""), BLUE, BLUE),
        (gif((40, 30), gif_frame(FULL, 2, clear=200)), BLUE, BLUE),
        (apng([(FULL, (*GREEN, 255), 0, 0)], hidden=(*RED, 255)), GREEN, GREEN),
        (apng([(SPOT, (*GREEN, 255), 0, 1)], hidden=(*RED, 255)), CLEAR, CLEAR),
        (apng([(FULL, (*GREEN, 255), 0, 0)], count=5), GREEN, GREEN),
        (apng([((30, 20, 40, 30), (*GREEN, 255), 0, 0)], hidden=(*RED, 255)), RED, RED),
    ],
)
def test_the_first_frame_is_what_a_browser_shows_first(source: bytes, middle: object, corner: object) -> None:
    image = decoded(source)
    assert image.size == (40, 30)
    for found, wanted in ((at(image), middle), (at(image, 0.02, 0.02), corner)):
        assert found == CLEAR if wanted == CLEAR else near(found, wanted)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("flag", [False, True])
def test_a_webp_animation_is_clear_where_no_frame_is_whatever_its_header_says(flag: bool) -> None:
    source = odd_images.webp_animation(
        [((0, 0), Image.new("RGB", (30, 20), RED)), ((30, 20), Image.new("RGB", (30, 20), BLUE))], flag=flag
    )
    first, second = film(source)
    assert (near(at(first, 0.1, 0.1), RED, by=24), at(first, 0.9, 0.9)) == (True, CLEAR)
    assert (near(at(second, 0.1, 0.1), RED, by=24), near(at(second, 0.9, 0.9), BLUE, by=24)) == (True, True)
    assert at(decoded(source, replace(WHOLE, format="gif")), 0.9, 0.9) == CLEAR


@pytest.mark.parametrize("fmt", ["webp", "gif"])
def test_a_frame_that_is_disposed_of_leaves_what_was_there_or_nothing(fmt: FileFormat) -> None:
    source = gif(
        (40, 30),
        gif_frame(FULL, 0, disposal=1),
        gif_frame(SPOT, 1, disposal=3),
        gif_frame((0, 0, 5, 5), 2, disposal=2),
        gif_frame((35, 25, 5, 5), 3),
    )
    second, third, last = film(source, fmt)[1:]
    assert [near(at(second, 0.37, 0.5), GREEN, by=24), near(at(third, 0.37, 0.5), RED, by=24)] == [True, True]
    assert [near(at(third, 0.02, 0.02), BLUE, by=24), at(last, 0.02, 0.02)] == [True, CLEAR]
    assert near(at(last, 0.98, 0.98), YELLOW, by=24)


@pytest.mark.parametrize("fmt", ["gif", "webp", "png", "avif"])
def test_an_animation_to_keep_stays_one_in_every_format_that_has_them(fmt: str) -> None:
    source = images.animation(4, fmt.upper(), (64, 48))
    result = rendered(source, replace(FILM, format="keep"))
    assert (result.renditions[0].format, result.warnings) == (fmt, ())
    frames = film(source, "keep")
    assert len(frames) == 4
    assert all(not near(at(one), at(other)[:3], by=8) for one, other in pairwise(frames))


def test_a_film_in_a_format_that_has_none_is_a_picture_and_that_is_told() -> None:
    result = rendered(images.animation(4), replace(FILM, format="png"))
    assert result.warnings == ("animation_dropped",)


@pytest.mark.parametrize(
    ("source", "fmt", "wanted"),
    [
        (gif((40, 30), gif_frame(FULL, 0), gif_frame(FULL, 1), repeats=65_535), "gif", 65_535),
        (gif((40, 30), gif_frame(FULL, 0), gif_frame(FULL, 1), repeats=65_535), "webp", 65_535),
        (gif((40, 30), gif_frame(FULL, 0), gif_frame(FULL, 1), repeats=65_534), "webp", 65_535),
        (gif((40, 30), gif_frame(FULL, 0), gif_frame(FULL, 1), repeats=None), "webp", 1),
        (apng([(FULL, (*RED, 255), 0, 0), (FULL, (*BLUE, 255), 0, 0)], plays=70_000), "webp", 65_535),
        (apng([(FULL, (*RED, 255), 0, 0), (FULL, (*BLUE, 255), 0, 0)], plays=70_000), "gif", 65_535),
        (apng([(FULL, (*RED, 255), 0, 0), (FULL, (*BLUE, 255), 0, 0)], plays=70_000), "keep", 70_000),
        (apng([(FULL, (*RED, 255), 0, 0), (FULL, (*BLUE, 255), 0, 0)], plays=2**32 - 1), "webp", 65_535),
    ],
)
def test_d42_more_plays_than_a_format_can_count_are_as_many_as_it_can(
    source: bytes, fmt: OutputFormat, wanted: int
) -> None:
    data = rendered(source, replace(FILM, format=fmt)).renditions[0].data
    assert Image.open(images.BytesIO(data)).info.get("loop") == wanted


@pytest.mark.parametrize("fmt", ["GIF", "WEBP", "PNG", "AVIF"])
def test_d43_limits_on_frames_hold_only_where_all_are_asked_for(fmt: str) -> None:
    source = images.animation(6, fmt, (64, 48))
    few = replace(LIMITS, max_frames=4)
    asked = replace(FILM, format="webp")
    assert rendered(source, limits=few).original.frames == 6
    assert code_of(source, asked, limits=few) == "too_many_frames"
    cut = rendered(source, asked, limits=replace(few, frames_over="cut"))
    assert cut.warnings == ("frames_cut",)
    assert Image.open(images.BytesIO(cut.renditions[0].data)).n_frames == 4  # pyright: ignore[reportAttributeAccessIssue]
    narrow = replace(LIMITS, max_animation_pixels=3 * 64 * 48, frames_over="cut")
    assert len(rendered(source, asked, limits=narrow).renditions) == 1


@pytest.mark.parametrize("fmt", ["GIF", "WEBP", "PNG", "AVIF"])
@pytest.mark.parametrize("name", ["frame", "page"])
def test_a_frame_of_choice_is_taken_as_a_viewer_sees_it(fmt: str, name: str) -> None:
    source = images.animation(4, fmt, (64, 48))
    asked = [replace(WHOLE, name=f"v{number}", **{name: number}) for number in (3, 0, 1)]
    result = rendered(source, *asked)
    assert result.warnings == ()
    for rendition, number in zip(result.renditions, (3, 0, 1), strict=True):
        assert near(at(images.opened(rendition.data).convert("RGBA")), (37 * number, 0, 0), by=6)
    beyond = rendered(source, replace(WHOLE, frame=9))
    assert beyond.warnings == ("frame_missing",)
    assert near(at(images.opened(beyond.renditions[0].data).convert("RGBA")), (111, 0, 0), by=6)


def test_a_picture_has_one_frame_and_that_is_told_where_another_is_asked_for() -> None:
    assert rendered(images.photo(), Variant("v", 100, 100, frame=1)).warnings == ("frame_missing",)


def test_d43_counting_costs_no_time_to_speak_of() -> None:
    source = images.many_frames(60_000, "GIF")
    begin = process_time()
    assert rendered(source).original.frames == 60_000
    assert process_time() - begin < 5
