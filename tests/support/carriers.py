"""Images with a secret in each place where a file of their format can carry one."""

import struct
import zlib
from collections.abc import Callable

from PIL import ExifTags

from tests.support import images
from tests.support.exif import PHOTO, PLACE, Tags, appended, block, fractions, text
from tests.support.images import png_chunk
from tests.support.odd_images import apng, gif, gif_frame, segment

SECRET = b"SECRET"
SECRETS = 8 * SECRET
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/' exif:GPSLatitude='SECRET'><a:City>SECRET</a:City></x:xmpmeta>"
IPTC = b"Photoshop 3.0\x008BIM\x04\x04\x00\x00\x00\x00\x00\x0b\x1c\x02\x5a\x00\x06SECRET\x00"
LATITUDE = fractions((35, 1), (39, 1), (3096, 100))
LONGITUDE = fractions((139, 1), (44, 1), (4344, 100))
PLACED: Tags = {1: text("N"), 2: LATITUDE, 3: text("E"), 4: LONGITUDE, 0x1D: text("SECRET")}
_SPECIAL = {PHOTO, PLACE, 0xA005, 0x014A, 0x0112}  # pointers, and the orientation
_SIZE = (64, 48)


def every_tag() -> bytes:
    """An EXIF block that has every known tag in every directory, each with a secret of its own; and a thumbnail."""
    known = {tag.value for tag in ExifTags.Base} - _SPECIAL
    interop, maker = {0xA005: (7, b"SECRET")}, {0x927C: (7, b"SECRET maker's note")}
    return block(
        {tag: text(f"SECRETi{tag:04x}") for tag in known | {0xC4A5, 0xFDE8}},
        {tag: text(f"SECRETp{tag:04x}") for tag in known} | interop | maker,
        {tag.value: text(f"SECRETg{tag.value:04x}") for tag in ExifTags.GPS},
        {0x0201: (7, images.encoded(_picture(), "JPEG", comment=b"SECRET"))},
    )


def _picture(fmt: str | None = None) -> "images.Image.Image":
    return images.scene().resize(_SIZE).convert(fmt or "RGB")


def _profile() -> bytes:
    words = "swapped RGB!!".encode("utf-16-be")
    return images.swapped_primaries_profile().replace(words, "SECRET RGB!!!".encode("utf-16-be"))


def _made(fmt: str, **options: object) -> bytes:
    return images.encoded(_picture(), fmt, **options)


def _jpeg(*segments: bytes) -> bytes:
    whole = _made("JPEG")
    return whole[:2] + b"".join(segments) + whole[2:]


def _extended_xmp() -> bytes:
    head = b"http://ns.adobe.com/xmp/extension/\x00" + b"0123456789ABCDEF" * 2
    return segment(0xE1, head + struct.pack("!II", len(XMP), 0) + XMP)


def _second_jpeg() -> bytes:
    whole = images.two_pictures()
    at = whole.rindex(b"\xff\xd8\xff")
    return whole[: at + 2] + segment(0xFE, SECRET) + segment(0xE1, block(place=PLACED)) + whole[at + 2 :]


def _png(*chunks: tuple[bytes, bytes], late: bool = False) -> bytes:
    whole = _made("PNG")
    at = len(whole) - 12 if late else 33
    return whole[:at] + b"".join(png_chunk(*chunk) for chunk in chunks) + whole[at:]


def _raw_profile() -> bytes:
    """An EXIF block as ImageMagick writes it into a text."""
    exif = block(place=PLACED)
    return b"Raw profile type exif\x00\x00" + zlib.compress(b"\nexif\n%8d\n" % len(exif) + exif.hex().encode() + b"\n")


def _webp(*chunks: tuple[bytes, bytes]) -> bytes:
    whole = _made("WEBP", exif=block({0x0112: (3, b"\x01\x00")}))
    for kind, body in chunks:
        whole += kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]


def _blocks(data: bytes) -> bytes:
    pieces = (data[at : at + 255] for at in range(0, len(data), 255))
    return b"".join(bytes((len(piece),)) + piece for piece in pieces) + b"\x00"


