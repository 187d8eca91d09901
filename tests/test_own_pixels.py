"""Never larger than the original: its own pixels are given back, and of all else in its file not a byte."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageCms

from imgsvc.domain.model import Crop, Rendition, Variant
from imgsvc.domain.problems import JobError
from tests.support import images
from tests.support.pixels import rendered

SECRET = b"52.5200N 13.4050E <script>alert(1)</script> %PDF-1.7 PK\x03\x04"
KEPT = Variant("kept", 4000, 4000, format="keep", quality=100)
"""As large as the original, and of a quality at which encoding anew makes more bytes."""

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SCENE = images.scene(240, 160)


def only(source: bytes, variant: Variant = KEPT) -> Rendition:
    return rendered(source, variant).renditions[0]


def jpeg(**options: object) -> bytes:
    return images.encoded(SCENE, "JPEG", quality=60, **options)


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack("!H", len(body) + 2) + body


def after_start(file: bytes, *more: bytes) -> bytes:
    return file[:2] + b"".join(more) + file[2:]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + kind + body + struct.pack("!I", zlib.crc32(kind + body))


def png(**options: object) -> bytes:
    return images.encoded(SCENE.quantize(32), "PNG", optimize=True, **options)


def png_with(kind: bytes, body: bytes, before: bytes = b"IDAT") -> bytes:
    file = png()
    at = file.index(before) - 4
    return file[:at] + chunk(kind, body) + file[at:]


def webp(**options: object) -> bytes:
    return images.encoded(SCENE, "WEBP", quality=40, **options)


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + bytes(len(data) & 1) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif(frames: int = 1, **options: object) -> bytes:
    shots = [SCENE.rotate(7 * number).quantize(16) for number in range(frames)]
    more = {"save_all": True, "append_images": shots[1:], "duration": 80, "loop": 3} if frames > 1 else {}
    return images.encoded(shots[0], "GIF", **more, **options)


def gif_with(extension: bytes) -> bytes:
    file = gif()
    at = file.index(b"\x2c", 13 + 3 * 16)
    return file[:at] + extension + file[at:]


THUMBNAIL = images.encoded(SCENE.resize((60, 40)), "JPEG")
EXIF = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00" + SECRET
SCAN = jpeg().index(b"\xff\xda")

CARRIERS: dict[str, Callable[[], bytes]] = {
    "JPEG with bytes after its end": lambda: jpeg() + SECRET,
    "JPEG with a second picture after its end": lambda: jpeg() + THUMBNAIL + SECRET,
    "JPEG with EXIF": lambda: after_start(jpeg(), segment(0xE1, EXIF)),
    "JPEG with XMP": lambda: after_start(jpeg(), segment(0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + SECRET)),
    "JPEG with IPTC": lambda: after_start(jpeg(), segment(0xED, b"Photoshop 3.0\x008BIM" + SECRET)),
    "JPEG with MPF": lambda: after_start(jpeg(), segment(0xE2, b"MPF\x00" + SECRET)) + THUMBNAIL,
    "JPEG with a comment": lambda: after_start(jpeg(), segment(0xFE, SECRET)),
    "JPEG with a thumbnail in JFIF": lambda: after_start(jpeg(), segment(0xE0, b"JFXX\x00\x10" + THUMBNAIL + SECRET)),
    "JPEG with JFIF that is too long": lambda: jpeg().replace(
        jpeg()[2:20], segment(0xE0, b"JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00" + SECRET)
    ),
    "JPEG with unknown segments": lambda: after_start(jpeg(), *(segment(0xE0 + n, SECRET) for n in range(3, 14))),
    "JPEG with a segment before its pixels": lambda: jpeg()[:SCAN] + segment(0xEF, SECRET) + jpeg()[SCAN:],
    "progressive JPEG with a comment between scans": lambda: _between_scans(jpeg(progressive=True)),
    "JPEG with codes that nobody decodes": lambda: jpeg()[:-2] + SECRET + b"\xff\xd9",
    "PNG with bytes after its end": lambda: png() + SECRET,
    "PNG with a text": lambda: png_with(b"tEXt", b"Comment\x00" + SECRET),
    "PNG with an unknown chunk": lambda: png_with(b"prVt", SECRET),
    "PNG with EXIF": lambda: png_with(b"eXIf", EXIF[6:]),
    "PNG with a chunk before its end": lambda: png_with(b"tEXt", b"Comment\x00" + SECRET, b"IEND"),
    "PNG with bytes after what is packed": lambda: png_with(b"IDAT", SECRET, b"IEND"),
    "WebP with bytes after its end": lambda: webp() + SECRET,
    "WebP with EXIF": lambda: webp(exif=EXIF),
    "WebP with XMP": lambda: webp(xmp=SECRET),
    "WebP with an unknown chunk": lambda: riff((b"VP8 ", _vp8(webp())), (b"SECR", SECRET)),
    "WebP with bytes after its pixels": lambda: riff((b"VP8 ", _vp8(webp()) + SECRET)),
    "WebP with two pictures": lambda: riff((b"VP8 ", _vp8(webp())), (b"VP8 ", _vp8(webp()) + SECRET)),
    "GIF with bytes after its end": lambda: gif() + SECRET,
    "GIF with a comment": lambda: gif_with(b"\x21\xfe" + bytes((len(SECRET),)) + SECRET + b"\x00"),
    "GIF with plain text": lambda: gif_with(b"\x21\x01" + bytes((len(SECRET),)) + SECRET + b"\x00"),
    "GIF with XMP": lambda: gif_with(b"\x21\xff\x0bXMP DataXMP" + bytes((len(SECRET),)) + SECRET + b"\x00"),
    "GIF with codes that nobody decodes": lambda: gif()[:-2] + bytes((len(SECRET),)) + SECRET + b"\x00;",
    "animated GIF with a comment": lambda: gif(3)[:-1] + b"\x21\xfe\x3c" + (SECRET + bytes(60))[:60] + b"\x00;",
}


def _between_scans(file: bytes) -> bytes:
    at = file.index(b"\xff\xda", file.index(b"\xff\xda") + 2)
    return file[:at] + segment(0xFE, SECRET) + file[at:]


def _vp8(file: bytes) -> bytes:
    return file[20 : 20 + int.from_bytes(file[16:20], "little")]


@pytest.mark.parametrize("name", CARRIERS)
def test_d90_nothing_but_pixels_survives_in_a_file_of_the_originals_own_pixels(name: str) -> None:
    source = CARRIERS[name]()
    assert SECRET[:20] in source
    frames = "all" if "animated" in name else "first"
    result = only(source, replace(KEPT, frames=frames))
    for piece in (SECRET[:20], b"<script>", b"%PDF", b"PK\x03\x04", THUMBNAIL[-40:]):
        assert piece not in result.data
    assert len(result.data) < len(source) or result.quality is not None or result.format == "png"


def clear_webp(**options: object) -> bytes:
    scene = SCENE.convert("RGBA")
    scene.putalpha(Image.radial_gradient("L").resize(scene.size))
    return images.encoded(scene, "WEBP", quality=30, **options)


def with_tail(file: bytes, kind: bytes, tail: bytes) -> bytes:
    """The WebP with more bytes at the end of its first chunk of this kind, in a frame where it has frames."""
    at, body, within = 12, bytearray(file), list[int]()
    while file[at : at + 4] != kind:
        if file[at : at + 4] == b"ANMF":
            within.append(at)
            at += 8 + 16
        else:
            size = int.from_bytes(file[at + 4 : at + 8], "little")
            at += 8 + size + size % 2
    size = int.from_bytes(body[at + 4 : at + 8], "little")
    end = at + 8 + size
    tail += bytes((size + len(tail)) % 2)
    body[end : end + size % 2] = tail
    grown = {at: len(tail)} | dict.fromkeys((*within, 0), len(tail) - size % 2)  # the byte that makes it even is gone
    for outer, by in grown.items():
        body[outer + 4 : outer + 8] = (int.from_bytes(body[outer + 4 : outer + 8], "little") + by).to_bytes(4, "little")
    return bytes(body)


@pytest.mark.parametrize("tail", [b"5", b"52.52N", b"52.52N13.4E"], ids=len)
@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (webp(), b"VP8 "),
        (webp(lossless=True), b"VP8L"),
        (clear_webp(), b"VP8 "),
        (clear_webp(), b"ALPH"),
        (webp(save_all=True, append_images=[SCENE.rotate(90)]), b"VP8 "),
    ],
    ids=["lossy", "lossless", "with alpha", "alpha", "animated"],
)
def test_d90_not_even_a_few_bytes_stay_behind_the_last_code_of_a_webp(source: bytes, kind: bytes, tail: bytes) -> None:
    variant = replace(KEPT, lossless=kind == b"VP8L", frames="all" if b"ANMF" in source else "first")
    told, blank = (only(with_tail(source, kind, end), variant) for end in (tail, bytes(len(tail))))
    assert told.data == blank.data
    assert told.quality is None


@pytest.mark.parametrize(
    "source",
    [
        jpeg(),
        jpeg(progressive=True),
        jpeg(comment=b"x" * 100),
        images.encoded(SCENE.convert("L"), "JPEG", quality=60),
        images.encoded(SCENE, "JPEG", quality=60, restart_marker_rows=1),
        webp(),
        images.encoded(SCENE.quantize(64).convert("RGB"), "WEBP", lossless=True, method=6),
        webp(exif=EXIF, xmp=SECRET, icc_profile=None),
        gif(),
    ],
    ids=["JPEG", "progressive", "comment", "grey", "restarts", "WebP", "lossless WebP", "WebP with EXIF", "GIF"],
)
def test_a_variant_that_would_be_larger_is_the_originals_own_pixels(source: bytes) -> None:
    result = only(source)
    assert (len(result.data) <= len(source), result.quality) == (True, None)
    assert images.opened(result.data).size == SCENE.size
    ours, theirs = (Image.open(images.BytesIO(file)).convert("RGB") for file in (result.data, source))
    assert ImageChops.difference(ours, theirs).getbbox() is None, "no generation is lost"


@pytest.mark.parametrize(
    "same", [{"crop": Crop(0, 0, 1, 1)}, {"gamut": "keep"}, {"progressive": True}], ids=lambda same: str(*same)
)
def test_a_field_that_changes_nothing_costs_no_generation(same: dict[str, Any]) -> None:
    assert only(jpeg(progressive=True), replace(KEPT, **same)).quality is None


def test_an_optimised_png_stays_as_small_as_it_is() -> None:
    result = only(png_with(b"tEXt", b"Comment\x00" + bytes(500)))
    assert len(result.data) == len(png())


@pytest.mark.parametrize("lossless", [False, True])
def test_a_transparent_webp_keeps_its_transparency(lossless: bool) -> None:
    source = clear_webp(lossless=lossless, exif=EXIF)
    result = only(source, replace(KEPT, lossless=lossless))
    assert (len(result.data) < len(source), lossless or result.quality is None) == (True, True)
    ours, theirs = (images.opened(file).convert("RGBA") for file in (result.data, source))
    assert ImageChops.difference(ours, theirs).getbbox(alpha_only=False) is None
    assert SECRET[:20] not in result.data


@pytest.mark.parametrize("frames", [2, 5])
def test_an_animated_gif_stays_as_small_as_it_is(frames: int) -> None:
    source = gif(frames)
    result = only(source, replace(KEPT, frames="all"))
    film, was = (Image.open(images.BytesIO(file)) for file in (result.data, source))
    assert len(result.data) <= len(source)
    assert (film.n_frames, film.info["loop"]) == (frames, 3)  # pyright: ignore[reportAttributeAccessIssue] (a film's)
    for number in range(frames):
        film.seek(number)
        was.seek(number)
        assert ImageChops.difference(film.convert("RGB"), was.convert("RGB")).getbbox() is None
        assert film.info["duration"] == 80


def test_an_animated_webp_stays_as_small_as_it_is() -> None:
    shots = [SCENE.rotate(9 * number) for number in range(3)]
    source = images.encoded(
        shots[0], "WEBP", save_all=True, append_images=shots[1:], duration=90, loop=2, quality=30, exif=EXIF, method=6
    )
    result = only(source, replace(KEPT, frames="all"))
    film = Image.open(images.BytesIO(result.data))
    assert (result.quality, len(result.data) < len(source), SECRET[:20] in result.data) == (None, True, False)
    assert (film.n_frames, film.info["loop"]) == (3, 2)  # pyright: ignore[reportAttributeAccessIssue] (a film's)


SMALLER = Variant("smaller", 200, 200, format="keep", quality=100)


@pytest.mark.parametrize(
    ("source", "variant"),
    [
        (jpeg(), SMALLER),
        (jpeg(), replace(KEPT, grayscale=True)),
        (jpeg(), replace(KEPT, blur=0.5)),
        (jpeg(), replace(KEPT, sharpen=0.5)),
        (jpeg(), replace(KEPT, rotate=180)),
        (jpeg(), replace(KEPT, flip="h")),
        (jpeg(), replace(KEPT, padding=1)),
        (jpeg(), replace(KEPT, width=300, height=300, enlarge=True)),
        (jpeg(), replace(KEPT, width=300, height=300, fit="contain")),
        (jpeg(), replace(KEPT, format="webp")),
        (jpeg(), replace(KEPT, progressive=True)),
        (jpeg(progressive=True), replace(KEPT, progressive=False)),
        (jpeg(exif=images.exif(6)), KEPT),
        (jpeg(exif=images.exif(3)), KEPT),
        (jpeg(icc_profile=images.swapped_primaries_profile()), KEPT),
        (jpeg()[:-300], KEPT),
        (images.encoded(SCENE.convert("CMYK"), "JPEG", quality=40), KEPT),
        (images.encoded(SCENE, "AVIF", quality=30), KEPT),
        (gif(3), KEPT),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else None,
)
def test_what_shows_other_pixels_or_shows_them_otherwise_is_encoded_anew(source: bytes, variant: Variant) -> None:
    result = only(source, variant)
    assert result.quality is not None or result.format == "gif"


def test_a_file_that_was_turned_by_its_metadata_is_upright_without_it() -> None:
    result = only(jpeg(exif=images.exif(6)))
    assert (result.width, result.height) == images.opened(result.data).size == (160, 240)


def test_an_original_that_says_that_it_is_srgb_may_lose_that() -> None:
    result = only(jpeg(icc_profile=SRGB))
    assert (result.quality, b"ICC_PROFILE" in result.data) == (None, False)


@pytest.mark.parametrize("source", [jpeg(exif=images.exif(1)), webp(exif=images.exif(1))], ids=["JPEG", "WebP"])
def test_what_is_safe_stays_with_an_originals_own_pixels_where_it_is_asked_for(source: bytes) -> None:
    image = Image.open(images.BytesIO(source))
    tags = image.getexif()
    tags[0x010F] = "Maker"
    tags[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0)}
    source = images.encoded(SCENE, image.format or "", quality=40, exif=tags.tobytes())
    result = only(source, replace(KEPT, strip=False))
    kept = images.opened(result.data).getexif()
    assert (result.quality, kept.get(0x010F), kept.get_ifd(0x8825)) == (None, "Maker", {})


def test_a_quality_that_makes_it_smaller_than_the_original_is_used() -> None:
    source = images.encoded(SCENE, "JPEG", quality=98)
    result = only(source, replace(KEPT, quality=50))
    assert (result.quality, len(result.data) < len(source)) == (50, True)


@pytest.mark.parametrize("cut", [1, 7, 40, 90])
@pytest.mark.parametrize("source", [jpeg(), png(), webp(), gif()], ids=["JPEG", "PNG", "WebP", "GIF"])
def test_d91_a_file_whose_structure_is_broken_is_encoded_anew_or_refused(source: bytes, cut: int) -> None:
    at = len(source) * cut // 100
    broken = source[:at] + b"\xff\xff\xff\xff" + source[at + 4 :]
    try:
        result = rendered(broken, KEPT)
    except JobError as error:
        assert error.code in {"decode_failed", "unsupported_format", "image_too_large"}  # noqa: PT017
    else:
        assert images.opened(result.renditions[0].data).width == result.original.width
