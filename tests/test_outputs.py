"""What is written: whatever an encoder is given ends in a file or in a typed failure, within its memory."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise, product
from random import Random
from typing import Any

import pytest
from PIL import Image, ImageFile

from imgsvc.domain.formats import FORMATS
from imgsvc.domain.model import FileFormat, Variant
from imgsvc.domain.problems import JobError
from imgsvc.imaging.encode import OUTPUTS, Frame, Tuning, encode, encode_animation
from tests.support import images
from tests.support.decoders import GIB
from tests.support.images import LIMITS
from tests.support.pixels import CLEAR, WHOLE, asked_for, at, code_of, decoded, near, rendered

TINY = images.encoded(images.plain("red", size=(8, 8)), "PNG")
TINY_CLEAR = images.encoded(images.plain((255, 0, 0, 90), "RGBA", (8, 8)), "PNG")


@pytest.mark.parametrize("fmt", OUTPUTS)
@pytest.mark.parametrize("exif", [b"x", b"Exif\x00\x00", bytes(70_000), b"Exif\x00\x00MM\x00*" + b"\xff" * 99])
def test_d42_metadata_that_an_encoder_cannot_take_is_a_typed_failure(fmt: FileFormat, exif: bytes) -> None:
    try:
        assert encode(images.plain("red"), fmt, exif=exif)
    except JobError as error:
        assert error.code == "encode_failed"  # noqa: PT017 (either is right)


@pytest.mark.parametrize("fmt", OUTPUTS)
@pytest.mark.parametrize("size", [(1, 1), (16_383, 1), (1, 16_383), (16_384, 1), (3, 5)])
def test_d42_a_file_of_any_size_is_written_or_a_typed_failure(fmt: FileFormat, size: tuple[int, int]) -> None:
    for mode in ("L", "RGB") if fmt == "jpeg" else ("L", "RGB", "LA", "RGBA"):  # JPEG has no alpha and is given none
        try:
            assert images.opened(encode(Image.new(mode, size), fmt)).size == size, mode
        except JobError as error:
            assert (error.code, fmt, max(size)) == ("encode_failed", "webp", 16_384)  # noqa: PT017


@pytest.mark.parametrize("side", [64, 600])
@pytest.mark.parametrize("quality", [50, 94, 100])
@pytest.mark.parametrize("fields", [{}, {"progressive": True}, {"effort": 5}, {"effort": 10}])
def test_d42_a_jpeg_of_the_worst_noise_is_written(side: int, quality: int, fields: dict[str, Any]) -> None:
    noise = Random(side).randbytes(3 * side * side).translate(bytes(255 * (level & 1) for level in range(256)))
    picture = Image.frombytes("RGB", (side, side), noise)
    written = encode(picture, "jpeg", Tuning(quality=quality, chroma="4:4:4", **fields))
    assert images.opened(written).size == (side, side)


@pytest.mark.parametrize("fmt", ["gif", "webp", "png", "avif"])
@pytest.mark.parametrize("durations", [(0, 0, 0), (-5, 10, 10), (70_000, 1, 700_000), (2**24, 1, 1), (2**40, 1, 0)])
def test_d42_a_film_of_any_length_is_written(fmt: FileFormat, durations: tuple[int, ...]) -> None:
    def frames(mode: str) -> Iterator[Frame]:
        for number, duration in enumerate(durations):
            level = 80 * number
            colour = level if mode == "L" else (level, level, level, 200)[-len(mode) :]
            yield Frame(Image.new(mode, (9, 7), colour), duration)

    for mode, plays in product(("L", "RGB", "LA", "RGBA"), (0, 1, 65_536, 70_000, 2**32 - 1)):
        film = Image.open(images.BytesIO(encode_animation(frames(mode), len(durations), plays, fmt)))
        assert film.n_frames == len(durations), (mode, plays)  # pyright: ignore[reportAttributeAccessIssue] (a film's)


def enlarged(fmt: FileFormat, side: int = 8192, background: str | None = None) -> Variant:
    return Variant("large", side, side, fit="fill", enlarge=True, format=fmt, background=background)


@pytest.mark.parametrize("fmt", OUTPUTS)
def test_d45_what_a_variant_takes_is_asked_for_before_a_pixel_is_decoded(fmt: FileFormat) -> None:
    side = 4096
    asked = asked_for(TINY, enlarged(fmt, side))
    assert asked >= side * side * 8, "its pixels, what a step makes of them, and the encoder"
    assert asked_for(TINY, enlarged(fmt, 64)) < 1_000_000


@pytest.mark.parametrize("name", FORMATS)
def test_d45_a_picture_is_decoded_once_and_not_before_there_is_room(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = images.encoded(images.scene(64, 64), name.upper())
    decodings: list[str] = []
    load = ImageFile.ImageFile.load

    def counted(image: ImageFile.ImageFile) -> object:
        decodings.extend([name] if image.tile else [])
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", counted)
    asked_for(source, Variant("small", 32, 32))
    assert decodings == []
    rendered(source, Variant("small", 32, 32), replace(Variant("kept", 16, 16), strip=False))
    assert len(decodings) <= 1


@pytest.mark.parametrize(
    ("source", "variant"),
    [
        (TINY, enlarged("avif")),
        (TINY_CLEAR, enlarged("avif")),
        (TINY_CLEAR, enlarged("webp")),
    ],
    ids=["AVIF", "AVIF with alpha", "WebP with alpha"],
)
def test_d45_what_can_never_fit_is_refused_before_a_pixel_is_decoded(source: bytes, variant: Variant) -> None:
    assert code_of(source, variant) == "image_too_large"
    assert asked_for(source, variant, replace(LIMITS, max_bytes=8 * GIB)) > GIB


def test_d45_what_may_fit_is_not_refused() -> None:
    for variant in (enlarged("webp"), enlarged("webp", background="#ffffff"), enlarged("avif", 4096)):
        assert asked_for(TINY, variant) > 0


def alpha_edge(mode: str = "RGBA") -> bytes:
    """A disc with a soft rim on nothing."""
    mask = (
        Image.radial_gradient("L")
        .resize((400, 400))
        .point([max(0, min(255, (128 - level) * 16)) for level in range(256)])
    )
    disc = Image.new(mode.removesuffix("A"), (400, 400), 200 if mode == "LA" else (200, 30, 30))
    disc.putalpha(mask)
    return images.encoded(disc, "PNG")


@pytest.mark.parametrize(("mode", "wanted"), [("RGBA", (200, 30, 30)), ("LA", (200, 200, 200))])
def test_a_gif_is_cut_where_half_of_it_shows_and_keeps_its_colours_up_to_there(
    mode: str, wanted: tuple[int, int, int]
) -> None:
    gif = decoded(alpha_edge(mode), replace(WHOLE, format="gif", width=200, height=200))
    exact = decoded(alpha_edge(mode), replace(WHOLE, width=200, height=200))
    assert (at(gif, 0.02, 0.02), near(at(gif), wanted)) == (CLEAR, True)
    wrong = sum(
        (shown == 255) != (alpha >= 128)
        for shown, alpha in zip(gif.getchannel("A").tobytes(), exact.getchannel("A").tobytes(), strict=True)
    )
    assert wrong == 0
    visible = {colour for _, colour in gif.getcolors(200 * 200) or [] if isinstance(colour, tuple) and colour[3]}
    assert all(near(colour, wanted, by=6) for colour in visible), "no rim of another colour"


def test_a_gif_of_a_gradient_has_no_bands() -> None:
    gradient = Image.merge("RGB", (images.Image.linear_gradient("L"),) * 2 + (Image.new("L", (256, 256), 90),))
    gradient = gradient.convert("RGBA")
    gradient.paste(CLEAR, (0, 0, 40, 40))
    gif = decoded(images.encoded(gradient, "PNG"), replace(WHOLE, format="gif"))
    steps = [at(gif, 0.5, row / 256)[0] for row in range(256)]
    assert max(later - earlier for earlier, later in pairwise(steps)) <= 2
    assert rendered(images.encoded(gradient, "PNG"), replace(WHOLE, format="gif")).warnings == ()
