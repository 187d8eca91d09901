"""JPEG XL (ISO/IEC 18181): its header, read before a decoder sees the file, and its pixels.

The decoder that there is decodes as soon as it is given a file, so that what it is given is judged here: the pixels
alone, without the boxes around them.
"""

import importlib
from array import array
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image, ImageFile

from imgsvc.domain.formats import JXL_CODEC
from imgsvc.domain.problems import JobError
from imgsvc.imaging.geometry import Size
from imgsvc.imaging.isobmff import boxes

_SIGNATURE = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
_CODESTREAM = b"\xff\x0a"
_MAX_EXIF_BYTES = 1024 * 1024
_LOSSY_BYTES, _LOSSLESS_BYTES, _ALPHA_BYTES = 8, 16, 4  # a pixel, of noise
_TIFF = (b"II*\x00", b"MM\x00*")
_PANIC = "PanicException"  # of Rust, and no Exception

# how the header writes its numbers (9.2.1): a selector of two bits, and for each a lowest value and how many bits more
_U32 = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]
_SIDE: _U32 = ((1, 9), (1, 13), (1, 18), (1, 30))
_PREVIEW_SIDE: _U32 = ((1, 6), (65, 8), (321, 10), (1345, 12))
_PREVIEW_EIGHTHS: _U32 = ((16, 0), (32, 0), (1, 5), (33, 9))
_ENUM: _U32 = ((0, 0), (1, 0), (2, 4), (18, 6))
_BITS: _U32 = ((8, 0), (10, 0), (12, 0), (1, 6))
_FLOAT_BITS: _U32 = ((32, 0), (16, 0), (24, 0), (1, 6))
_CHANNELS: _U32 = ((0, 0), (1, 0), (2, 4), (1, 12))
_SHIFT: _U32 = ((0, 0), (3, 0), (4, 0), (1, 3))
_NAME_BYTES: _U32 = ((0, 0), (0, 4), (16, 5), (48, 10))
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))

_ALPHA, _SPOT = 0, 2
_HARMLESS = frozenset({_ALPHA, 1, _SPOT, 3})  # depth, spot colours and selections; not inks, sensors, heat
_MAX_CHANNELS = 4
_GREY = 1


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of its picture. `size` is that of the upright picture; the decoder turns it."""

    size: Size
    grey: bool = False
    alpha: bool = False
    lossless: bool = False
    readable: bool = True
    """Whether it is one picture of light or of colours: neither a film, nor of inks, nor what a sensor saw."""
    clipped: bool = False
    """Whether the decoder gives its colours as those of linear sRGB, without what lies beyond them."""

    def take_memory(self) -> None:
        """Have the memory that the decoder will need, for a moment: with too little of it, it only fails, or aborts.

        Raises:
            MemoryError: there is not as much.
        """
        width, height = self.size
        bytearray(width * height * ((_LOSSLESS_BYTES if self.lossless else _LOSSY_BYTES) + _ALPHA_BYTES * self.alpha))


class JxlImageFile(ImageFile.ImageFile):
    """A JPEG XL with its header read. It is decoded by `load`, in L, LA, RGB, RGBA, I;16 or F (0 to 1)."""

    format = "JXL"
    header: Header
    _is_decoded = False

    def _open(self) -> None:
        assert self.fp is not None
        self._codestream, exif = _parts(self.fp.read())
        self.header = _header(self._codestream)
        self._size = self.header.size
        self._mode = ("L" if self.header.grey else "RGB") + "A" * self.header.alpha
        self.tile = []
        if exif:
            self.info["exif"] = b"Exif\x00\x00" + exif

    def load(self) -> None:
        """Decode the pixels, the first time; `info` has their ICC profile then.

        Pillow calls it for every copy and every encoder, when they are in another's hands and `info` has been cleared.

        Raises:
            RuntimeError: the file is damaged.
            ValueError: what came of it is not what its header says.
            MemoryError: there is not enough memory for it.
        """
        if self._is_decoded:
            return
        self.header.take_memory()
        found, pixels, profile = _decoded(self._codestream)
        if (found.width, found.height) != self.header.size:
            raise ValueError("another size than the header's")
        mode, raw = _plain(found.mode, pixels, found.width * found.height)
        self._mode = mode
        self.im = Image.frombytes(mode, self.header.size, raw).im
        self._is_decoded = True
        if profile:
            self.info["icc_profile"] = bytes(profile)


def opened(data: bytes) -> JxlImageFile:
    """Reads the header.

    Raises:
        JobError: unsupported_format, for animations (of which the decoder gives the last picture), inks and sensors.
        ValueError: it makes no sense.
    """
    image = JxlImageFile(BytesIO(data))
    if not image.header.readable:
        raise JobError("unsupported_format")
    return image


def _decoded(codestream: bytes) -> tuple[Any, bytes, bytes]:
    """What the decoder found, its pixels, and their ICC profile."""
    codec = importlib.import_module(JXL_CODEC)
    try:
        _, found, pixels, profile, *_ = codec.Decoder(num_threads=0)(codestream)
    except BaseException as error:
        if type(error).__name__ == _PANIC:
            raise ValueError("the decoder gave up") from error
        raise
    return found, pixels, profile


def _parts(data: bytes) -> tuple[bytes, bytes | None]:
    """The codestream, without the boxes that it is in, and the EXIF block."""
    if not data.startswith(_SIGNATURE):
        return data, None
    stream, exif = bytearray(), None
    for kind, body in boxes(memoryview(data)):
        match kind:
            case b"jxlc":
                stream += body
            case b"jxlp":
                stream += body[4:]
            case b"Exif" if 4 < len(body) <= _MAX_EXIF_BYTES and exif is None:
                exif = bytes(body)
                if exif[:4] not in _TIFF:  # as some write it
                    exif = exif[4 + int.from_bytes(exif[:4], "big") :]
            case _:
                pass
    return bytes(stream), exif


class _Bits:
    """A header's bits, from the least of each byte on."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data[:_HEADER_BYTES], "little")
        self._left = 8 * min(len(data), _HEADER_BYTES)

    def take(self, count: int) -> int:
        if count > self._left:
            raise ValueError("the header ends early")
        self._left -= count
        found = self._value & ((1 << count) - 1)
        self._value >>= count
        return found

    def flag(self) -> bool:
        return self.take(1) == 1

    def number(self, kinds: _U32) -> int:
        low, bits = kinds[self.take(2)]
        return low + self.take(bits)


