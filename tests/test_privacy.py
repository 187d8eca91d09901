"""What an image carries besides its picture does not reach its variants: every carrier, and every format."""

import re
import struct
import zlib
from dataclasses import replace
from itertools import product

import pytest
from PIL import ExifTags

from imgsvc.domain.model import Rendition, Variant
from imgsvc.imaging.encode import OUTPUTS
from imgsvc.imaging.isobmff import boxes
from imgsvc.imaging.render import render
from tests.support import carriers
from tests.support.carriers import CARRIERS, LATITUDE, LONGITUDE, SECRET, TAGGED
from tests.support.images import LIMITS

FORMATS = (*OUTPUTS, "keep")
WHOLE = 400  # pixels: a box as large as any of the images
KINDS = tuple(
    Variant(f"{fmt}-{'stripped' if strip else 'kept'}-{frames}", 32, 32, format=fmt, strip=strip, frames=frames)
    for fmt, strip, frames in product(FORMATS, (True, False), ("first", "all"))
    if frames == "first" or fmt in {"gif", "webp", "keep"}
)
VARIANTS = (
    *KINDS,
    # so large that an original may be given away as it is, without all but its pixels
    *(replace(kind, name=f"{kind.name}-whole", width=WHOLE, height=WHOLE, quality=100) for kind in KINDS),
)
WIDE = tuple(Variant(f"{fmt}-wide", 32, 32, format=fmt, gamut="keep") for fmt in FORMATS)
BASE = ExifTags.Base
KEPT = {
    *(f"SECRETi{tag:04x}".encode() for tag in (BASE.ImageDescription, BASE.Make, BASE.Model, BASE.Software)),
    *(f"SECRETi{tag:04x}".encode() for tag in (BASE.DateTime, BASE.Artist, BASE.Copyright)),
    *(f"SECRETp{tag:04x}".encode() for tag in (BASE.DateTimeOriginal, BASE.DateTimeDigitized, BASE.OffsetTime)),
    *(f"SECRETp{tag:04x}".encode() for tag in (BASE.OffsetTimeOriginal, BASE.LensMake, BASE.LensModel)),
}
"""The texts that `strip: false` keeps."""


def rendered(source: bytes, *variants: Variant, keep_location: bool = False) -> tuple[Rendition, ...]:
    made = render(
        source, variants, LIMITS, lambda _step, _done, _total: None, lambda _bytes: None, keep_location=keep_location
    )
    return made.renditions


def found(data: bytes) -> set[bytes]:
    """The secrets in a file: as they are, in UTF-16, in hexadecimal digits, and packed."""
    texts = [data, *inflated(data)]
    words = SECRET.decode()
    elsewise = {SECRET.hex().encode(), words.encode("utf-16-le"), words.encode("utf-16-be")}
    elsewise |= {LATITUDE[1], LONGITUDE[1], LATITUDE[1].hex().encode(), LONGITUDE[1].hex().encode()}
    plain = {secret for text in texts for secret in re.findall(rb"SECRET(?:[ipg][0-9a-f]{4})?", text)}
    return plain | {secret for text in texts for secret in elsewise if secret in text}


