"""Colours beyond sRGB: converted unless a variant keeps them, and then told by a profile that is nobody's own."""

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO

import pytest
from PIL import Image, ImageCms, ImageSequence

from imgsvc.domain.model import FileFormat, Gamut, OutputFormat, Variant
from tests.support import images, odd_images, profiles
from tests.support.images import near, pixel
from tests.support.pixels import rendered
from tests.support.profiles import XYZ
from tests.test_colour import in_srgb

KEEP = Variant("v", format="png", gamut="keep")
WIDE = (200, 100, 50)
SECRET = b"SECRET"
P3 = profiles.rgb(profiles.DISPLAY_P3, 2.2)


def made(source: bytes, variant: Variant = KEEP) -> Image.Image:
    (rendition,) = rendered(source, variant).renditions
    return images.opened(rendition.data)


def seen(image: Image.Image) -> tuple[int, ...]:
    """The middle pixel as a viewer that goes by the profile sees it, in sRGB."""
    profile = image.info.get("icc_profile")
    if profile is None:
        return pixel(image)
    source, target = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
    shown = ImageCms.profileToProfile(image.convert("RGB"), source, target)
    assert shown is not None
    return pixel(shown)


def of(level: tuple[int, ...], profile: bytes, fmt: str = "PNG", mode: str = "RGB", **options: object) -> bytes:
    return images.encoded(images.plain(level, mode), fmt, icc_profile=profile, **options)


@pytest.mark.parametrize("fmt", ["png", "jpeg", "webp", "avif"])
@pytest.mark.parametrize(
    ("colorants", "gamma"), [(profiles.DISPLAY_P3, 2.2), (profiles.ADOBE_RGB, 2.19921875)], ids=["P3", "Adobe RGB"]
)
def test_wide_colours_are_kept_as_they_are_with_a_profile_that_says_what_they_mean(
    fmt: FileFormat, colorants: list[XYZ], gamma: float
) -> None:
    source = of(WIDE, profiles.rgb(colorants, gamma))
    image = made(source, Variant("v", format=fmt, gamut="keep", quality=95, chroma="4:4:4"))
    assert near(pixel(image), WIDE, by=4)
    assert near(seen(image), in_srgb(WIDE, colorants, gamma), by=5)
    assert rendered(source, KEEP).warnings == ()