def _gif(*extensions: bytes, frames: int = 1) -> bytes:
    shown = [gif_frame((0, 0, 40, 30), number) for number in range(frames)]
    return gif((40, 30), *extensions, shown[0], *extensions, *shown[1:], *extensions)


def _bmp_with_a_gap() -> bytes:
    whole = _made("BMP")
    (pixels,) = struct.unpack_from("<I", whole, 10)
    return whole[:10] + struct.pack("<I", pixels + len(SECRET)) + whole[14:pixels] + SECRET + whole[pixels:]


def _animated(fmt: str, **options: object) -> bytes:
    pictures = [images.plain(colour, size=_SIZE) for colour in ("red", "green", "blue")]
    return images.encoded(pictures[0], fmt, save_all=True, append_images=pictures[1:], duration=50, **options)


def _apng() -> bytes:
    whole = apng([((0, 0, 40, 30), (255, 0, 0, 255), 0, 0), ((0, 0, 40, 30), (0, 0, 255, 255), 0, 0)])
    secrets = b"".join(png_chunk(kind, b"a\x00" + SECRET) for kind in (b"tEXt", b"prVt"))
    return whole[:33] + secrets + png_chunk(b"eXIf", every_tag()[6:]) + whole[33:-12] + secrets + whole[-12:]


def _between_scans() -> bytes:
    whole = _made("JPEG", progressive=True)
    at = whole.rindex(b"\xff\xda")
    return whole[:at] + segment(0xFE, SECRET) + segment(0xE1, block(place=PLACED)) + whole[at:]


def _png_behind_pixels() -> bytes:
    whole = _made("PNG")
    (length,) = struct.unpack_from("!I", whole, 33)
    return whole[:33] + png_chunk(b"IDAT", whole[41 : 41 + length] + SECRETS) + whole[45 + length :]


def _webp_behind_pixels() -> bytes:
    whole = _made("WEBP") + SECRETS
    (length,) = struct.unpack_from("<I", whole, 16)
    head = whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:16]
    return head + struct.pack("<I", length + len(SECRETS)) + whole[20:]