def inflated(data: bytes) -> list[bytes]:
    """Whatever a PNG has packed."""
    parts: list[bytes] = []
    for at in (match.start() for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", data)):
        try:
            parts.append(zlib.decompressobj().decompress(data[at:]))
        except zlib.error:
            continue
    return parts


def parts(rendition: Rendition) -> set[bytes]:
    """The kinds of the parts that a file consists of, to its last byte."""
    data, kinds = rendition.data, set[bytes]()
    match rendition.format:
        case "jpeg":
            at = 2
            while data[at + 1] != 0xDA:
                kinds.add(data[at + 1 : at + 2])
                at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            assert data.index(b"\xff\xd9", at) == len(data) - 2
        case "png":
            at = 8
            while at < len(data):
                kinds.add(data[at + 4 : at + 8])
                at += 12 + int.from_bytes(data[at : at + 4], "big")
        case "webp":
            at = 12
            assert struct.unpack_from("<I", data, 4) == (len(data) - 8,)
            while at < len(data):
                (length,) = struct.unpack_from("<I", data, at + 4)
                kinds.add(data[at : at + 4])
                at += 8 + length + length % 2
        case "jxl":
            kinds = {kind for kind, _ in boxes(memoryview(data))} if data[:2] != b"\xff\x0a" else set[bytes]()
        case "avif":
            kinds = set(re.findall(rb"mime|uri |uuid|Exif|free|skip|udta", data[: data.index(b"mdat")]))
        case _:
            kinds = set(re.findall(rb"!(?:\xfe|\x01\x0c|\xff\x0b[A-Z]{4,8})", data))
    return kinds


EXIF_PARTS = {"jpeg": b"\xe1", "png": b"eXIf", "webp": b"EXIF", "avif": b"Exif", "jxl": b"Exif"}
PARTS = {
    "jpeg": {b"\xe0", b"\xdb", b"\xc0", b"\xc2", b"\xc4", b"\xdd"},
    "png": {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"},
    "webp": {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"},
    "avif": set[bytes](),
    "gif": {b"!\xff\x0bNETSCAPE"},
    "jxl": {b"JXL ", b"ftyp", b"jxlc", b"jxlp"},
}


@pytest.mark.parametrize("carrier", CARRIERS)
def test_d14_what_an_image_carries_does_not_reach_its_variants(carrier: str) -> None:
    source = CARRIERS[carrier]()
    assert found(source), "or the test shows nothing"
    for rendition in rendered(source, *VARIANTS):
        stripped = "-stripped" in rendition.variant
        exif = set() if stripped else {EXIF_PARTS.get(rendition.format, b"")}
        assert found(rendition.data) <= (set() if stripped else KEPT), rendition.variant
        assert parts(rendition) <= PARTS[rendition.format] | exif, rendition.variant


@pytest.mark.parametrize("carrier", [name for name in CARRIERS if "profile" in name])
def test_d14_a_profile_that_is_kept_is_one_of_ours(carrier: str) -> None:
    for rendition in rendered(CARRIERS[carrier](), *WIDE):
        assert not found(rendition.data), rendition.variant


@pytest.mark.parametrize("carrier", TAGGED)
def test_d14_of_all_tags_those_that_are_safe_stay_where_somebody_asks(carrier: str) -> None:
    source = TAGGED[carrier]()
    assert found(source) > KEPT
    for rendition in rendered(source, *VARIANTS, keep_location=True):
        kept = set() if "-stripped" in rendition.variant or rendition.format == "gif" else KEPT
        assert found(rendition.data) == kept, rendition.variant


@pytest.mark.parametrize(("keep_location", "strip"), [*product((True, False), repeat=2)])
def test_d14_a_position_stays_only_where_it_is_asked_for_twice(keep_location: bool, strip: bool) -> None:
    variants = (Variant(fmt, 32, 32, format=fmt, strip=strip) for fmt in FORMATS)
    for rendition in rendered(CARRIERS["JPEG: position"](), *variants, keep_location=keep_location):
        kept = keep_location and not strip and rendition.format != "gif"
        assert found(rendition.data) == ({LATITUDE[1], LONGITUDE[1]} if kept else set())


def test_d14_nothing_hides_behind_a_text_or_in_a_number() -> None:
    tags = carriers.block(
        {BASE.Artist: (2, b"A. Person\x00SECRET\x00"), BASE.Copyright: (7, b"SECRET"), BASE.Software: (1, b"SECRET")},
        {BASE.ISOSpeedRatings: (1, b"SECRET"), BASE.FNumber: (5, b"SECRETSECRETSECRETSECRETSECRETSECRETSECR")},
        {1: (2, b"N\x00SECRET\x00"), 2: LATITUDE, 3: (2, b"E\x00"), 4: LONGITUDE, 6: (1, b"SECRET")},
    )
    source = carriers.images.encoded(carriers.images.scene(), "JPEG", exif=tags)
    variants = (Variant(fmt, 32, 32, format=fmt, strip=False) for fmt in ("jpeg", "webp", "avif", "png"))
    for rendition in rendered(source, *variants, keep_location=True):
        assert b"A. Person" in rendition.data
        assert SECRET not in rendition.data
