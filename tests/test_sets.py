"""What responsive sets promise of their pictures: the widths and formats asked for, never larger than the original."""

from collections.abc import Sequence

import pytest
from PIL import Image

from imgsvc.decoder.pool import DecoderError
from imgsvc.domain.model import OutputFormat, Rendition, Variant
from imgsvc.imaging import render
from tests.support import images
from tests.support.decoders import decoder_pool
from tests.support.pixels import rendered

HERO = Variant("hero", widths=(100, 200, 400), formats=("avif", "webp", "jpeg"))


def files(source: bytes, variant: Variant) -> Sequence[Rendition]:
    return rendered(source, variant).renditions


def sizes(source: bytes, variant: Variant) -> list[tuple[int, int]]:
    return [(made.width, made.height) for made in files(source, variant)]


def test_each_width_is_made_in_each_format() -> None:
    made = files(images.photo(480, 320), HERO)
    assert [(file.set_width, file.format) for file in made] == [
        (width, fmt) for width in (100, 200, 400) for fmt in ("avif", "webp", "jpeg")
    ]
    for file in made:
        picture = images.opened(file.data)
        assert (picture.format, picture.size) == (file.format.upper(), (file.width, file.height))
        assert (file.width, file.height) == (file.set_width, round(file.width * 2 / 3))
        assert images.distance(picture, images.scene(480, 320).resize(picture.size, Image.Resampling.LANCZOS)) < 4


def test_the_files_of_a_set_stand_where_its_variant_does() -> None:
    variants = Variant("first", 50, 50), HERO, Variant("last", 300, 300)
    made = rendered(images.photo(), *variants).renditions
    assert [file.variant for file in made] == ["first", *["hero"] * 9, "last"]
    assert [file.set_width for file in (made[0], made[-1])] == [None, None]


def test_a_set_of_one_width_or_of_one_format() -> None:
    photo = images.photo(480, 320)
    of_formats = files(photo, Variant("v", 240, 240, formats=("webp", "png")))
    assert [(file.set_width, file.height, file.format) for file in of_formats] == [
        (240, 160, "webp"),
        (240, 160, "png"),
    ]
    of_widths = files(photo, Variant("v", widths=(60, 120), format="png"))
    assert [(file.set_width, file.height, file.format) for file in of_widths] == [(60, 40, "png"), (120, 80, "png")]


def test_widths_that_the_original_does_not_have_become_one_file_of_its_own_width() -> None:
    photo = images.photo(480, 320)
    widths = (240, 480, 640, 1280)
    assert sizes(photo, Variant("v", widths=widths)) == [(240, 160), (480, 320)]
    assert sizes(photo, Variant("v", widths=(500, 1000))) == [(480, 320)]
    assert sizes(photo, Variant("v", widths=widths, enlarge=True))[-1] == (1280, 853)


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        ("inside", [(200, 133), (300, 200), (480, 320)]),  # the box that holds all of it is wider than the picture
        ("contain", [(200, 200), (300, 300), (480, 480)]),
        ("cover", [(200, 200), (300, 300), (320, 320)]),
        ("fill", [(200, 200), (300, 300), (320, 320)]),
    ],
)
def test_all_widths_have_the_aspect_ratio_of_the_box_without_enlarging(
    fit: str, expected: list[tuple[int, int]]
) -> None:
    variant = Variant("v", 1, 1, fit=fit, widths=(200, 300, 500, 800))  # pyright: ignore[reportArgumentType]
    assert sizes(images.photo(480, 320), variant) == expected


def test_all_widths_of_a_set_are_cut_alike() -> None:
    detailed = images.plain("#808080", size=(900, 300))
    detailed.paste(images.opened(images.noise(200, 200)), (60, 50))
    variant = Variant("v", 1, 1, fit="cover", gravity="entropy", widths=(37, 75, 150, 300), format="png")
    small, *larger = (images.opened(file.data) for file in files(images.encoded(detailed, "PNG"), variant))
    for picture in larger:
        assert images.distance(small, picture.resize(small.size, Image.Resampling.LANCZOS)) < 12


def test_keep_is_the_format_of_the_original_once() -> None:
    variant = Variant("v", widths=(100, 200), formats=("keep", "webp", "jpeg"))
    assert [file.format for file in files(images.photo(), variant)] == ["jpeg", "webp"] * 2
    png = images.encoded(images.scene(), "PNG")
    assert [file.format for file in files(png, variant)] == ["png", "webp", "jpeg"] * 2


