"""What an original tells beside its size: when and where it was taken, by what camera, its colours, and its hash."""

import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageDraw

from imgsvc.domain.facts import Facts, Position, checked
from imgsvc.domain.model import Rendered, Variant
from imgsvc.imaging.render import render
from tests.support import images
from tests.support.exif import MARK, Tag, Tags, appended, block, doubles, fractions, shorts, text
from tests.support.images import LIMITS
from tests.support.odd_images import segment
from tests.support.service import Service

SMALL = Variant("v", 64, 64)
NORTH, EAST = fractions((35, 1), (39, 1), (3096, 100)), fractions((139, 1), (44, 1), (4344, 100))
TOKYO = {1: text("N"), 2: NORTH, 3: text("E"), 4: EAST, 5: (1, b"\x00"), 6: fractions((303, 2))}
CANON = {0x010F: text("Canon"), 0x0110: text("Canon EOS 5D")}
TAKEN = {0x9003: text("2026:05:01 12:34:56"), 0x9011: text("+02:00")}


def rendered(source: bytes, *variants: Variant, keep_location: bool = False) -> Rendered:
    return render(
        source,
        variants or (SMALL,),
        LIMITS,
        lambda _step, _done, _total: None,
        lambda _bytes: None,
        keep_location=keep_location,
    )


def told(source: bytes, *, keep_location: bool = False) -> Facts:
    return rendered(source, keep_location=keep_location).original.facts


def photo(fmt: str = "JPEG", **options: Any) -> bytes:
    return images.encoded(images.scene(), fmt, **options)


def with_chunk(kind: bytes, body: bytes) -> bytes:
    whole = photo("PNG")
    return whole[:33] + images.png_chunk(kind, body) + whole[33:]


def dated(moment: Tag, offset: str | None = None) -> bytes:
    return photo(exif=block(photo={0x9003: moment} | ({} if offset is None else {0x9011: text(offset)})))


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "HEIF", "JXL"])
def test_date_camera_and_place_are_read_from_every_format_that_has_exif(fmt: str) -> None:
    tags = CANON, TAKEN, TOKYO
    source = appended(photo(fmt), *tags) if fmt == "TIFF" else photo(fmt, exif=block(*tags))
    found = told(source, keep_location=True)
    assert (found.taken_at, found.camera) == ("2026-05-01T12:34:56+02:00", "Canon EOS 5D")
    assert found.position == Position(35.6586, 139.7454, 151.5)
    assert told(source).position is None, "nobody asked for it"


@pytest.mark.parametrize("fmt", ["GIF", "BMP"])
def test_a_format_without_metadata_has_colours_and_a_hash(fmt: str) -> None:
    found = told(photo(fmt))
    assert (found.taken_at, found.camera, found.position) == (None, None, None)
    assert found.palette
    assert found.dhash


@pytest.mark.parametrize(
    ("moment", "offset", "wanted"),
    [
        ("2026:05:01 12:34:56", None, "2026-05-01T12:34:56"),
        ("2026:05:01 12:34:56", "-03:30", "2026-05-01T12:34:56-03:30"),
        ("2026:05:01 12:34:56", "Z", "2026-05-01T12:34:56Z"),
        ("2026:05:01 12:34:56", "+00:00", "2026-05-01T12:34:56Z"),
        ("2026-05-01T12:34:56.789+09:00", None, "2026-05-01T12:34:56+09:00"),
        ("2026/05/01 12:34:56 ", "   :  ", "2026-05-01T12:34:56"),
        ("2026:05:01 12:34:56", "+15:00", "2026-05-01T12:34:56"),
        ("2026:05:01 12:34:56", "<script>", "2026-05-01T12:34:56"),
        ("1826:06:04 06:00:00", None, "1826-06-04T06:00:00"),
        ("2024:02:29 00:00:00", None, "2024-02-29T00:00:00"),
    ],
)
def test_the_date_has_an_offset_only_where_the_camera_recorded_one(
    moment: str, offset: str | None, wanted: str
) -> None:
    assert told(dated(text(moment), offset)).taken_at == wanted