@pytest.mark.parametrize("fmt", ["JPEG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_they_are_kept_from_every_format_that_has_them(fmt: str) -> None:
    image = made(of(WIDE, P3, fmt, quality=95))
    assert near(pixel(image), WIDE, by=6)
    assert "icc_profile" in image.info


@pytest.mark.parametrize("points", [(12, 13), (9, 13)], ids=["Display P3", "BT.2020"])
def test_code_points_become_a_profile(points: tuple[int, int]) -> None:
    sources = [
        odd_images.png([WIDE] * 32, odd_images.code_points(*points)),
        odd_images.avif(images.plain(WIDE), points=points),
    ]
    for source in sources:
        image, by_default = made(source), made(source, Variant("v", format="png"))
        assert near(pixel(image), WIDE)
        assert near(seen(image), by_default.getpixel((3, 3)), by=3)  # pyright: ignore[reportArgumentType] (a tuple)
        assert len(image.info["icc_profile"]) < 1200


def test_colours_stay_in_srgb_without_a_profile_where_nobody_asks_to_keep_them() -> None:
    image = made(of(WIDE, P3), Variant("v", format="png"))
    assert near(pixel(image), in_srgb(WIDE, profiles.DISPLAY_P3, 2.2))
    assert "icc_profile" not in image.info


@pytest.mark.parametrize(
    "source",
    [
        images.encoded(images.plain(WIDE), "PNG"),
        of(WIDE, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
        of(WIDE, profiles.rgb(profiles.SRGB, 2.2)),
        of(WIDE, profiles.rgb(profiles.SRGB, 1.0)),
        of((100,), profiles.grey(1.0), mode="L"),
        of(WIDE, b"no profile"),
    ],
    ids=["bare", "sRGB", "sRGB by its primaries", "linear", "grey", "broken"],
)
def test_what_srgb_holds_is_bare_srgb(source: bytes) -> None:
    kept, converted = made(source), made(source, Variant("v", format="png"))
    assert "icc_profile" not in kept.info
    assert kept.tobytes() == converted.tobytes()


def test_inks_tables_and_more_light_than_white_become_display_p3_and_that_is_told() -> None:
    inks = profiles.cmyk({(0, 1, 1, 0): (128, 178, 158)}, paper=(255, 128, 128))
    hdr = odd_images.png([(128, 100, 90)] * 32, odd_images.code_points(9, 16))
    for source, warnings in (
        (of((0, 255, 255, 0), inks, "TIFF", "CMYK"), ("gamut_reduced",)),
        (hdr, ("colour_assumed", "gamut_reduced")),
    ):
        image, converted = made(source), made(source, Variant("v", format="png"))
        assert rendered(source, KEEP).warnings == warnings
        assert near(seen(image), pixel(converted)[:3], by=4)  # pyright: ignore[reportArgumentType] (three levels)
        assert "icc_profile" in image.info


def test_a_gif_and_a_grey_picture_are_srgb() -> None:
    gif = rendered(of(WIDE, P3), Variant("v", format="gif", gamut="keep"))
    assert near(pixel(images.opened(gif.renditions[0].data)), in_srgb(WIDE, profiles.DISPLAY_P3, 2.2), by=4)
    assert gif.warnings == ("gamut_reduced",)
    grey = made(of(WIDE, P3), Variant("v", format="png", gamut="keep", grayscale=True))
    assert (grey.mode, grey.info) == ("L", {})


def test_transparency_and_animations_keep_theirs() -> None:
    image = made(of((*WIDE, 77), P3, mode="RGBA"))
    assert image.mode == "RGBA"
    assert image.getpixel((3, 3)) == (*WIDE, 77)
    film = images.encoded(
        images.plain(WIDE), "WEBP", save_all=True, append_images=[images.plain("red")], lossless=True, icc_profile=P3
    )
    films: list[tuple[bytes, OutputFormat]] = [(film, "webp"), (film_of("PNG"), "keep"), (film_of("AVIF"), "keep")]
    for source, fmt in films:
        moving = Image.open(
            BytesIO(rendered(source, Variant("v", format=fmt, frames="all", gamut="keep")).renditions[0].data)
        )
        assert near(pixel(next(iter(ImageSequence.Iterator(moving)))), WIDE, by=6)
        assert near(seen(moving), in_srgb(WIDE, profiles.DISPLAY_P3, 2.2), by=8)


def film_of(fmt: str) -> bytes:
    return images.encoded(
        images.plain(WIDE), fmt, save_all=True, append_images=[images.plain("red")], duration=50, icc_profile=P3
    )


def test_a_background_is_the_colour_that_was_asked_for_in_whatever_space() -> None:
    source = of((*WIDE, 0), P3, mode="RGBA")
    image = made(source, Variant("v", format="png", gamut="keep", background="#c86432"))
    assert near(seen(image), (200, 100, 50), by=2)
    assert not near(pixel(image), (200, 100, 50), by=2)


def test_variants_of_one_picture_do_not_take_each_others_colours() -> None:
    sizes: Sequence[tuple[int, Gamut]] = (
        (64, "srgb"),
        (64, "keep"),
        (32, "srgb"),
        (32, "keep"),
        (8, "srgb"),
        (8, "keep"),
    )
    variants = [Variant(f"{gamut}{size}", size, size, format="png", gamut=gamut) for size, gamut in sizes]
    for order in (variants, variants[::-1]):
        result = rendered(of(WIDE, P3), *order)
        assert near(tuple(bytes.fromhex(result.placeholder.color[1:])), in_srgb(WIDE, profiles.DISPLAY_P3, 2.2), by=6)
        for rendition in result.renditions:
            image = images.opened(rendition.data)
            kept = rendition.variant.startswith("keep")
            assert ("icc_profile" in image.info) == kept
            assert near(pixel(image), WIDE if kept else in_srgb(WIDE, profiles.DISPLAY_P3, 2.2), by=2)


def test_in_a_set_each_format_has_the_colours_that_it_can_have() -> None:
    result = rendered(of(WIDE, P3), Variant("v", gamut="keep", widths=(32, 16), formats=("png", "gif", "webp")))
    assert result.warnings == ("gamut_reduced",)
    for rendition in result.renditions:
        image = images.opened(rendition.data)
        kept = rendition.format != "gif"
        assert ("icc_profile" in image.info) == kept
        assert near(pixel(image), WIDE if kept else in_srgb(WIDE, profiles.DISPLAY_P3, 2.2), by=4)


# --- whose profile it is


def with_tag(profile: bytes, name: bytes, body: bytes) -> bytes:
    """The profile with one more tag at its end."""
    (count,) = struct.unpack_from("!I", profile, 128)
    table = b""
    for number in range(count):
        kind, at, size = struct.unpack_from("!4sII", profile, 132 + 12 * number)
        table += kind + struct.pack("!II", at + 12, size)
    table += name + struct.pack("!II", len(profile) + 12, len(body))
    whole = profile[:128] + struct.pack("!I", count + 1) + table + profile[132 + 12 * count :] + body
    return struct.pack("!I", len(whole)) + whole[4:]


@pytest.mark.parametrize("fmt", ["png", "jpeg", "webp", "avif"])
def test_d14_nothing_of_a_profile_but_its_colours_is_passed_on(fmt: FileFormat) -> None:
    profile = P3
    for name in (b"cprt", b"dmnd", b"dmdd", b"priv", b"meta"):
        profile = with_tag(profile, name, b"text" + bytes(4) + SECRET)
    profile = profile[:4] + SECRET[:4] + profile[8:48] + SECRET + profile[54:80] + SECRET[:4] + profile[84:]
    (rendition,) = rendered(of(WIDE, profile, "TIFF"), Variant("v", format=fmt, gamut="keep")).renditions
    kept = images.opened(rendition.data).info["icc_profile"]
    assert SECRET[:4] not in kept
    assert SECRET[:4] not in rendition.data
    assert "test".encode("utf-16-be") not in kept, "what the profile calls itself"
    assert len(kept) < 600


def test_the_same_colours_are_told_by_the_same_profile_whoever_made_it() -> None:
    one, other = made(of(WIDE, P3)), made(of(WIDE, with_tag(P3, b"cprt", b"text" + bytes(4) + SECRET)))
    assert one.info["icc_profile"] == other.info["icc_profile"]


LEVELS = [round(65_535 * (step / 4095) ** 2.2) for step in range(4096)]
LONG = b"curv" + bytes(4) + struct.pack("!I4096H", 4096, *LEVELS)
NUMBERS = [round(65_536 * value) for value in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)]
PARAMETRIC = b"para" + bytes(4) + struct.pack("!H2x5i", 3, *NUMBERS)


def with_curves(body: bytes) -> bytes:
    """Display P3 with another curve."""
    changed = P3.replace(b"rTRC", b"rOLD").replace(b"gTRC", b"gOLD").replace(b"bTRC", b"bOLD")
    for name in (b"rTRC", b"gTRC", b"bTRC"):
        changed = with_tag(changed, name, body)
    return changed


@pytest.mark.parametrize("curve", [LONG, PARAMETRIC], ids=["long", "parametric"])
def test_curves_of_every_kind_are_kept_to_the_level(curve: bytes) -> None:
    for level in ((10, 60, 250), (200, 100, 50), (3, 1, 2)):
        source = of(level, with_curves(curve))
        image, converted = made(source), made(source, Variant("v", format="png"))
        assert pixel(image) == level
        assert near(seen(image), pixel(converted)[:3], by=1)  # pyright: ignore[reportArgumentType] (three levels)
        assert len(image.info["icc_profile"]) < 1200


NOTHING = (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "profile",
    [
        with_curves(b"curv" + bytes(4) + struct.pack("!I", 2**32 - 1)),
        with_curves(b"curv" + bytes(4) + struct.pack("!IH", 1, 0)),
        with_curves(b"curv" + bytes(4) + struct.pack("!IHHH", 3, 65_535, 0, 65_535) + bytes(2)),
        with_curves(b"para" + bytes(4) + struct.pack("!H2x", 65_535)),
        with_curves(b"para" + bytes(4) + struct.pack("!H2x7i", 4, *(2**31 - 1,) * 7)),
        with_curves(b"sf32" + bytes(4) + bytes(12)),
        P3.replace(b"rXYZ", b"rxyz"),
        profiles.rgb(((3e4, 3e4, 3e4), (-3e4, -3e4, -3e4), NOTHING), 2.2),
        profiles.rgb((NOTHING, NOTHING, NOTHING), 2.2),
        profiles.rgb(((0.3214, 0.3333, 0.2750),) * 3, 2.2),
        P3[:128] + struct.pack("!I", 2**32 - 1) + P3[132:],
        P3[:200],
        profiles.padded(P3, 900_000),
    ],
)
def test_d15_a_hostile_profile_is_kept_clean_converted_or_dropped(profile: bytes) -> None:
    source = odd_images.png([WIDE] * 32, images.png_chunk(b"iCCP", b"x\x00\x00" + zlib.compress(profile)))
    image = made(source)
    kept = image.info.get("icc_profile")
    assert kept is None or len(kept) < 1200
    assert len(seen(image)) == 3
