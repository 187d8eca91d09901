"""ICC profiles, built byte by byte (ICC.1:2010), so that a test knows what colours they mean."""

import struct
from collections.abc import Mapping, Sequence

XYZ = tuple[float, float, float]

# the primaries' colorants, adapted to D50
SRGB: Sequence[XYZ] = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
DISPLAY_P3: Sequence[XYZ] = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE_RGB: Sequence[XYZ] = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
_D50: XYZ = (0.9642, 1.0, 0.8249)


def rgb(colorants: Sequence[XYZ], gamma: float) -> bytes:
    """A matrix profile: three primaries and one gamma."""
    tags = {b"wtpt": _xyz(_D50)}
    for channel, colorant in zip((b"r", b"g", b"b"), colorants, strict=True):
        tags[channel + b"XYZ"] = _xyz(colorant)
        tags[channel + b"TRC"] = _gamma(gamma)
    return _profile(b"RGB ", b"XYZ ", b"mntr", tags)


def grey(gamma: float) -> bytes:
    return _profile(b"GRAY", b"XYZ ", b"mntr", {b"wtpt": _xyz(_D50), b"kTRC": _gamma(gamma)})


def cmyk(lab_of_ink: Mapping[tuple[int, int, int, int], tuple[int, int, int]], paper: tuple[int, int, int]) -> bytes:
    """A table profile of 16 corners: `lab_of_ink` tells 8-bit Lab for some (ink 0 or 1), `paper` that of others."""
    corners = [(c, m, y, k) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    table = b"".join(bytes(lab_of_ink.get(corner, paper)) for corner in corners)
    identity = struct.pack("!9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    line = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + 4 * line + table + 3 * line
    return _profile(b"CMYK", b"Lab ", b"prtr", {b"wtpt": _xyz(_D50), b"A2B0": lut})


def padded(profile: bytes, size: int) -> bytes:
    """The same profile with so much more in it that it has `size` bytes."""
    return struct.pack("!I", size) + profile[4:] + bytes(size - len(profile))


def _xyz(value: XYZ) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(_fixed(part) for part in value)


def _gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack("!IH", 1, round(value * 256)) + bytes(2)


def _fixed(value: float) -> bytes:
    return struct.pack("!i", round(value * 65536))


def _profile(space: bytes, connection: bytes, kind: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    text = "a test's own".encode("utf-16-be")
    described = b"mluc" + bytes(4) + struct.pack("!II2s2sII", 1, 12, b"en", b"US", len(text), 28) + text
    body, table = b"", b""
    start = 128 + 4 + 12 * (len(tags) + 1)
    for name, data in ({b"desc": described} | dict(tags)).items():
        table += name + struct.pack("!II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = start + len(body)
    head = struct.pack("!I4sI4s4s4s", size, b"none", 0x04200000, kind, space, connection)
    head += bytes(12) + b"acsp" + bytes(28) + b"".join(_fixed(part) for part in _D50)
    return head + bytes(128 - len(head)) + struct.pack("!I", len(tags) + 1) + table + body