@pytest.mark.parametrize(
    "moment",
    [
        *("0000:00:00 00:00:00", "    :  :     :  :  ", "0001:01:01 00:00:00", "1799:12:31 23:59:59"),
        *("2026:02:30 12:00:00", "2026:13:01 12:00:00", "2026:05:01 24:00:00", "2026:05:01 12:60:00"),
        *("99999:01:01 00:00:00", "-2026:05:01 12:00:00", "2026:05:01", "12:34:56", "yesterday", ""),
        *("2026:05:01 12:34:56 by A. Person", "\u0662\u0660\u0662\u0666:05:01 12:34:56", "2026:05:01 12:34:56" * 1000),
        *((4, b"\x01\x02\x03\x04"), (12, b"\xff" * 8), (7, b"2026:05:01 12:34:56"), (2, b"\xff" * 20), (2, b"")),
    ],
)
def test_d46_a_date_that_no_clock_shows_is_none(moment: str | Tag) -> None:
    assert told(dated(text(moment) if isinstance(moment, str) else moment)).taken_at is None


@pytest.mark.parametrize(
    ("make", "model", "wanted"),
    [
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("NIKON CORPORATION", "NIKON D850", "NIKON D850"),
        ("Apple", "iPhone 12 Pro", "Apple iPhone 12 Pro"),
        ("EASTMAN KODAK COMPANY", "KODAK EASYSHARE C613", "KODAK EASYSHARE C613"),
        ("OLYMPUS IMAGING CORP.", "E-M1", "OLYMPUS E-M1"),
        ("RICOH IMAGING COMPANY, LTD.", "PENTAX K-1", "RICOH PENTAX K-1"),
        ("FUJIFILM", "X-T3\x00\x00\x00", "FUJIFILM X-T3"),
        ("  SONY  ", " ILCE-7M3   ", "SONY ILCE-7M3"),
        ("", "DSC-W1", "DSC-W1"),
        ("Leica Camera AG", "", "Leica"),
        ("", "", None),
        ("Canon\r\nSet-Cookie: a", "b\x1b[31m", "Canon Set-Cookie: a b 31m"),
        ("\u202eevil\u2066\u200b", "\x00hidden", "evil"),
        ("<script>alert(1)</script>", '"><img src=x>', "script alert(1) /script img src x"),
        ("Phone & Co", "M\u00f6del \u4e00", "Phone & M\u00f6del \u4e00"),
        ("a" * 90, "b" * 90, "a" * 90 + " " + "b" * 9),
        ("", "c" * 65_000, None),
    ],
)
def test_d46_a_camera_has_one_short_printable_name(make: str, model: str, wanted: str | None) -> None:
    assert told(photo("WEBP", exif=block({0x010F: text(make), 0x0110: text(model)}))).camera == wanted


def test_d46_a_camera_that_is_no_text_is_none() -> None:
    for tag in (shorts(7), doubles(9.5), (7, b"Canon"), (2, b"\xff\xfe\xff")):
        assert told(photo(exif=block({0x010F: tag, 0x0110: tag}))).camera is None


@pytest.mark.parametrize(
    ("place", "wanted"),
    [
        (TOKYO, Position(35.6586, 139.7454, 151.5)),
        (TOKYO | {1: text("S"), 3: text("W"), 5: (1, b"\x01")}, Position(-35.6586, -139.7454, -151.5)),
        (TOKYO | {2: fractions((90, 1)), 4: doubles(180, 0, 0), 6: (1, b"")}, Position(90, 180, None)),
        (TOKYO | {6: doubles(1e9)}, Position(35.6586, 139.7454, None)),
        (TOKYO | {6: fractions((1, 0))}, Position(35.6586, 139.7454, None)),
        *((TOKYO | {2: doubles(*angle)}, None) for angle in [(90, 0, 1), (-35, 0, 0), (91,), (1, 1, 1, 1)]),
        *((TOKYO | {4: doubles(*angle)}, None) for angle in [(180, 0, 1), (float("nan"), 0, 0), (float("inf"), 0, 0)]),
        *((TOKYO | {2: angle}, None) for angle in [fractions((35, 0)), fractions((0, 0), (1, 1)), text("35.6586")]),
        (TOKYO | {2: (9, b"\xff" * 12)}, None),
        *((TOKYO | {1: text(sign)}, None) for sign in ["", "E", "North", "\x00N"]),
        ({2: NORTH, 4: EAST}, None),
        ({1: text("N"), 2: NORTH}, None),
    ],
)
def test_d46_a_position_is_a_place_on_earth_or_none(place: Tags, wanted: Position | None) -> None:
    assert told(photo(exif=block(place=place)), keep_location=True).position == wanted


