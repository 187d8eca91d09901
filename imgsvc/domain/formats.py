"""Image formats: magic bytes, media types and file extensions.

A file's format is determined by its first bytes alone; names and declared types are not trusted.
"""

from dataclasses import dataclass
from importlib.util import find_spec

SNIFF_BYTES = 64
"""How many leading bytes `sniff` wants to see; fewer are judged as they are."""


@dataclass(frozen=True, slots=True)
class Format:
    name: str
    media_type: str
    extension: str


JPEG = Format("jpeg", "image/jpeg", "jpeg")
PNG = Format("png", "image/png", "png")
GIF = Format("gif", "image/gif", "gif")
WEBP = Format("webp", "image/webp", "webp")
AVIF = Format("avif", "image/avif", "avif")
TIFF = Format("tiff", "image/tiff", "tiff")
BMP = Format("bmp", "image/bmp", "bmp")
HEIF = Format("heif", "image/heic", "heic")  # phones' photos

JXL = Format("jxl", "image/jxl", "jxl")

HEIF_READER = "pillow_heif"
"""The package that reads HEIF, of the extra `heif`, which `local` and the container image include."""
JXL_CODEC = "pillow_jxl"
"""The package that reads and writes JPEG XL, of the extra `jxl`."""

_NEEDS: dict[str, str] = {HEIF.name: HEIF_READER, JXL.name: JXL_CODEC}

KNOWN: dict[str, Format] = {f.name: f for f in (JPEG, PNG, GIF, WEBP, AVIF, TIFF, BMP, HEIF, JXL)}
"""All that files of this service may be, by name: other processes of it may have packages that this one lacks."""

LACKING: frozenset[str] = frozenset(name for name, package in _NEEDS.items() if find_spec(package) is None)
"""The names of those that can be neither read nor written here."""

FORMATS: dict[str, Format] = {name: fmt for name, fmt in KNOWN.items() if name not in LACKING}
"""What can be read here, by name."""

_PREFIXES: tuple[tuple[bytes, Format], ...] = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
    (b"II+\x00\x08\x00\x00\x00", TIFF),  # BigTIFF
    (b"MM\x00+\x00\x08\x00\x00", TIFF),
    (b"\xff\x0a", JXL),  # bare
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", JXL),  # in boxes
)
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis"}


def sniff(head: bytes) -> Format | None:
    """The format that a file's first bytes announce, or None for everything that is no supported image.

    `head` holds the first SNIFF_BYTES bytes of the file (all of it when it is shorter).
    """
    for prefix, fmt in _PREFIXES:
        if head.startswith(prefix):
            return FORMATS.get(fmt.name)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    # BM alone begins many texts: a real header has zeros in its reserved field
    if head[:2] == b"BM" and len(head) >= 14 and head[6:10] == bytes(4):
        return BMP
    if head[4:8] == b"ftyp":
        brands = _brands(head)
        if not _AVIF_BRANDS.isdisjoint(brands):
            return AVIF
        if not _HEIF_BRANDS.isdisjoint(brands):
            return FORMATS.get(HEIF.name)
    return None


def _brands(head: bytes) -> set[bytes]:
    """Major and compatible brands of an ISO base media file (ISO/IEC 14496-12, 4.3)."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12]} | {head[at : at + 4] for at in range(16, end - 3, 4)}
