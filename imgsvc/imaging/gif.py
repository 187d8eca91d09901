"""GIF, block by block: where its frames are, and each of them as a GIF of its own."""

import struct
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace

from PIL import Image

from imgsvc.imaging.film import Clear, Shot

_SCREEN = struct.Struct("<6sHHBBB")
_FRAME = struct.Struct("<HHHHB")
_EXTENSION, _IMAGE, _CONTROL, _APPLICATION = 0x21, 0x2C, 0xF9, 0xFF
_MAX_BLOCKS = 8_000_000
_MAX_FRAMES = 65_536


@dataclass(frozen=True, slots=True)
class _Frame:
    size: tuple[int, int]
    offset: tuple[int, int]
    interlaced: bool
    palette: memoryview
    transparent: int | None
    duration_ms: int
    disposal: int
    data: memoryview  # from the code size on


@dataclass(slots=True)
class Gif:
    """The frames of a GIF. `plays` is how often it is shown, 0 for ever; it is not `whole` without its last byte."""

    size: tuple[int, int]
    palette: memoryview
    frames: list[_Frame] = field(default_factory=list[_Frame])
    plays: int = 1
    whole: bool = False

    @property
    def opaque(self) -> bool:
        """Whether nothing of it is ever transparent."""
        first = self.frames[0]
        covers = first.offset == (0, 0) and first.size[0] >= self.size[0] and first.size[1] >= self.size[1]
        return covers and first.transparent is None and all(frame.disposal != 2 for frame in self.frames)

    def shots(self) -> list[Shot]:
        clear = {2: Clear.TRANSPARENT, 3: Clear.BEFORE}
        return [
            Shot(
                size=frame.size,
                offset=frame.offset,
                duration_ms=frame.duration_ms,
                clear=clear.get(frame.disposal, Clear.NOTHING),
                over=True,
                file=_maker(frame),
                key=frame.transparent,
            )
            for frame in self.frames
        ]


def _maker(frame: _Frame) -> Callable[[], bytes]:
    return lambda: _file(frame)


def _file(frame: _Frame) -> bytes:
    """A frame as a GIF of its own, opaque."""
    head = _SCREEN.pack(b"GIF89a", *frame.size, _palette_flags(frame.palette), 0, 0)
    image = bytes((_IMAGE,)) + _FRAME.pack(0, 0, *frame.size, 0x40 if frame.interlaced else 0)
    return b"".join((head, frame.palette, image, frame.data, b"\x00;"))


def bare(data: bytes) -> bytes:
    """The file of the very same frames, with what it takes to show them and nothing else.

    Raises:
        ValueError: it is not whole.
    """
    gif = parse(data)
    if not gif.whole:
        raise ValueError("no end")
    shared = gif.palette
    blocks: list[memoryview | bytes] = [_SCREEN.pack(b"GIF89a", *gif.size, _palette_flags(shared), 0, 0), shared]
    if gif.plays != 1:
        repeats = struct.pack("<H", max(0, gif.plays - 1))
        blocks.append(bytes((_EXTENSION, _APPLICATION, 11)) + b"NETSCAPE2.0\x03\x01" + repeats + b"\x00")
    for frame in gif.frames:
        own = frame.palette if frame.palette is not shared else shared[:0]
        flags = _palette_flags(own) | (0x40 if frame.interlaced else 0)
        blocks += [_control(frame), bytes((_IMAGE,)) + _FRAME.pack(*frame.offset, *frame.size, flags), own]
        blocks += [frame.data[:1], *_sub_blocks(_payload(frame))]
    return b"".join((*blocks, b";"))


def without_tails(file: bytes, size: int) -> Generator[bytes]:
    """Each frame of a file as one of its own that lacks the last `size` bytes of its codes."""
    for frame in parse(file).frames:
        payload = _payload(frame)
        if len(payload) > 2 * size:
            cut = b"".join((frame.data[:1], *_sub_blocks(payload[:-size])))
            yield _file(replace(frame, data=memoryview(cut)))


