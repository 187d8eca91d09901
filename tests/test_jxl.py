"""JPEG XL, in and out. Files of another encoder are cjxl's."""

import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time

import pytest
from PIL import Image

from imgsvc.domain.formats import JXL, sniff
from imgsvc.domain.model import FileFormat, OutputFormat, Variant
from imgsvc.domain.presets import PresetError, read
from imgsvc.domain.problems import JobError
from imgsvc.imaging import jxl
from tests.support import images, odd_images
from tests.support.heif import box
from tests.support.images import distance, encoded, near, opened, pixel, scene
from tests.support.pixels import code_of, decoded, rendered
from tests.support.service import Service
from tests.test_gamut import seen
from tests.test_hdr import check_patches, png_of_patches

BRICK = (180, 90, 60)
OUT = Variant("v", 100, 100, format="jxl")
SIGNATURE = b"\x00\x00\x00\x0cJXL \r\n\x87\n"


def made(source: bytes, variant: Variant = OUT) -> Image.Image:
    return opened(rendered(source, variant).renditions[0].data)


@pytest.fixture
def cjxl(tmp_path: Path) -> Callable[..., bytes]:
    """Encodes a file of this kind, with options of cjxl."""
    if shutil.which("cjxl") is None:
        pytest.skip("no cjxl: apt-get install --no-install-recommends libjxl-tools")

    def encode(source: bytes, kind: str, *options: str) -> bytes:
        given, result = tmp_path / f"in.{kind}", tmp_path / "out.jxl"
        given.write_bytes(source)
        subprocess.run(["cjxl", *map(str, (given, result)), *options], check=True, capture_output=True, timeout=60)
        return result.read_bytes()

    return encode


# --- in


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"use_container": True}], ids=str)
def test_every_kind_of_picture_is_read(mode: str, options: dict[str, object]) -> None:
    picture = scene(61, 47).convert(mode)
    if mode.endswith("A"):
        picture.putalpha(77)
    source = encoded(picture, "JXL", **options)
    assert sniff(source[:64]) is JXL
    result = rendered(source, Variant("v", format="png"))
    image = opened(result.renditions[0].data)
    assert (result.original.format, image.mode, image.size) == ("jxl", mode, (61, 47))
    assert result.warnings == ()
    assert distance(image, picture) < (0.1 if options.get("lossless") else 4)
    assert image.getextrema()[-1] == (77, 77) if mode.endswith("A") else True


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (256, 256), (257, 8), (300, 200), (1920, 1080), (40, 50), (3, 1000)])
def test_a_size_is_read_however_it_is_written(size: tuple[int, int]) -> None:
    assert jxl.opened(encoded(Image.new("RGB", size), "JXL", effort=1)).size == size


def test_a_jpeg_inside_is_shown_upright_as_its_own_orientation_says(cjxl: Callable[..., bytes]) -> None:
    turned = images.photo(orientation=6)
    for options in ((), ("-j", "0")):
        source = cjxl(turned, "jpg", *options)
        assert (rendered(source).original.width, rendered(source).original.height) == (480, 320)
        assert distance(decoded(source), scene()) < 2


def test_orientation_in_its_exif_turns_nothing() -> None:
    source = encoded(scene(), "JXL", exif=images.exif(6).tobytes())
    assert rendered(source).original.width == 480


def test_16_bits_of_grey_are_read_as_such(cjxl: Callable[..., bytes]) -> None:
    sources = images.grey_16_bit(), cjxl(images.grey_16_bit(), "png", "-d", "0")
    shown = [made(source, Variant("v", format="png", grayscale=True)) for source in sources]
    levels = [pixel(image, across) for image in shown for across in (0.1, 0.4, 0.6, 0.9)]
    assert levels[:4] == levels[4:]


def test_colours_are_converted_from_the_space_that_the_file_is_in(cjxl: Callable[..., bytes]) -> None:
    source = cjxl(encoded(images.plain(BRICK), "PNG"), "png", "-d", "0", "-x", "color_space=RGB_D65_DCI_Rel_SRG")
    wanted = pixel(decoded(odd_images.png([BRICK] * 32, odd_images.code_points(12, 13))))[:3]
    assert near(pixel(decoded(source)), wanted, by=2)  # pyright: ignore[reportArgumentType] (three levels)
    kept = made(source, Variant("v", format="png", gamut="keep"))
    assert near(pixel(kept), BRICK, by=1)
    assert near(seen(kept), wanted, by=3)  # pyright: ignore[reportArgumentType] (three levels)


def test_more_light_than_white_is_shown_as_a_screen_without_hdr_would(cjxl: Callable[..., bytes]) -> None:
    check_patches(cjxl(png_of_patches(), "png", "-d", "0", "-x", "color_space=RGB_D65_202_Rel_PeQ"), by=6)


