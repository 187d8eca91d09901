"""PNG, chunk by chunk: what a decoder needs of a file, without what could only hurt.

Texts are never unpacked, checksums of what is beside the pixels are not asked for, and each frame of an animation
becomes a PNG of its own. A file that this module writes is one that Pillow reads.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO

from PIL import Image, ImageChops

from imgsvc.imaging.film import Clear, Shot

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PROFILE_BYTES = 16 * 1024 * 1024
"""Beyond it a colour profile is left packed: the largest that presses use have 4 MB."""

_HEAD = struct.Struct("!I4s")
_HEADER = struct.Struct("!IIBBBBB")
_FRAME = struct.Struct("!IIIIIHHBB")
_MAX_CHUNKS = 1_000_000
_GREY, _RGB, _PALETTE = 0, 2, 3
_BANDS = {_GREY: 1, _RGB: 3, _PALETTE: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_SLICE = 64 * 1024
_XMP = b"XML:com.adobe.xmp\x00\x00"  # a text that is not packed

Part = memoryview | bytes


@dataclass(slots=True)
class _Frame:
    size: tuple[int, int]
    offset: tuple[int, int]
    duration_ms: float
    disposal: int
    over: bool
    parts: list[Part] = field(default_factory=list[Part])


@dataclass(slots=True)
class Png:
    """The chunks that matter. `parts` are the pixels of the still picture, `frames` those of the animation."""

    header: tuple[int, ...] = ()
    palette: Part = b""
    transparency: Part | None = None
    exif: Part | None = None
    xmp: Part | None = None
    profile: Part | None = None
    gamma: int | None = None
    chromaticities: tuple[int, ...] | None = None
    code_points: tuple[int, ...] | None = None
    is_srgb: bool = False
    parts: list[Part] = field(default_factory=list[Part])
    frames: list[_Frame] = field(default_factory=list[_Frame])
    plays: int | None = None
    whole: bool = False

    @property
    def size(self) -> tuple[int, int]:
        return self.header[0], self.header[1]

    @property
    def keyed_16_bit(self) -> bool:
        """Whether one colour of 16 bits a channel stands for transparency."""
        return self.transparency is not None and self.header[2] == 16 and self.header[3] in {_GREY, _RGB}

    @property
    def transparent(self) -> bool:
        return self.transparency is not None or self.header[3] in {4, 6}

    def still(self) -> bytes:
        """The still picture as a file."""
        return self._file(self.size, self.parts)

    def frame(self, frame: _Frame) -> bytes:
        """A frame of the animation as a file."""
        return self._file(frame.size, frame.parts)

    def shots(self) -> list[Shot]:
        return [
            Shot(
                size=frame.size,
                offset=frame.offset,
                duration_ms=frame.duration_ms,
                clear=Clear(frame.disposal) if frame.disposal in {0, 1, 2} else Clear.NOTHING,
                over=frame.over,
                file=lambda frame=frame: self.frame(frame),
            )
            for frame in self.frames
        ]

    def _file(self, size: tuple[int, int], parts: Sequence[Part]) -> bytes:
        chunks: list[Part] = [SIGNATURE, chunk(b"IHDR", _HEADER.pack(*size, *self.header[2:]))]
        if self.palette:
            chunks.append(chunk(b"PLTE", self.palette))
        if self.transparency is not None and not self.keyed_16_bit:
            chunks.append(chunk(b"tRNS", self._scaled_key()))
        if self.exif is not None:
            chunks.append(chunk(b"eXIf", self.exif))
        for part in parts:
            chunks += [_HEAD.pack(len(part), b"IDAT"), part, bytes(4)]  # nobody checks the sum of pixels
        return b"".join((*chunks, chunk(b"IEND", b"")))

    def _scaled_key(self) -> Part:
        """The transparent grey as Pillow holds greys, which it scales to 8 bits."""
        assert self.transparency is not None
        depth, kind = self.header[2:4]
        if kind == _GREY and depth in {2, 4} and len(self.transparency) >= 2:
            level = self.transparency[1] & ((1 << depth) - 1)
            return bytes((0, level * 255 // ((1 << depth) - 1)))
        return self.transparency


def parse(data: bytes) -> Png:
    """Reads the chunks of a PNG.

    Raises:
        ValueError: it has no header, no pixels, or more chunks than make sense.
    """
    view, at, png = memoryview(data), len(SIGNATURE), Png()
    for _ in range(_MAX_CHUNKS):
        if at + _HEAD.size > len(data):
            break
        length, kind = _HEAD.unpack_from(view, at)
        body = view[at + 8 : at + 8 + length]
        at += 12 + length
        if kind == b"IEND":
            png.whole = True
            break
        _take(png, kind, body)
    else:
        raise ValueError("more chunks than make sense")
    if not png.header or not png.parts:
        raise ValueError("no header, or no pixels")
    png.frames = [frame for frame in png.frames if frame.parts]
    return png


def _take(png: Png, kind: bytes, body: memoryview) -> None:
    match kind:
        case b"IHDR" if len(body) >= _HEADER.size and not png.header:
            png.header = _HEADER.unpack_from(body)
        case b"IDAT":
            png.parts.append(body)
            if png.frames:
                png.frames[-1].parts.append(body)
        case b"fdAT" if png.frames and len(body) > 4:
            png.frames[-1].parts.append(body[4:])
        case b"acTL" if len(body) >= 8 and not png.parts:
            png.plays = int.from_bytes(body[4:8], "big")
        case b"fcTL" if png.plays is not None and len(body) >= _FRAME.size:
            _begin_frame(png, body)
        case b"PLTE":
            png.palette = body
        case b"tRNS" if not png.parts:
            png.transparency = (
                body if len(body) >= {_GREY: 2, _RGB: 6}.get(png.header[3] if png.header else 3, 1) else None
            )
        case _:
            _take_metadata(png, kind, body)


def _take_metadata(png: Png, kind: bytes, body: memoryview) -> None:
    match kind:
        case b"eXIf":
            png.exif = body
        case b"iTXt" if bytes(body[: len(_XMP)]) == _XMP:
            png.xmp = body[len(_XMP) :]
        case _ if not png.parts:
            _take_colour(png, kind, body)
        case _:
            pass


def _take_colour(png: Png, kind: bytes, body: memoryview) -> None:
    match kind:
        case b"iCCP":
            png.profile = body
        case b"sRGB":
            png.is_srgb = True
        case b"cICP" if len(body) >= 4:
            png.code_points = tuple(body[:4])
        case b"gAMA" if len(body) >= 4:
            png.gamma = int.from_bytes(body[:4], "big")
        case b"cHRM" if len(body) >= 32:
            png.chromaticities = struct.unpack_from("!8I", body)
        case _:
            pass  # texts, times and whatever else is beside the pixels


def _begin_frame(png: Png, body: memoryview) -> None:
    _, width, height, left, top, numerator, denominator, disposal, blend = _FRAME.unpack_from(body)
    if not width or not height or left + width > png.header[0] or top + height > png.header[1]:
        png.plays, png.frames = None, []  # beyond the canvas: no animation that anybody would show
        return
    duration = 1000 * numerator / (denominator or 100)
    png.frames.append(_Frame((width, height), (left, top), duration, disposal, blend == 1))


def bare(data: bytes, exif: bytes | None = None) -> bytes:
    """The file of the very same pixels, with what it takes to decode them and nothing else but `exif`.

    Raises:
        ValueError: it is not whole, is an animation, or has a transparent colour, which not all programs read alike.
    """
    png = parse(data)
    if not png.whole or png.plays is not None or (png.transparency and png.header[3] != _PALETTE):
        raise ValueError("not a plain PNG")
    chunks: list[Part] = [SIGNATURE, chunk(b"IHDR", _HEADER.pack(*png.header))]
    if png.header[3] == _PALETTE:
        chunks.append(chunk(b"PLTE", png.palette))
    if png.transparency:
        chunks.append(chunk(b"tRNS", png.transparency))
    if exif:
        chunks.append(chunk(b"eXIf", exif.removeprefix(b"Exif\x00\x00")))
    return b"".join((*chunks, chunk(b"IDAT", b"".join(png.parts)), chunk(b"IEND", b"")))


def is_exact(data: bytes) -> bool:
    """Whether what is packed in the file is its pixels, all of them, and nothing after them."""
    png = parse(data)
    inflate, unpacked, wanted = zlib.decompressobj(), 0, _unpacked_bytes(png)
    packed = memoryview(b"".join(png.parts))
    try:
        for at in range(0, len(packed), _SLICE):
            piece: Part = packed[at : at + _SLICE]
            while piece:
                if inflate.eof or unpacked > wanted:
                    return False
                unpacked += len(inflate.decompress(piece, _SLICE))
                piece = inflate.unconsumed_tail
        unpacked += len(inflate.flush())
    except zlib.error:
        return False
    return inflate.eof and not inflate.unused_data and unpacked == wanted


def _unpacked_bytes(png: Png) -> int:
    """The bytes of all rows, each with the number of its filter."""
    width, height, depth, kind, _, _, interlaced = png.header
    bits = depth * _BANDS.get(kind, 0)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        total += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
    return total


def unpacked_profile(packed: Part) -> bytes | None:
    """The ICC profile in an iCCP chunk; None where it is broken or larger than MAX_PROFILE_BYTES."""
    name, _, rest = bytes(packed).partition(b"\x00")
    if not rest or rest[0] != 0 or len(name) > 79:
        return None
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(rest[1:], MAX_PROFILE_BYTES + 1)
    except zlib.error:
        return None
    return profile if len(profile) <= MAX_PROFILE_BYTES else None


def with_16_bit_key(png: Png, file: bytes, pixels: Image.Image) -> Image.Image:
    """`pixels`, decoded from `file`, transparent where the PNG's 16-bit key matches; Pillow keeps 8 of the 16 bits."""
    assert png.transparency is not None
    if png.header[3] == _GREY:
        raw = pixels.tobytes()
        low, high = (Image.frombytes("L", pixels.size, raw[at::2]) for at in (0, 1))
        mask = _is_key([high], png.transparency[0:1], [low], png.transparency[1:2])
        whole = Image.merge("LA", (high, mask))
    else:
        lows = Image.open(BytesIO(file), formats=["PNG"])
        tile = lows.tile[0]
        lows.tile = [tile._replace(args="RGB;16L")]  # which is the other byte of each level
        lows.load()
        key = png.transparency
        mask = _is_key(pixels.split(), key[0:6:2], lows.split(), key[1:6:2])
        whole = pixels.convert("RGBA")
        whole.putalpha(mask)
    return whole


def _is_key(highs: Sequence[Image.Image], high: Part, lows: Sequence[Image.Image], low: Part) -> Image.Image:
    """0 where every band has its level of the key, 255 elsewhere."""
    mask = Image.new("L", highs[0].size, 0)
    for band, level in zip((*highs, *lows), (*high, *low), strict=True):
        mask = ImageChops.lighter(mask, band.point([0 if value == level else 255 for value in range(256)]))
    return mask


def chunk(kind: bytes, body: Part) -> bytes:
    """A chunk with its length and its checksum."""
    return b"".join((_HEAD.pack(len(body), kind), body, struct.pack("!I", zlib.crc32(body, zlib.crc32(kind)))))