def _control(frame: _Frame) -> bytes:
    flags = frame.disposal << 2 | (frame.transparent is not None)
    return struct.pack("<BBBBHBB", _EXTENSION, _CONTROL, 4, flags, frame.duration_ms // 10, frame.transparent or 0, 0)


def _payload(frame: _Frame) -> bytes:
    """The codes of a frame, without the lengths of their blocks."""
    parts: list[memoryview] = []
    at = 1
    while at < len(frame.data) and (length := frame.data[at]):
        parts.append(frame.data[at + 1 : at + 1 + length])
        at += 1 + length
    return b"".join(parts)


def _sub_blocks(payload: bytes) -> Generator[bytes]:
    for at in range(0, len(payload), 255):
        part = payload[at : at + 255]
        yield bytes((len(part),)) + part
    yield b"\x00"


def _palette_flags(palette: memoryview) -> int:
    colours = len(palette) // 3
    return 0x80 | (colours.bit_length() - 2) if colours else 0


def parse(data: bytes) -> Gif:
    """Reads the blocks of a GIF.

    Raises:
        ValueError: it has no frame, or more blocks than make sense.
    """
    view = memoryview(data)
    _, width, height, flags, _, _ = _SCREEN.unpack_from(view)
    at = _SCREEN.size
    common = _palette(view, at, flags)
    at += len(common)
    gif = Gif((width, height), common)
    control: memoryview | None = None
    blocks = 0
    while at < len(data) and len(gif.frames) < _MAX_FRAMES:
        kind = data[at]
        if kind == 0x3B:
            gif.whole = True
            break
        if kind == _EXTENSION:
            label = data[at + 1] if at + 1 < len(data) else 0
            end, count = _skip(data, at + 2)
            if label == _CONTROL and end - at >= 8:
                control = view[at + 3 : at + 7]
            elif label == _APPLICATION:
                gif.plays = _plays(data[at + 2 : at + 24], gif.plays)
        elif kind == _IMAGE and at + 11 <= len(data):
            end, count = _take_frame(gif, view, data, at + 1, common, control)
            control = None
        else:
            end, count = at + 1, 1  # stray bytes between blocks
        at = end
        blocks += count
        if blocks > _MAX_BLOCKS:
            raise ValueError("more blocks than make sense")
    if not gif.frames:
        raise ValueError("no frame")
    first = gif.frames[0]
    gif.size = max(width, first.offset[0] + first.size[0]), max(height, first.offset[1] + first.size[1])
    return gif


def _take_frame(
    gif: Gif, view: memoryview, data: bytes, at: int, common: memoryview, control: memoryview | None
) -> tuple[int, int]:
    left, top, width, height, flags = _FRAME.unpack_from(view, at)
    at += _FRAME.size
    own = _palette(view, at, flags)
    at += len(own)
    end, count = _skip(data, at + 1)
    if width and height and end > at + 2:
        packed = control[0] if control else 0
        gif.frames.append(
            _Frame(
                size=(width, height),
                offset=(left, top),
                interlaced=bool(flags & 0x40),
                palette=own or common,
                transparent=control[3] if control and packed & 1 else None,
                duration_ms=10 * int.from_bytes(control[1:3], "little") if control else 0,
                disposal=packed >> 2 & 7,
                data=view[at:end],
            )
        )
    return end, count


def _palette(view: memoryview, at: int, flags: int) -> memoryview:
    return view[at : at + (3 << (flags & 7) + 1)] if flags & 0x80 else view[at:at]


def _skip(data: bytes, at: int) -> tuple[int, int]:
    """The end of the sub-blocks that begin at `at`, and how many they are."""
    count, end = 1, len(data)
    while at < end and data[at]:
        at += data[at] + 1
        count += 1
    return min(at + 1, end), count


def _plays(block: bytes, known: int) -> int:
    """How often it is shown by a NETSCAPE extension, whose number counts the repeats."""
    if block[1:12] not in {b"NETSCAPE2.0", b"ANIMEXTS1.0"} or len(block) < 16 or block[13] & 7 != 1:
        return known
    repeats = int.from_bytes(block[14:16], "little")
    return repeats + 1 if repeats else 0


def coloured(pixels: Image.Image, transparent: int | None) -> Image.Image:
    """A frame's pixels (P or L, as Pillow decodes them) as RGB, or RGBA where it has a transparent colour."""
    if transparent is None:
        return pixels.convert("RGB")
    indices = Image.frombytes("L", pixels.size, pixels.tobytes())
    result = pixels.convert("RGB").convert("RGBA")
    result.putalpha(indices.point([0 if value == transparent else 255 for value in range(256)]))
    return result