def test_an_xmp_packet_tells_what_the_exif_lacks() -> None:
    packet = (
        b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:Description exif:DateTimeOriginal='2026-05-01T12:34:56.7+02:00'>"
        b"<tiff:Make>Canon</tiff:Make><tiff:Model>EOS 5D</tiff:Model></rdf:Description></x:xmpmeta>"
    )
    for fmt in ("JPEG", "WEBP", "AVIF", "TIFF"):
        source = appended(photo(fmt), {700: (1, packet)}) if fmt == "TIFF" else photo(fmt, xmp=packet)
        found = told(source)
        assert (found.taken_at, found.camera) == ("2026-05-01T12:34:56+02:00", "Canon EOS 5D"), fmt
    assert told(with_chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + packet)).camera == "Canon EOS 5D"
    both = photo(xmp=packet, exif=block(CANON, {0x9003: text("2025:01:01 00:00:00")}))
    assert told(both).taken_at == "2025-01-01T00:00:00"


@pytest.mark.parametrize(
    "packet",
    [
        b'<!DOCTYPE a [<!ENTITY b "2026-05-01T12:34:56">]><a exif:DateTimeOriginal="&b;" tiff:Make="&b;"/>',
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><tiff:Model>&b;</tiff:Model>',
        b"exif:DateTimeOriginal=" * 2000,
        b'exif:DateTimeOriginal="' + b" " * 60_000,
        b"\xff\xfe" + '<a exif:DateTimeOriginal="2026-05-01T12:34:56"/>'.encode("utf-16-le"),
    ],
)
def test_d46_an_xmp_packet_is_searched_and_never_expanded(packet: bytes) -> None:
    found = told(photo(xmp=packet))
    assert found.taken_at is None
    assert found.camera in {None, "&b", "&b &b"}


