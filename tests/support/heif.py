"""HEIF files, box by box (ISO/IEC 23008-12): several items, grids, auxiliary images, and what no encoder writes."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from PIL import Image

from tests.support import images


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack("!I4s", 8 + len(body), kind) + body


def full(kind: bytes, body: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack("!I", version << 24 | flags) + body)


def size(width: int, height: int) -> bytes:
    return full(b"ispe", struct.pack("!II", width, height))


def code_points(primaries: int, transfer: int, matrix: int = 1) -> bytes:
    return box(b"colr", b"nclx" + struct.pack("!HHHB", primaries, transfer, matrix, 0x80))


def auxiliary(kind: str) -> bytes:
    return full(b"auxC", kind.encode() + b"\x00")


@dataclass(frozen=True)
class Item:
    """A picture or what one is made of; `refs` are other items by the kind of reference, from 1 on."""

    kind: bytes
    data: bytes
    properties: Sequence[bytes]
    refs: Mapping[bytes, Sequence[int]] = field(default_factory=dict)
    hidden: bool = False


def coded(image: Image.Image, *more: bytes, hidden: bool = False, **refs: Sequence[int]) -> Item:
    """A picture by x265, with the properties that it needs, and more."""
    data = images.encoded(image, "HEIF", quality=90, chroma=444)
    start = data.index(b"hvcC") - 4
    config = data[start : start + int.from_bytes(data[start : start + 4], "big")]
    pixels = data.index(b"mdat") + 4
    kinds = {kind.encode(): ids for kind, ids in refs.items()}
    return Item(b"hvc1", data[pixels:], (config, size(*image.size), *more), kinds, hidden)


def grid(columns: int, rows: int, width: int, height: int, tiles: Sequence[int], *more: bytes) -> Item:
    """A picture put together of tiles; `width` and `height` are what it says that they come to."""
    data = struct.pack("!BBBBII", 0, 1, rows - 1, columns - 1, width, height)
    return Item(b"grid", data, (size(width, height), *more), {b"dimg": tiles})


def heif(*items: Item, primary: int = 1, groups: bytes = b"") -> bytes:
    """The file of items, numbered from 1 on."""
    properties = list(dict.fromkeys(each for item in items for each in item.properties))
    links = b"".join(
        struct.pack("!HB", number, len(item.properties))
        + b"".join(struct.pack("!H", properties.index(each) + 1) for each in item.properties)
        for number, item in enumerate(items, 1)
    )
    entries = b"".join(
        full(b"infe", struct.pack("!HH4s", number, 0, item.kind) + b"\x00", version=2, flags=int(item.hidden))
        for number, item in enumerate(items, 1)
    )
    refs = b"".join(
        box(kind, struct.pack(f"!HH{len(ids)}H", number, len(ids), *ids))
        for number, item in enumerate(items, 1)
        for kind, ids in item.refs.items()
    )

    def meta(at: int) -> bytes:
        places = b""
        for number, item in enumerate(items, 1):
            places += struct.pack("!HHHII", number, 0, 1, at, len(item.data))
            at += len(item.data)
        return full(
            b"meta",
            full(b"hdlr", bytes(4) + b"pict" + bytes(13))
            + full(b"pitm", struct.pack("!H", primary))
            + full(b"iinf", struct.pack("!H", len(items)) + entries)
            + (full(b"iref", refs) if refs else b"")
            + box(
                b"iprp",
                box(b"ipco", b"".join(properties)) + full(b"ipma", struct.pack("!I", len(items)) + links, flags=1),
            )
            + full(b"iloc", struct.pack("!HH", 0x4400, len(items)) + places)
            + groups,
        )

    head = box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", b"".join(item.data for item in items))