_HEADER_BYTES = 8192


def _header(codestream: bytes) -> Header:
    if not codestream.startswith(_CODESTREAM):
        raise ValueError("no codestream")
    bits = _Bits(codestream[2:])
    size = _size(bits, _SIDE, None)
    if bits.flag():  # all by default
        return Header(size)
    turned, animated = _extra_fields(bits) if bits.flag() else (False, False)
    if animated:
        return Header(size, readable=False)
    _depth(bits)
    bits.flag()  # whether 16 bits are enough to decode in
    count = bits.number(_CHANNELS)
    if count > _MAX_CHANNELS:
        return Header(size, readable=False)
    kinds = [_channel(bits) for _ in range(count)]
    xyb = bits.flag()
    own_profile = space = 0
    if not bits.flag():  # sRGB by default
        own_profile, space = bits.take(1), bits.number(_ENUM)
    return Header(
        (size[1], size[0]) if turned else size,
        grey=space == _GREY,
        alpha=_ALPHA in kinds,
        lossless=not xyb,
        readable=_HARMLESS.issuperset(kinds),
        clipped=xyb and own_profile == 1,
    )


def _size(bits: _Bits, sides: _U32, eighths: _U32 | None) -> Size:
    """A size, whose width may be given by its ratio to the height. `eighths` of None are five bits, and one more."""

    def eight() -> int:
        return 8 * (1 + bits.take(5) if eighths is None else bits.number(eighths))

    by_eight = bits.flag()
    height = eight() if by_eight else bits.number(sides)
    ratio = bits.take(3)
    if ratio:
        across, down = _RATIOS[ratio - 1]
        return height * across // down, height
    return (eight() if by_eight else bits.number(sides)), height


def _extra_fields(bits: _Bits) -> tuple[bool, bool]:
    """Whether the picture is turned by a quarter, and whether it moves."""
    turned = bits.take(3) >= 4
    if bits.flag():
        _size(bits, _SIDE, None)  # at which it is to be shown
    if bits.flag():
        _size(bits, _PREVIEW_SIDE, _PREVIEW_EIGHTHS)
    return turned, bits.flag()


def _depth(bits: _Bits) -> None:
    if bits.flag():
        bits.number(_FLOAT_BITS)
        bits.take(4)
    else:
        bits.number(_BITS)


def _channel(bits: _Bits) -> int:
    """The kind of an extra channel."""
    if bits.flag():
        return _ALPHA
    kind = bits.number(_ENUM)
    _depth(bits)
    bits.number(_SHIFT)
    bits.take(8 * bits.number(_NAME_BYTES))
    if kind == _ALPHA:
        bits.flag()  # premultiplied
    elif kind == _SPOT:
        bits.take(64)
    return kind


def _plain(mode: str, pixels: bytes, count: int) -> tuple[str, bytes]:
    """Pixels as Pillow takes them. Of grey with alpha the decoder gives more bits than it says."""
    if mode == "F;16":
        return "F", pixels
    if mode == "LA" and len(pixels) == 4 * count:
        return mode, pixels[1::2] if array("H", b"\x01\x00")[0] == 1 else pixels[::2]
    if mode == "LA" and len(pixels) != 2 * count:
        raise JobError("unsupported_format")
    return mode, pixels
