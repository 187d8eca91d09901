"""EXIF blocks made byte by byte, also such as no library would write."""

import struct
from collections.abc import Mapping, Sequence

Tag = tuple[int, bytes]
"""The type of a value, and its bytes, little-endian."""
Tags = Mapping[int, Tag]

PHOTO, PLACE = 0x8769, 0x8825
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8, 11: 4, 12: 8}
_HEAD = b"II*\x00"
MARK = b"Exif\x00\x00"


def text(words: str | bytes) -> Tag:
    return 2, (words.encode() if isinstance(words, str) else words) + b"\x00"


def shorts(*values: int) -> Tag:
    return 3, struct.pack(f"<{len(values)}H", *values)


def fractions(*pairs: tuple[int, int]) -> Tag:
    return 5, b"".join(struct.pack("<II", *pair) for pair in pairs)


def doubles(*values: float) -> Tag:
    return 12, struct.pack(f"<{len(values)}d", *values)


def appended(
    data: bytes, image: Tags, photo: Tags | None = None, place: Tags | None = None, after: Tags | None = None
) -> bytes:
    """A TIFF, or the head of one, with these tags besides those of its first page; `after` are its second page's."""
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first) if first else (0,)
    own = [data[at : at + 12] for at in range(first + 2, first + 2 + 12 * count, 12)]
    tags = dict(image)
    for pointer, inner in ((PHOTO, photo), (PLACE, place)):
        if inner is not None:
            data, at = with_directory(data, inner)
            tags[pointer] = 4, struct.pack("<I", at)
    following = 0
    if after is not None:
        data, following = with_directory(data, after, own)
    data, at = with_directory(data, tags, own, following)
    return data[:4] + struct.pack("<I", at) + data[8:]


def with_directory(data: bytes, tags: Tags, entries: Sequence[bytes] = (), after: int = 0) -> tuple[bytes, int]:
    """`data` with a directory behind it, and where that is; `after` is where the next one is."""
    data += bytes(len(data) % 2)
    rows = list(entries)
    for tag, (kind, raw) in tags.items():
        inline = raw
        if len(raw) > 4:
            inline = struct.pack("<I", len(data))
            data += raw + bytes(len(raw) % 2)
        rows.append(struct.pack("<HHI", tag, kind, len(raw) // _SIZES[kind]) + inline.ljust(4, b"\x00"))
    rows.sort(key=lambda row: struct.unpack_from("<H", row)[0])
    return data + struct.pack("<H", len(rows)) + b"".join(rows) + struct.pack("<I", after), len(data)


def block(
    image: Tags | None = None, photo: Tags | None = None, place: Tags | None = None, after: Tags | None = None
) -> bytes:
    """An EXIF block as images hold it; `after` are the tags of its thumbnail."""
    return MARK + appended(_HEAD + bytes(4), image or {}, photo, place, after)
