"""JPEG, segment by segment: what a decoder needs of a file, and where its pixels begin and end."""

from dataclasses import dataclass

_SCAN, _END = 0xDA, 0xD9
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})
END = bytes((0xFF, _END))
_MAX_SEGMENTS = 65_536


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