def endless(size: int, order: str = "<") -> bytes:
    """An EXIF block of as many entries as there is room for, each of which points at nearly all of it."""
    count = min(65_535, (size - 14) // 12)
    entries = b"".join(struct.pack(order + "HHII", tag, 7, size - 16, 8) for tag in range(1, count + 1))
    head = (b"II*\x00" if order == "<" else b"MM\x00*") + struct.pack(order + "IH", 8, count)
    return (head + entries).ljust(size, b"\x00")


def camera_jpeg(block: bytes) -> bytes:
    """A JPEG that begins with its EXIF, in as many segments as it takes."""
    segments = (segment(0xE1, MARK + block[at : at + 65_000]) for at in range(0, len(block), 65_000))
    whole = photo()
    return whole[:2] + b"".join(segments) + whole[4 + int.from_bytes(whole[4:6], "big") :]


ENDLESS = endless(1_000_000)


@pytest.mark.parametrize(
    "source",
    [
        lambda: camera_jpeg(ENDLESS),
        lambda: camera_jpeg(endless(1_000_000, ">")),
        lambda: photo("WEBP", exif=ENDLESS),
        lambda: photo("HEIF", exif=ENDLESS),
        lambda: with_chunk(b"eXIf", ENDLESS),
    ],
    ids=["jpeg", "big-endian", "webp", "heif", "png"],
)
def test_d46_a_megabyte_of_tags_costs_nothing_worth_mentioning(source: Callable[[], bytes]) -> None:
    data = source()
    begin = time.process_time()
    found = rendered(data, Variant("v", 64, 64, strip=False)).original.facts
    assert time.process_time() - begin < 0.2, "ours takes 0.01 s, and Pillow's reader 0.25"
    assert (found.taken_at, found.camera) == (None, None)


@pytest.mark.parametrize(
    "broken",
    [
        block(CANON, {0x8769: (4, struct.pack("<I", 8))}),
        *(
            block({0x8769: (4, struct.pack("<I", at)), 0x8825: (4, struct.pack("<I", at))})
            for at in (0, 7, 8, 2**32 - 1)
        ),
        *(block(CANON, TAKEN, TOKYO)[:length] for length in range(6, 200, 7)),
        *(MARK + head for head in (b"", b"II*\x00", b"MM\x00*\xff\xff\xff\xff", b"II*\x00\x08\x00\x00\x00\xff\xff")),
        b"Exif",
        MARK * 1000,
    ],
)
def test_d46_directories_in_a_cycle_or_cut_short_are_no_reason_to_refuse_a_picture(broken: bytes) -> None:
    source = camera_jpeg(broken.removeprefix(MARK))
    result = rendered(source, Variant("v", 64, 64, strip=False), keep_location=True)
    assert images.opened(result.renditions[0].data).size == (64, 43)
    assert result.original.facts.camera in {None, "Canon", "Canon EOS 5D"}


def patches(number: int) -> Image.Image:
    """A picture of 48 plain patches."""
    picture = Image.new("RGB", (640, 480))
    for at in range(48):
        value = (at * 7919 + number * 104_729) % 4093
        left, top = at % 8 * 80, at // 8 * 80
        colour = (value % 256, value * 7 % 256, value * 13 % 256)
        ImageDraw.Draw(picture).rectangle((left, top, left + 79, top + 79), fill=colour)
    return picture


@pytest.mark.parametrize(
    ("picture", "theirs"),
    # what imagehash 4.3 finds with `dhash`
    [
        (lambda: patches(0), "d9c2439936989a36"),
        (lambda: patches(1), "32646d316c19196c"),
        (lambda: patches(2), "6cd99b369832a68c"),
        (lambda: images.scene(1600, 1200), "ffdf9fffffffffff"),
    ],
)
def test_the_difference_hash_is_the_one_that_others_compute(picture: Any, theirs: str) -> None:
    source = images.encoded(picture(), "PNG")
    for box in (64, 1024):
        ours = rendered(source, Variant("v", box, box)).original.facts.dhash
        assert ours is not None
        assert len(ours) == 16
        assert (int(ours, 16) ^ int(theirs, 16)).bit_count() <= 2


def test_the_difference_hash_is_of_the_upright_picture_on_white() -> None:
    upright = told(images.encoded(patches(0), "JPEG", quality=95)).dhash
    stored = patches(0).transpose(Image.Transpose.ROTATE_90)
    turned = told(images.encoded(stored, "JPEG", quality=95, exif=images.exif(6))).dhash
    assert upright
    assert turned
    assert (int(upright, 16) ^ int(turned, 16)).bit_count() <= 1
    clear = patches(0).convert("RGBA")
    clear.putalpha(0)
    assert told(images.encoded(clear, "PNG")).dhash == "0" * 16


def test_a_palette_has_the_colours_that_differ_by_the_area_that_they_cover() -> None:
    picture = Image.new("RGB", (400, 400), "#d02020")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 399, 99), fill="#2040c0")
    draw.rectangle((0, 100, 399, 119), fill="#2141c1")  # as good as the same
    draw.rectangle((0, 350, 199, 399), fill="#f0f0f0")
    assert told(images.encoded(picture, "PNG")).palette[:3] == ("#d02020", "#2040c0", "#f0f0f0")
    assert told(images.encoded(Image.new("L", (9, 9), 128), "PNG")).palette == ("#808080",)