def test_an_animation_is_not_read_for_its_first_picture_cannot_be_had(cjxl: Callable[..., bytes]) -> None:
    assert code_of(cjxl(images.animation(3, "PNG", (64, 48)), "apng")) == "unsupported_format"


# --- out


def test_its_quality_is_what_it_costs_and_lossless_is_every_pixel() -> None:
    source = encoded(scene(), "PNG")
    sizes = [len(rendered(source, Variant("v", format="jxl", quality=q)).renditions[0].data) for q in (20, 60, 95, 100)]
    assert sizes == sorted(set(sizes))
    assert made(source, Variant("v", format="jxl", lossless=True)).tobytes() == scene().tobytes()


@pytest.mark.parametrize("effort", [0, 4, 10])
def test_its_effort_is_the_encoders(effort: int) -> None:
    image = made(images.photo(), Variant("v", 64, 64, format="jxl", effort=effort))
    assert distance(image, scene().resize((64, 43))) < 8


def test_transparency_and_grey_stay_and_what_came_in_it_is_kept_in_it() -> None:
    clear = encoded(images.plain((200, 100, 50, 77), "RGBA"), "PNG")
    assert made(clear).getpixel((9, 9))[3] == 77  # pyright: ignore[reportIndexIssue, reportOptionalSubscript] (a tuple)
    assert made(images.photo(), Variant("v", 32, 32, format="jxl", grayscale=True)).mode == "L"
    source = encoded(scene(), "JXL")
    assert rendered(source, Variant("v", 32, 32, format="keep")).renditions[0].format == "jxl"


def test_d14_of_metadata_only_what_is_safe_is_in_it_and_only_where_it_was_asked_for() -> None:
    secret = images.full_of_metadata()
    for strip in (True, False):
        (rendition,) = rendered(secret, Variant("v", 64, 64, format="jxl", strip=strip)).renditions
        assert b"SECRET" not in rendition.data.replace(b"SECRET camera", b"")
        assert (b"SECRET camera" in rendition.data) is not strip
    tags = images.exif(1)
    tags[0x010F] = "a camera"
    again = made(encoded(scene(), "JXL", exif=tags.tobytes()), Variant("v", 64, 64, format="jpeg", strip=False))
    assert again.getexif()[0x010F] == "a camera"
    (rendition,) = rendered(
        encoded(scene(), "JPEG", exif=tags), Variant("v", 64, 64, format="jxl", strip=False)
    ).renditions
    box_of_exif = rendition.data[rendition.data.index(b"Exif") :]
    assert box_of_exif[4:12] == bytes(4) + b"MM\x00*"


# --- without the extra

_WITHOUT = """
import sys
sys.modules["pillow_jxl"] = None
from imgsvc.domain.formats import sniff
from imgsvc.domain.model import Limits, Variant
from imgsvc.domain.presets import PresetError, read
from imgsvc.imaging.render import render
from imgsvc.imaging.warmup import warm_up
warm_up()
try:
    read("variants", {"card": {"width": 1, "format": "jxl"}})
except PresetError as error:
    print(error)
print(sniff(b"\\xff\\x0a"))
try:
    render(open(sys.argv[1], "rb").read(), [Variant("v", 9, format="jxl")], Limits(10**6, 10**4, 1, 1), print, print)
except Exception as error:
    print(error)
"""