CARRIERS: dict[str, Callable[[], bytes]] = {
    "JPEG: XMP": lambda: _jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + XMP), _extended_xmp()),
    "JPEG: IPTC": lambda: _jpeg(segment(0xED, IPTC)),
    "JPEG: comments": lambda: _jpeg(segment(0xFE, SECRET), segment(0xFE, SECRET)),
    "JPEG: segments of applications": lambda: _jpeg(*(segment(marker, b"SECRET\x00") for marker in range(0xE0, 0xF0))),
    "JPEG: profile": lambda: _made("JPEG", icc_profile=_profile()),
    "JPEG: thumbnail": lambda: _jpeg(segment(0xE0, b"JFXX\x00\x10" + _made("JPEG", comment=SECRET))),
    "JPEG: second picture": _second_jpeg,
    "JPEG: behind its end": lambda: _made("JPEG") + SECRET,
    "JPEG: between scans": _between_scans,
    "JPEG: position": lambda: _jpeg(segment(0xE1, block(place=PLACED))),
    "PNG: texts": lambda: _png(
        *((b"tEXt", b"Comment\x00SECRET"), (b"zTXt", b"Author\x00\x00" + zlib.compress(SECRET))),
        *((b"iTXt", b"Title\x00\x00\x00en\x00SECRET\x00SECRET"), (b"tIME", b"SECRET\x00")),
        (b"iTXt", b"Title\x00\x01\x00\x00\x00" + zlib.compress(SECRET)),
    ),
    "PNG: XMP": lambda: _png((b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + XMP)),
    "PNG: texts of profiles": lambda: _png((b"zTXt", _raw_profile())),
    "PNG: late chunks": lambda: _png((b"tEXt", b"Comment\x00SECRET"), (b"eXIf", block(place=PLACED)[6:]), late=True),
    "PNG: private chunks": lambda: _png((b"prVt", SECRET), (b"sPLT", b"SECRET\x00\x08"), (b"hIST", SECRET)),
    "PNG: profile": lambda: _png((b"iCCP", b"SECRET\x00\x00" + zlib.compress(_profile()))),
    "PNG: behind its pixels": _png_behind_pixels,
    "PNG: behind its end": lambda: _made("PNG") + SECRET,
    "WebP: XMP and profile": lambda: _made("WEBP", xmp=XMP, icc_profile=_profile()),
    "WebP: private chunks": lambda: _webp((b"SECR", SECRET), (b"XMP ", XMP)),
    "WebP: behind its pixels": _webp_behind_pixels,
    "WebP: behind its end": lambda: _made("WEBP") + SECRET,
    "AVIF: XMP and profile": lambda: _made("AVIF", xmp=XMP, icc_profile=_profile()),
    "AVIF: private box": lambda: _made("AVIF") + struct.pack("!I4s", 30, b"uuid") + b"0123456789abcdef" + SECRET,
    "HEIF: XMP and profile": lambda: _made("HEIF", xmp=XMP, icc_profile=_profile()),
    "JPEG XL: XMP and profile": lambda: _made("JXL", xmp=XMP, icc_profile=_profile()),
    "JPEG XL: private box": lambda: _made("JXL", xmp=XMP) + struct.pack("!I4s", 14, b"prVt") + SECRET,
    "TIFF: tags": lambda: appended(
        *(_made("TIFF"), {700: (1, XMP), 33_723: (7, IPTC), 34_377: (7, IPTC), 65_000: text("SECRET")}),
        *({0x927C: (7, SECRET)}, PLACED),
    ),
    "TIFF: profile": lambda: appended(_made("TIFF"), {34_675: (7, _profile())}),
    "TIFF: second page": lambda: appended(_made("TIFF"), {}, after={0x0110: text("SECRET"), 700: (1, XMP)}),
    "TIFF: unused bytes": lambda: _made("TIFF") + SECRET,
    "GIF: comments": lambda: _gif(b"!\xfe" + _blocks(SECRET)),
    "GIF: XMP": lambda: _gif(b"!\xff\x0bXMP DataXMP" + XMP + b"\x01" + bytes(range(255, -1, -1)) + b"\x00"),
    "GIF: applications and text": lambda: _gif(
        b"!\xff\x0bSECRETAPP01" + _blocks(SECRET), b"!\x01\x0c" + bytes(12) + _blocks(SECRET)
    ),
    "GIF: behind its pixels": lambda: gif((40, 30), gif_frame((0, 0, 40, 30), 1)[:-1] + _blocks(SECRETS)),
    "GIF: behind its end": lambda: _gif() + SECRET,
    "BMP: gap": _bmp_with_a_gap,
    "BMP: behind its end": lambda: _made("BMP") + SECRET,
    "APNG": _apng,
    "animated GIF": lambda: _gif(b"!\xfe" + _blocks(SECRET), b"!\xff\x0bSECRETAPP01" + _blocks(SECRET), frames=3),
    "animated WebP": lambda: _animated("WEBP", exif=every_tag(), xmp=XMP, icc_profile=_profile()),
    "animated AVIF": lambda: _animated("AVIF", exif=every_tag(), xmp=XMP, icc_profile=_profile()),
}
"""Where the secret is: the image. What is in an EXIF block as a text of its own ends in the letter of its directory and
the number of its tag.
"""

TAGGED: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: _jpeg(segment(0xE1, every_tag())),
    "PNG": lambda: _png((b"eXIf", every_tag()[6:])),
    "WebP": lambda: _made("WEBP", exif=every_tag()),
    "AVIF": lambda: _made("AVIF", exif=every_tag()),
    "HEIF": lambda: _made("HEIF", exif=every_tag()),
    "JPEG XL": lambda: _made("JXL", exif=every_tag()),
}
"""Images that carry `every_tag`."""