def test_widths_that_come_to_the_same_one_are_one_file() -> None:
    line = images.encoded(images.plain("red", size=(1, 400)), "PNG")
    assert sizes(line, Variant("v", 1, 1, widths=(10, 20, 30))) == [(1, 30)]


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_turned_photograph_is_as_wide_as_it_is_seen(orientation: int) -> None:
    photo = images.photo(480, 320, orientation=orientation)
    assert sizes(photo, Variant("v", widths=(100, 200, 1000))) == [(100, 67), (200, 133), (480, 320)]


def test_transparency_stays_where_a_format_has_it_whatever_stands_beside_it() -> None:
    picture = images.plain((255, 0, 0, 128), "RGBA", (80, 60))
    variant = Variant("v", widths=(40, 80), formats=("png", "jpeg", "webp"), blur=1)
    for file in files(images.encoded(picture, "PNG"), variant):
        made = images.opened(file.data).convert("RGBA").getpixel((20, 20))
        assert images.near(made[:3], (255, 127, 127) if file.format == "jpeg" else (255, 0, 0))  # type: ignore[index]
        assert abs(made[3] - (255 if file.format == "jpeg" else 128)) < 3  # type: ignore[index]


def test_an_animation_keeps_its_frames_in_every_file() -> None:
    frames = [images.plain(colour, size=(80, 60)) for colour in ("red", "lime", "blue")]
    gif = images.encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)
    variant = Variant("v", widths=(40, 80), formats=("webp", "gif"), frames="all")
    made = [Image.open(images.BytesIO(file.data)) for file in files(gif, variant)]
    assert [(picture.format, picture.size, picture.n_frames) for picture in made] == [  # pyright: ignore
        (fmt, size, 3) for size in ((40, 30), (80, 60)) for fmt in ("WEBP", "GIF")
    ]


def test_a_picture_is_scaled_once_for_all_formats_and_from_the_next_larger_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scalings: list[tuple[int, int]] = []

    def counted(picture: render.Picture, plan: render.Plan) -> render.Picture:
        scalings.append((picture.pixels.width, plan.place.size[0]))
        return step(picture, plan)

    step, *others = render.SCALING
    monkeypatch.setattr(render, "SCALING", (counted, *others))
    files(
        images.encoded(images.scene(2000, 1500), "PNG"),
        Variant("v", widths=(250, 500, 1000, 1600), formats=("webp", "jpeg")),
    )
    assert scalings == [(2000, 1600), (2000, 1000), (1000, 500), (500, 250)]


def test_steps_are_counted_by_file() -> None:
    steps: list[tuple[str, int, int]] = []

    def on_step(step: str, done: int, total: int) -> None:
        steps.append((step, done, total))

    render.render(images.photo(480, 320), [HERO], images.LIMITS, on_step, lambda _bytes: None)
    assert steps == [("decode", 0, 10), *(("encode:hero", done, 10) for done in range(1, 10))]


def test_d70_forty_widths_hold_no_more_pictures_than_one_variant_does(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0

    def counted(self: "render._Studio", picture: render.Picture) -> None:  # pyright: ignore[reportPrivateUsage]
        nonlocal most
        keep(self, picture)
        most = max(most, sum(held.pixels.width * held.pixels.height for held in self.made))

    keep = render._Studio._keep  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(render._Studio, "_keep", counted)  # pyright: ignore[reportPrivateUsage]
    source = images.encoded(images.plain("red", size=(1000, 1000)), "PNG")
    assert len(files(source, Variant("v", widths=tuple(range(40, 1000, 24))))) == 40
    assert most < 2.4e6  # the original, the latest, and those at most half as wide


@pytest.mark.parametrize("fmt", ["jpeg", "png"])
async def test_d70_forty_of_the_largest_outputs_cost_their_upload_its_cpu_time_at_most(fmt: OutputFormat) -> None:
    widths = tuple(range(8153, 8193))
    variant = Variant("v", 1, 1, fit="fill", format=fmt, enlarge=True, widths=widths)
    async with decoder_pool(timeout_s=1.0) as pool:
        with pytest.raises(DecoderError, match="decode_timeout"):
            await pool.render(images.noise(8, 8), [variant])
        assert len((await pool.render(images.photo(), [HERO])).renditions) == 9


def test_d73_the_files_of_an_image_are_bounded_together_while_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "MAX_RESULTS_BYTES", 200_000)
    steps: list[str] = []
    with pytest.raises(render.JobError, match="image_too_large"):
        render.render(
            images.noise(200, 200),
            [Variant("v", widths=tuple(range(161, 201)), format="png")],
            images.LIMITS,
            lambda step, _done, _total: steps.append(step),
            lambda _bytes: None,
        )
    assert len(steps) < 10
