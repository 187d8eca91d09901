"""ICC profiles, tag by tag (ICC.1:2022): what one of three primaries and their curves says, and how one is written."""

import struct
from collections.abc import Mapping, Sequence

D50 = (0.9642, 1.0, 0.8249)
COLORANTS = (b"rXYZ", b"gXYZ", b"bXYZ")
CURVES = (b"rTRC", b"gTRC", b"bTRC")

_HEAD = 128
_MAX_TAGS = 100
_TABLES = frozenset({b"A2B0", b"A2B1", b"D2B0", b"D2B1"})
_LEVELS = 256
_PARAMETERS = (1, 3, 4, 5, 7)  # of each kind of parametric curve


def assembled(tags: Mapping[bytes, bytes], kind: bytes, to: bytes = b"XYZ ", *, version: int = 2) -> bytes:
    """A profile of these tags and of those that every profile has, without a word of anybody's."""
    words = {b"desc": _name(version), b"cprt": _name(version) if version > 2 else b"text" + bytes(4) + b"none\x00"}
    tags = words | {b"wtpt": xyz(D50)} | dict(tags)
    at = _HEAD + 4 + 12 * len(tags)
    table, bodies, places = struct.pack("!I", len(tags)), b"", dict[bytes, int]()
    for name, body in tags.items():
        if body not in places:
            places[body] = at + len(bodies)
            bodies += body + bytes(-len(body) % 4)
        table += name + struct.pack("!II", places[body], len(body))
    numbers = 0x02400000 if version == 2 else 0x04400000
    head = struct.pack("!I4sI4s4s4s", at + len(bodies), bytes(4), numbers, b"mntr", kind, to)
    head += struct.pack("!6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + struct.pack("!3i", *map(_s15, D50))
    return head + bytes(_HEAD - len(head)) + table + bodies


def xyz(value: Sequence[float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack("!3i", *map(_s15, value))


def curve(levels: Sequence[int]) -> bytes:
    """A curve of 16-bit levels at even steps."""
    return b"curv" + bytes(4) + struct.pack(f"!I{len(levels)}H", len(levels), *levels)


def code_points(profile: bytes) -> tuple[int, int] | None:
    """Primaries and transfer of ITU-T H.273, where a profile says them besides."""
    tag = _tags(profile).get(b"cicp", b"")
    return (tag[8], tag[9]) if len(tag) >= 12 else None


def colorants(profile: bytes) -> list[tuple[float, float, float]] | None:
    """Red, green and blue of a profile of three primaries in XYZ of D50; None for a profile of another kind."""
    tags = _three_primaries(profile)
    if tags is None:
        return None
    found = [struct.unpack_from("!3i", tags[name], 8) for name in COLORANTS]
    return [(x / 65_536, y / 65_536, z / 65_536) for x, y, z in found]


def rebuilt(profile: bytes) -> bytes | None:
    """The same colours in a profile of our own; None for a profile that is no matter of three primaries and curves.

    Its numbers are read and written anew, so that nothing else of it is passed on: texts, dates, makers, private tags.
    Longer curves are kept at the levels of 8 bits.
    """
    tags = _three_primaries(profile)
    if tags is None:
        return None
    made: dict[bytes, bytes] = {name: b"XYZ " + bytes(4) + tags[name][8:20] for name in COLORANTS}
    for name in CURVES:
        written = _curve_of(tags[name])
        if written is None:
            return None
        made[name] = written
    is_parametric = any(made[name].startswith(b"para") for name in CURVES)
    return assembled(made, b"RGB ", version=4 if is_parametric else 2)


def _three_primaries(profile: bytes) -> dict[bytes, bytes] | None:
    """The tags of a profile that is described by three primaries and their curves, and by no table besides."""
    if profile[16:24] != b"RGB XYZ ":
        return None
    tags = _tags(profile)
    if not _TABLES.isdisjoint(tags) or not tags.keys() >= {*COLORANTS, *CURVES}:
        return None
    whole = all(tags[name][:4] == b"XYZ " and len(tags[name]) >= 20 for name in COLORANTS)
    return tags if whole and all(len(tags[name]) >= 12 for name in CURVES) else None


def _tags(profile: bytes) -> dict[bytes, bytes]:
    if len(profile) < _HEAD + 4:
        return {}
    (count,) = struct.unpack_from("!I", profile, _HEAD)
    tags: dict[bytes, bytes] = {}
    for number in range(min(count, _MAX_TAGS)):
        entry = profile[_HEAD + 4 + 12 * number :][:12]
        if len(entry) == 12:
            name, at, size = struct.unpack("!4sII", entry)
            tags[name] = profile[at : at + size]
    return tags


def _curve_of(tag: bytes) -> bytes | None:
    """A tone curve, written anew."""
    if tag[:4] == b"para":
        (kind,) = struct.unpack_from("!H", tag, 8)
        if kind >= len(_PARAMETERS) or len(tag) < 12 + 4 * _PARAMETERS[kind]:
            return None
        return b"para" + bytes(4) + struct.pack("!H2x", kind) + tag[12 : 12 + 4 * _PARAMETERS[kind]]
    (count,) = struct.unpack_from("!I", tag, 8)
    if tag[:4] != b"curv" or len(tag) < 12 + 2 * count:
        return None
    levels = struct.unpack_from(f"!{count}H", tag, 12)
    return curve(levels if count <= _LEVELS else [_between(levels, step / (_LEVELS - 1)) for step in range(_LEVELS)])


def _between(levels: Sequence[int], share: float) -> int:
    at = share * (len(levels) - 1)
    low = min(int(at), len(levels) - 2)
    return round(levels[low] + (at - low) * (levels[low + 1] - levels[low]))


def _name(version: int) -> bytes:
    if version == 2:
        return b"desc" + bytes(4) + struct.pack("!I", 7) + b"imgsvc\x00" + bytes(78)
    text = "imgsvc".encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack("!II2s2sII", 1, 12, b"en", b"US", len(text), 28) + text


def _s15(value: float) -> int:
    return round(value * 65_536)