def test_transparent_pixels_have_no_colour() -> None:
    picture = Image.new("RGBA", (100, 100), (0, 255, 0, 0))
    picture.paste((10, 20, 200, 255), (0, 0, 40, 100))
    found = rendered(images.encoded(picture, "PNG"))
    assert found.original.facts.palette == ("#0a14c7",)
    assert found.placeholder.color == "#ffffff", "which is seen through what is transparent"
    assert told(images.encoded(Image.new("RGBA", (9, 9), (0, 255, 0, 0)), "PNG")).palette == ()


def test_of_several_pages_the_first_one_tells() -> None:
    first = images.scene().convert("L")
    pages = images.encoded(*(first, "TIFF"), save_all=True, append_images=[images.plain("red")])
    found = rendered(appended(pages, {0x0110: text("Scanner")}), Variant("v", 64, 64, page=1)).original.facts
    assert found.camera == "Scanner"
    assert found.dhash == told(images.encoded(first, "PNG")).dhash


GOOD = {
    "taken_at": "2026-05-01T12:34:56+02:00",
    "camera": "Canon EOS 5D",
    "palette": ["#102030"],
    "dhash": "0123456789abcdef",
    "position": {"latitude": 1, "longitude": -180.0, "altitude": None},
}


def test_facts_that_are_checked_are_those_that_were_sent() -> None:
    assert checked(GOOD) == Facts(
        *("2026-05-01T12:34:56+02:00", "Canon EOS 5D", ("#102030",), "0123456789abcdef", Position(1, -180))
    )
    assert checked({"palette": []}) == Facts()


@pytest.mark.parametrize(
    "wrong",
    [
        *({"taken_at": value} for value in (1, "", "2026-05-01", "2026-05-01T12:34:56+2", "\u0662026-05-01T12:34:56")),
        *({"taken_at": value} for value in ("2026-05-01T12:34:56\n", ["2026-05-01T12:34:56"], "x" * 60_000)),
        *({"camera": value} for value in ("", "a" * 101, "a\n", "<b>", "\u202e", {}, 5, True)),
        *(
            {"palette": value}
            for value in (None, {}, "#102030", ["#102030"] * 6, ["red"], ["#10203g"], [[]], ["#102030\n"])
        ),
        *({"dhash": value} for value in ("", "0" * 15, "0" * 17, "0" * 15 + "G", 0, [])),
        *({"position": value} for value in (0, [1, 2], {}, {"latitude": 1}, {"latitude": "1", "longitude": 1})),
        *({"position": {"latitude": value, "longitude": 0}} for value in (91, -91, 10**400, True, None)),
        *({"position": {"latitude": 0, "longitude": 0, "altitude": value}} for value in (1e6, "0", False)),
    ],
)
def test_d9_facts_of_another_shape_are_not_believed(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"shape|bounds|list|object"):
        checked(GOOD | wrong)


async def test_the_result_has_the_facts_and_the_place_only_for_who_asks(service: Service) -> None:
    source = photo(exif=block(CANON, {0x9003: text("2026:05:01 12:34:56")}, TOKYO))
    variants = '{"v": {"width": 64, "strip": false}}'
    for fields, position in [
        ({"keep_location": "true"}, {"latitude": 35.6586, "longitude": 139.7454, "altitude": 151.5}),
        ({"keep_location": "false"}, None),
        ({}, None),
    ]:
        upload_id = await service.upload(source, variants=variants, **fields)
        original = (await service.result(upload_id))["original"]
        assert (original["taken_at"], original["camera"]) == ("2026-05-01T12:34:56", "Canon EOS 5D")
        assert original["position"] == position
        assert 1 <= len(original["palette"]) <= 5
        kept = images.opened(await service.file(upload_id, "v")).getexif()
        assert kept[0x0110] == "Canon EOS 5D"
        assert bool(kept.get_ifd(0x8825)) is (position is not None)


@pytest.mark.parametrize("value", ["1", "yes", "True", '"true"', "", "null", "[true]", " true", "1e999"])
async def test_keep_location_is_true_or_false(service: Service, value: str) -> None:
    answer = await service.client.post("/upload", params={"keep_location": value}, content=photo())
    assert answer.status_code == 422
    assert answer.json()["detail"] == "'keep_location' must be true or false."
