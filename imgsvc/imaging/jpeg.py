"""JPEG, segment by segment: what a decoder needs of a file, and where its pixels begin and end."""

import re
import struct
from dataclasses import dataclass

_SCAN, _END = 0xDA, 0xD9
_COMMENT = 0xFE
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})
END = bytes((0xFF, _END))
_MAX_SEGMENTS = 65_536
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # Huffman codes, all at once or scan by scan
_TABLES = frozenset({0xC4, 0xDB, 0xDD})
_MAX_TABLE_BYTES = 32 * 1024  # of honest files: some hundred a scan
_JFIF, _ADOBE = b"JFIF\x00", b"Adobe"
_AFTER_CODES = re.compile(rb"\xff[^\x00\xd0-\xd7]")


@dataclass(frozen=True, slots=True)
class Jpeg:
    """`needed` are the segments before the first scan that a decoder needs; the pixels begin at `scan`."""

    needed: bytes
    scan: int
    scans: int


def parse(data: bytes) -> Jpeg:
    """Reads the segments of a JPEG.

    Raises:
        ValueError: there is no scan.
    """
    needed: list[bytes] = []
    at = 2
    for _ in range(_MAX_SEGMENTS):
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            break
        marker = data[at + 1]
        if marker == 0xFF or marker in _BARE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == _SCAN:
            return Jpeg(b"\xff\xd8" + b"".join(needed), at, data.count(bytes((0xFF, _SCAN)), at))
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker and length >= 2:
            if _is_needed(marker, data[at + 4 : at + 2 + length]):
                needed.append(data[at : at + 2 + length])
            at += 2 + length
        else:
            at += 1
    raise ValueError("no scan")


def repaired(data: bytes) -> bytes:
    """The file without the segments that a decoder can do without, some of which keep others from reading it."""
    jpeg = parse(data)
    return jpeg.needed + data[jpeg.scan :]


def until_its_end(data: bytes) -> bytes:
    """The file up to where its pixels end by its own account, without the mark of that end.

    Where the file ends within a segment between two scans, it is left out.
    """
    scan = parse(data).scan
    end = data.find(END, scan)
    if end >= 0:
        return data[:end]
    last = max(data.rfind(bytes((0xFF, marker)), scan) for marker in (_SCAN, 0xC4, 0xDB, 0xDD))
    length = int.from_bytes(data[last + 2 : last + 4], "big")
    whole = last == scan or last + 4 + length <= len(data)
    return (data if whole else data[:last]).rstrip(b"\xff")  # half a mark


def _is_needed(marker: int, body: bytes) -> bool:
    match marker:
        case 0xE1:
            return body.startswith(b"Exif\x00\x00")
        case 0xE2:
            return body.startswith(b"ICC_PROFILE\x00") and len(body) > 14
        case 0xEE:
            return body.startswith(b"Adobe") and len(body) >= 12
        case _:
            return 0xC0 <= marker <= 0xCF or marker in {0xDB, 0xDD}


def bare(data: bytes, exif: bytes | None = None) -> bytes:
    """The file of the very same codes, with what it takes to decode them and nothing else but `exif`.

    Raises:
        ValueError: it does not end where it should, or has what is not of a plain JPEG.
    """
    kept: list[bytes] = []
    colours, table_bytes, at = b"", 0, 2
    for _ in range(_MAX_SEGMENTS):
        while data[at + 1 : at + 2] == b"\xff":
            at += 1
        if data[at : at + 2] == END:
            return b"".join((b"\xff\xd8", colours, _exif_segment(exif), *kept, END))
        marker, body = _segment(data, at)
        end = at + 4 + len(body)
        if marker == _SCAN:
            end = _end_of_codes(data, end)
        if marker in _FRAMES or marker in _TABLES or marker == _SCAN:
            kept.append(data[at:end])
            table_bytes += len(body)
        elif 0xE0 <= marker <= 0xEF:
            colours = _colour_segment(marker, body) or colours
        elif marker != _COMMENT:
            raise ValueError("not a plain JPEG")
        if table_bytes > _MAX_TABLE_BYTES:
            break
        at = end
    raise ValueError("more tables than make sense")


def _end_of_codes(data: bytes, at: int) -> int:
    found = _AFTER_CODES.search(data, at)
    if found is None:
        raise ValueError("no end")
    return found.start()


def without_tail(file: bytes, size: int) -> bytes:
    """A file of `bare` that lacks the last `size` bytes of its codes."""
    return file[: -len(END) - size].rstrip(b"\xff") + END


def _segment(data: bytes, at: int) -> tuple[int, bytes]:
    if at + 4 > len(data) or data[at] != 0xFF:
        raise ValueError("no segment")
    length = int.from_bytes(data[at + 2 : at + 4], "big")
    if length < 2 or at + 2 + length > len(data):
        raise ValueError("no whole segment")
    return data[at + 1], data[at + 4 : at + 2 + length]


def _colour_segment(marker: int, body: bytes) -> bytes:
    """What a segment says of how colours are coded, without the thumbnail and the density that come with it."""
    if marker == 0xEE and body.startswith(_ADOBE) and len(body) >= 12:
        return b"\xff\xee" + struct.pack("!H5sHHHB", 14, _ADOBE, 100, 0, 0, body[11])
    if marker == 0xE0 and body.startswith(_JFIF):
        return b"\xff\xe0" + struct.pack("!H5sHBHHBB", 16, _JFIF, 0x0101, 0, 1, 1, 0, 0)
    return b""


def _exif_segment(exif: bytes | None) -> bytes:
    return b"\xff\xe1" + struct.pack("!H", len(exif) + 2) + exif if exif else b""
