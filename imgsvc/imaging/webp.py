"""WebP, chunk by chunk: what its header hides from the decoder, and what a decoder needs of a file."""

import struct
from collections.abc import Callable, Generator
from functools import partial

_ANIMATION, _EXIF, _ALPHA = 0x02, 0x08, 0x10
_PIXELS = frozenset({b"VP8 ", b"VP8L"})
_HEAD = struct.Struct("<4sI")
_HEADER_BYTES, _ANIMATION_BYTES, _FRAME_BYTES = 10, 6, 16
_MAX_CHUNKS = 65_536


def with_clear_canvas(data: bytes) -> bytes:
    """The file of an animation, marked as transparent: its frames may leave parts of the canvas alone.

    Decoders paint those black where the header declares no transparency; browsers leave them clear.
    """
    if data[12:16] != b"VP8X" or len(data) < 30 or not data[20] & _ANIMATION or data[20] & _ALPHA:
        return data
    return data[:20] + bytes((data[20] | _ALPHA,)) + data[21:]


def bare(data: bytes, exif: bytes | None = None) -> bytes:
    """The file of the very same pixels, with what it takes to decode them and nothing else but `exif`.

    Raises:
        ValueError: it is not a whole WebP, or no decoder is sure to read it.
    """
    chunks = list(_chunks(memoryview(data)[12 : 8 + int.from_bytes(data[4:8], "little")]))
    if not chunks:
        raise ValueError("no chunk")
    header, rest = None, chunks
    if chunks[0][0] == b"VP8X":
        header, rest = bytes(chunks[0][1]), chunks[1:]
        if len(header) != _HEADER_BYTES:
            raise ValueError("no header")
    if header is not None and header[0] & _ANIMATION:
        kept = [_animation_chunk(rest), *(_frame(body) for kind, body in rest if kind == b"ANMF")]
    else:
        kept = _still(rest)
    if header is None and not exif:
        return _file(kept)
    flags = header[0] & (_ANIMATION | _ALPHA) if header else _ALPHA if _has_alpha(*rest[0]) else 0
    canvas = header[4:] if header else _canvas(*rest[0])
    head = _chunk(b"VP8X", bytes((flags | (_EXIF if exif else 0), 0, 0, 0)) + canvas)
    tags = [_chunk(b"EXIF", exif.removeprefix(b"Exif\x00\x00"))] if exif else []
    return _file([head, *kept, *tags])


def pictures(file: bytearray) -> Generator[tuple[memoryview, Callable[[int], bytes]]]:
    """Each coded picture of a file of `bare` (alpha is one of its own): its bytes, in place, and what makes a file of
    its own of it, without its last bytes.
    """
    chunks = list(_chunks(memoryview(file)[12:]))
    frames = [list(_chunks(body[_FRAME_BYTES:])) for kind, body in chunks if kind == b"ANMF"]
    for parts in frames or [[(kind, body) for kind, body in chunks if kind in _PIXELS | {b"ALPH"}]]:
        for number, (_, body) in enumerate(parts):
            yield body, partial(_alone, parts, number)


def _alone(parts: list[tuple[bytes, memoryview]], number: int, less: int) -> bytes:
    """The file of one picture, of which a part lacks its last bytes."""
    flags = _ALPHA if len(parts) > 1 else 0
    head = [_chunk(b"VP8X", bytes((flags, 0, 0, 0)) + _canvas(*parts[-1]))] if flags else []
    return _file(
        head
        + [_chunk(kind, body[: len(body) - (less if number == at else 0)]) for at, (kind, body) in enumerate(parts)]
    )


def _chunks(view: memoryview) -> Generator[tuple[bytes, memoryview]]:
    at = 0
    for _ in range(_MAX_CHUNKS):
        if at == len(view):
            return
        if at + _HEAD.size > len(view):
            break
        kind, size = _HEAD.unpack_from(view, at)
        at += _HEAD.size
        if at + size > len(view):
            break
        yield kind, view[at : at + size]
        at = min(len(view), at + size + (size & 1))  # some leave out the last byte, which is there to make it even
    raise ValueError("no whole chunks")


def _still(chunks: list[tuple[bytes, memoryview]]) -> list[bytes]:
    """The chunks of one picture: its alpha where that is apart, and its pixels."""
    kept: list[bytes] = []
    for kind, body in chunks:
        if kind == b"ALPH" and not kept:
            kept.append(_chunk(kind, body))
        elif kind in _PIXELS:
            return [*kept, _chunk(kind, body)] if kind == b"VP8 " else [_chunk(kind, body)]
    raise ValueError("no pixels")


def _frame(body: memoryview) -> bytes:
    if len(body) < _FRAME_BYTES:
        raise ValueError("no whole frame")
    place = bytes(body[: _FRAME_BYTES - 1]) + bytes((body[_FRAME_BYTES - 1] & 3,))
    return _chunk(b"ANMF", place + b"".join(_still(list(_chunks(body[_FRAME_BYTES:])))))


def _animation_chunk(chunks: list[tuple[bytes, memoryview]]) -> bytes:
    for kind, body in chunks:
        if kind == b"ANIM" and len(body) == _ANIMATION_BYTES:
            return _chunk(kind, body)
    raise ValueError("no animation")


def _canvas(kind: bytes, body: memoryview) -> bytes:
    """The size of a coded picture as a header has it."""
    if kind == b"VP8L" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        width, height = bits & 0x3FFF, bits >> 14 & 0x3FFF
    elif kind == b"VP8 " and len(body) >= 10:
        width, height = (int.from_bytes(body[at : at + 2], "little") - 1 & 0x3FFF for at in (6, 8))
    else:
        raise ValueError("no size")
    return width.to_bytes(3, "little") + height.to_bytes(3, "little")


def _has_alpha(kind: bytes, body: memoryview) -> bool:
    return kind == b"VP8L" and bool(body[4] & 0x10)


def _chunk(kind: bytes, body: memoryview | bytes) -> bytes:
    return b"".join((_HEAD.pack(kind, len(body)), body, bytes(len(body) & 1)))


def _file(chunks: list[bytes]) -> bytes:
    body = b"".join((b"WEBP", *chunks))
    return _HEAD.pack(b"RIFF", len(body)) + body
