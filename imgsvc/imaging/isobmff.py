"""The boxes of AVIF and HEIF (ISO/IEC 14496-12, 23008-12) that decoders leave to others: colour and clean aperture."""

import struct
from collections.abc import Generator
from dataclasses import dataclass

_MAX_BOXES = 4096
_FULL = 4  # bytes of version and flags
_HOLDERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"iprp"})
_VISUAL_ENTRY_BYTES = 78


@dataclass(frozen=True, slots=True)
class Facts:
    """The properties of a file's picture, as far as they are given."""

    code_points: tuple[int, int] | None = None
    aperture: tuple[int, int, int, int] | None = None
    """Left, top, right and bottom of what is to be shown, before it is turned."""


def facts(data: bytes) -> Facts:
    """Reads the properties of a file's picture; what makes no sense counts as not given."""
    try:
        return _facts(memoryview(data))
    except (struct.error, ValueError, IndexError, ZeroDivisionError):
        return Facts()


def _facts(view: memoryview) -> Facts:
    meta = next((body for kind, body in boxes(view) if kind == b"meta"), None)
    properties = _of_item(meta[_FULL:]) if meta is not None else []
    if not properties:
        properties = _of_track(view)
    size = next((struct.unpack_from("!II", body, _FULL) for kind, body in properties if kind == b"ispe"), None)
    points, aperture = None, None
    for kind, body in properties:
        if kind == b"colr" and bytes(body[:4]) == b"nclx":
            first, second = struct.unpack_from("!HH", body, 4)
            points = (first, second)
        elif kind == b"clap" and size is not None:
            aperture = _aperture(body, size)
    return Facts(points, aperture)


def boxes(view: memoryview) -> Generator[tuple[bytes, memoryview]]:
    """The boxes of a file, or those in a box: what kind each is, and what is in it."""
    at = 0
    for _ in range(_MAX_BOXES):
        if at + 8 > len(view):
            return
        size, kind = struct.unpack_from("!I4s", view, at)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from("!Q", view, at + 8)
            head = 16
        elif size == 0:
            size = len(view) - at
        if size < head:
            return
        yield kind, view[at + head : at + size]
        at += size


def _of_item(meta: memoryview) -> list[tuple[bytes, memoryview]]:
    """The properties of the primary item."""
    found = dict(boxes(meta))
    if b"pitm" not in found or b"iprp" not in found:
        return []
    pitm = found[b"pitm"]
    primary = int.from_bytes(pitm[4:6] if pitm[0] == 0 else pitm[4:8], "big")
    inner = list(boxes(found[b"iprp"]))
    every = [prop for kind, body in inner if kind == b"ipco" for prop in boxes(body)]
    own: list[tuple[bytes, memoryview]] = []
    for kind, body in inner:
        if kind == b"ipma":
            own += [every[index - 1] for index in _associated(body, primary) if 0 < index <= len(every)]
    return own


def _associated(body: memoryview, item: int) -> list[int]:
    """Which properties (from 1) an `ipma` box gives to an item."""
    version, wide = body[0], body[3] & 1
    (entries,) = struct.unpack_from("!I", body, _FULL)
    at, name = 8, ("!H" if version < 1 else "!I")
    for _ in range(min(entries, _MAX_BOXES)):
        (this,) = struct.unpack_from(name, body, at)
        at += struct.calcsize(name)
        count = body[at]
        at += 1
        if this == item:
            raw = [
                int.from_bytes(body[at + i : at + i + 1 + wide], "big") for i in range(0, count * (1 + wide), 1 + wide)
            ]
            return [value & (0x7FFF if wide else 0x7F) for value in raw]
        at += count * (1 + wide)
    return []


def _of_track(view: memoryview) -> list[tuple[bytes, memoryview]]:
    """The properties of the first picture track's sample entry, as those of an item."""
    for kind, entry in _sample_entries(view, depth=0):
        if kind == b"av01" and len(entry) > _VISUAL_ENTRY_BYTES:
            width, height = struct.unpack_from("!HH", entry, 24)
            size = memoryview(struct.pack("!III", 0, width, height))
            return [(b"ispe", size), *boxes(entry[_VISUAL_ENTRY_BYTES:])]
    return []


def _sample_entries(view: memoryview, depth: int) -> Generator[tuple[bytes, memoryview]]:
    for kind, body in boxes(view):
        if kind in _HOLDERS and depth < len(_HOLDERS):
            yield from _sample_entries(body, depth + 1)
        elif kind == b"stsd":
            yield from boxes(body[8:])


def _aperture(body: memoryview, size: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """The box that a `clap` property leaves of a picture; None where it is beyond the picture."""
    numbers = struct.unpack_from("!IIIIiIiI", body)
    width, height = numbers[0] / numbers[1], numbers[2] / numbers[3]
    left = numbers[4] / numbers[5] + (size[0] - width) / 2
    top = numbers[6] / numbers[7] + (size[1] - height) / 2
    box = round(left), round(top), round(left + width), round(top + height)
    if box[0] < 0 or box[1] < 0 or box[2] > size[0] or box[3] > size[1] or box[0] >= box[2] or box[1] >= box[3]:
        return None
    return box if box != (0, 0, *size) else None