def test_without_the_extra_it_is_neither_read_nor_written_and_messages_say_so(tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(images.photo(64, 48))
    command = [sys.executable, "-c", _WITHOUT, str(tmp_path / "photo")]
    lines = subprocess.run(command, check=True, capture_output=True, timeout=60, text=True).stdout.splitlines()
    assert "format must be one of" in lines[0]
    assert "jxl (with the extra `jxl`)" in lines[0]
    assert lines[1] == "None"
    assert lines[-1].startswith("encode_failed")


@pytest.mark.parametrize("written", ["JXL", ["jxl"], "jxl ", True])
def test_nothing_but_its_name_is_its_name(written: object) -> None:
    with pytest.raises(PresetError, match=r"format must be one of .*jxl \(with the extra `jxl`\)"):
        read("variants", {"card": {"width": 1, "format": written}})
    formats: tuple[FileFormat, OutputFormat] = ("jxl", "jxl")
    assert read("variants", {"card": {"width": 1, "format": "jxl"}})[0].format in formats


# --- hostile ones


def bits(*fields: tuple[int, int]) -> bytes:
    """A bare codestream of these values, each of so many bits."""
    value = width = 0
    for field, size in fields:
        value |= field << width
        width += size
    return b"\xff\x0a" + value.to_bytes((width + 7) // 8, "little") + bytes(64)


def side(value: int) -> Sequence[tuple[int, int]]:
    return (3, 2), (value - 1, 30)


def claiming(width: int, height: int, *rest: tuple[int, int]) -> bytes:
    return bits((0, 1), *side(height), (0, 3), *side(width), *rest)


DEFAULT = ((1, 1),)
PLAIN = (0, 1), (0, 1), (0, 1), (0, 2), (0, 1)  # not by default, no more fields, 8 bits, 32 to decode in
MANY = (3, 2), (4095, 12)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (claiming(1 << 30, 1 << 30, *DEFAULT), "image_too_large"),
        (claiming(1, 1 << 30, *DEFAULT), "image_too_large"),
        (claiming(20_000, 100, *DEFAULT), "image_too_large"),
        (claiming(64, 64, *PLAIN, *MANY), "unsupported_format"),
        (claiming(64, 64, *PLAIN, (1, 2), (0, 1), (2, 2), (2, 4)), "unsupported_format"),
        (claiming(64, 64, *DEFAULT), "decode_failed"),
        (bits((0, 1), *side(64), (7, 3)), "decode_failed"),
        *((head, "decode_failed") for head in (b"\xff\x0a", b"\xff\x0a\xff", b"\xff\x0a" + b"\xff" * 9000)),
        (SIGNATURE + box(b"jxlc", b""), "decode_failed"),
        (SIGNATURE + box(b"jxlc", claiming(1 << 30, 1 << 30, *DEFAULT)), "image_too_large"),
        (SIGNATURE + b"".join(box(b"jxlp", bytes(4) + b"\xff") for _ in range(9000)), "decode_failed"),
        (SIGNATURE + box(b"brob", b"Exif" + b"\x1b" * 1000) * 100, "decode_failed"),
    ],
    ids=range(14),
)
def test_d63_a_jpeg_xl_bomb_is_refused_by_its_header(source: bytes, code: str) -> None:
    began = process_time()
    assert code_of(source) == code
    assert process_time() - began < 2


FAR = struct.pack("!I", 2**32 - 1) + b"II*\x00"


@pytest.mark.parametrize("exif", [b"", bytes(4), b"\xff" * 40, FAR, bytes(2_000_000)], ids=len)
def test_d63_its_exif_may_be_anything(exif: bytes) -> None:
    bare = encoded(scene(64, 48), "JXL")
    source = SIGNATURE + box(b"Exif", exif) + box(b"jxlc", bare) + box(b"Exif", b"again")
    assert rendered(source, Variant("v", 64, 64, strip=False)).original.format == "jxl"


def test_d63_a_damaged_one_ends_with_a_code() -> None:
    base = encoded(scene(64, 48), "JXL")
    for at in range(2, len(base), max(1, len(base) // 60)):
        for changed in (base[:at], base[:at] + bytes((base[at] ^ 0xFF,)) + base[at + 1 :]):
            try:
                rendered(changed)
            except JobError as error:
                assert error.code in {"decode_failed", "unsupported_format", "image_too_large"}  # noqa: PT017 (or none)


# --- all the way


async def test_an_upload_in_it_and_one_from_a_phone_come_out_in_it_and_are_served_as_such(service: Service) -> None:
    variants = '{"small": {"width": 64, "format": "jxl"}, "old": {"width": 64}}'
    for fmt, media_type in (("JXL", "image/jxl"), ("HEIF", "image/heic")):
        upload_id = await service.upload(encoded(scene(), fmt), variants=variants)
        result = await service.result(upload_id)
        assert result["original"]["content_type"] == media_type
        assert result["result"]["small"].endswith("_small.jxl")
        assert result["variants"]["small"]["content_type"] == "image/jxl"
        answer = await service.client.get(result["result"]["small"])
        assert answer.headers["content-type"] == "image/jxl"
        assert distance(opened(answer.content), opened(await service.file(upload_id, "old"))) < 4


def test_its_quality_can_be_found_by_what_is_seen_of_it_and_by_what_it_weighs() -> None:
    source = encoded(scene(), "PNG")
    automatic, small, drawn, tiny = rendered(
        source,
        Variant("automatic", format="jxl", quality="auto"),
        Variant("small", format="jxl", max_bytes=4000),
        Variant("drawn", format="jxl", lossless=True, quality="auto", max_bytes=10**6),
        Variant("tiny", format="jxl", max_bytes=1),
    ).renditions
    assert automatic.quality
    assert (small.fits, len(small.data) <= 4000) == (True, True)
    assert (drawn.quality, opened(drawn.data).tobytes()) == (None, scene().tobytes())
    assert not tiny.fits
