"""EXIF blocks: the values of a few tags, read within bounds and written as they were.

A block has the structure of a TIFF file, so that the values of a TIFF are read in the same way. Pillow takes every
entry of a block apart, which takes a quarter of a second where there are 65 535. Here each directory is visited once,
up to a number of entries that no camera reaches, and only values that are wanted and small are copied.
"""

import struct
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from math import isfinite

ORIENTATION = 0x0112
_PHOTO, _PLACE = 0x8769, 0x8825
_MARK = b"Exif\x00\x00"
_ORDERS = {b"II*\x00": "<", b"MM\x00*": ">"}
_MAX_ENTRIES = 4096
MAX_VALUE_BYTES = 2048

_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _SLONG, _SRATIONAL, _FLOAT, _DOUBLE, _IFD = 1, 2, 3, 4, 5, 9, 10, 11, 12, 13
_UTF8 = 129
TEXTS = frozenset({_ASCII, _UTF8})
_NUMBERS = {
    _BYTE: "B",
    _SHORT: "H",
    _LONG: "I",
    _RATIONAL: "II",
    _SLONG: "i",
    _SRATIONAL: "ii",
    _FLOAT: "f",
    _DOUBLE: "d",
}
_SIZES = {kind: struct.calcsize("=" + code) for kind, code in _NUMBERS.items()} | {_ASCII: 1, _UTF8: 1, _IFD: 4}


@dataclass(frozen=True, slots=True)
class Value:
    """A tag's value as it is stored, and its type; one that is neither text nor numbers is never read."""

    kind: int
    raw: bytes

    @property
    def count(self) -> int:
        return len(self.raw) // _SIZES[self.kind]


Directory = Mapping[int, Value]


@dataclass(frozen=True, slots=True)
class Exif:
    """The tags of a block that were wanted: of the image, of how it was taken, and of where."""

    order: str = "<"
    image: Directory = field(default_factory=dict[int, Value])
    photo: Directory = field(default_factory=dict[int, Value])
    place: Directory = field(default_factory=dict[int, Value])

    def numbers(self, value: Value | None) -> tuple[float, ...]:
        """The numbers of `value`; none where it is a text, or one of them is not finite."""
        code = _NUMBERS.get(value.kind) if value else None
        if value is None or code is None:
            return ()
        found = struct.unpack(self.order + code * value.count, value.raw)
        if len(code) == 1:
            return found if all(map(isfinite, found)) else ()
        pairs = list(zip(found[::2], found[1::2], strict=True))
        return tuple(above / below for above, below in pairs) if all(below for _, below in pairs) else ()

    @property
    def orientation(self) -> int:
        """1 to 8; 1 where there is none or it makes no sense."""
        found = self.numbers(self.image.get(ORIENTATION))
        return int(found[0]) if found and found[0] in range(1, 9) else 1


def text(value: Value | None) -> str:
    """The text of `value` up to its first NUL; empty where it is none."""
    if value is None or value.kind not in TEXTS:
        return ""
    return value.raw.partition(b"\x00")[0].decode("utf-8", "ignore")


def read(block: bytes, image: Set[int], photo: Set[int], place: Set[int]) -> Exif:
    """The wanted tags of a block, or of the first page of a TIFF; what makes no sense counts as absent."""
    start = len(_MARK) if block[: len(_MARK)] == _MARK else 0
    order = _ORDERS.get(block[start : start + 4])
    if order is None:
        return Exif()
    reader = _Reader(memoryview(block)[start:], order)
    first = reader.directory(reader.offset(4), image | {ORIENTATION, _PHOTO, _PLACE})
    return Exif(
        order,
        {tag: value for tag, value in first.items() if tag in image or tag == ORIENTATION},
        reader.directory(reader.pointer(first.get(_PHOTO)), photo),
        reader.directory(reader.pointer(first.get(_PLACE)), place),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    view: memoryview
    order: str

    def offset(self, at: int) -> int:
        return struct.unpack_from(self.order + "I", self.view, at)[0] if at + 4 <= len(self.view) else 0

    def pointer(self, value: Value | None) -> int:
        if value is None or value.kind not in {_LONG, _IFD} or len(value.raw) != 4:
            return 0
        return struct.unpack(self.order + "I", value.raw)[0]

    def directory(self, at: int, wanted: Set[int]) -> dict[int, Value]:
        if not 8 <= at <= len(self.view) - 2:
            return {}
        (count,) = struct.unpack_from(self.order + "H", self.view, at)
        count = min(count, _MAX_ENTRIES, (len(self.view) - at - 2) // 12)
        entries = struct.iter_unpack(self.order + "HHI4s", self.view[at + 2 : at + 2 + 12 * count])
        found: dict[int, Value] = {}
        for tag, kind, values, inline in entries:
            if tag in wanted and (raw := self._raw(kind, values, inline)):
                found.setdefault(tag, Value(kind, raw))
        return found

    def _raw(self, kind: int, values: int, inline: bytes) -> bytes:
        size = _SIZES.get(kind, 0) * values
        if size <= len(inline):
            return inline[:size]
        (at,) = struct.unpack(self.order + "I", inline)
        return bytes(self.view[at : at + size]) if size <= MAX_VALUE_BYTES and at + size <= len(self.view) else b""


def written(order: str, image: Directory, photo: Directory, place: Directory) -> bytes:
    """The block of these tags, of values in byte order `order`."""
    block = bytearray(next(head for head, its in _ORDERS.items() if its == order))
    block += struct.pack(order + "I", 8)
    _append(block, order, image, {_PHOTO: photo, _PLACE: place})
    return _MARK + block


def _append(block: bytearray, order: str, tags: Directory, inner: Mapping[int, Directory]) -> None:
    """Adds a directory, and then those that it points to."""
    inner = {pointer: directory for pointer, directory in inner.items() if directory}
    rows = sorted([*tags.items(), *((pointer, Value(_LONG, bytes(4))) for pointer in inner)])
    at = len(block)
    places: dict[int, int] = {}
    block += struct.pack(order + "H", len(rows)) + bytes(12 * len(rows) + 4)
    for index, (tag, value) in enumerate(rows):
        entry = at + 2 + 12 * index
        places[tag] = entry + 8
        struct.pack_into(order + "HHI", block, entry, tag, value.kind, value.count)
        if len(value.raw) <= 4:
            block[entry + 8 : entry + 8 + len(value.raw)] = value.raw
        else:
            struct.pack_into(order + "I", block, entry + 8, len(block))
            block += value.raw + bytes(len(value.raw) % 2)
    for pointer, directory in inner.items():
        struct.pack_into(order + "I", block, places[pointer], len(block))
        _append(block, order, directory, {})
