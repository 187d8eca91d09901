"""TIFF: its pages, what kind of picture a page is, and where Pillow has to be helped to read it right."""

import struct
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image, ImageCms, ImagePalette, TiffImagePlugin

_MAX_TAGS = 4096
_MAX_VALUES = 1024
_MAX_SUBIMAGES = 16
_TYPES = {1: "B", 2: "c", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NARROWED = {16: 4, 18: 4}  # 64 bits to 32
_MAX_STRIPS = 1 << 20

_SUBFILE, _BITS, _COMPRESSION, _PHOTOMETRIC, _PLANAR, _SUBIMAGES, _DNG = 254, 258, 259, 262, 284, 330, 50_706
_COLOUR_MAP, _SAMPLE_FORMAT, _UNSIGNED, _CR2 = 320, 339, 1, b"CR\x02"
_WHITE_IS_ZERO, _YCBCR, _LAB = 0, 6, 8
_SENSOR = frozenset({32_803, 34_892})  # photometric interpretations of camera raw
_SENSOR_PACKING = frozenset({32_767, 32_769, 32_770, 34_713, 34_892, 65_000, 65_535})
_WIDTH, _HEIGHT, _PLACES = 256, 257, frozenset({273, 324})
_REDUCED = 1
# 16-bit grey whose 0 is white: Pillow knows it in one byte order only
TiffImagePlugin.OPEN_INFO[TiffImagePlugin.MM, _WHITE_IS_ZERO, (1,), 1, (16,), ()] = ("I;16B", "I;16B")


@dataclass(frozen=True, slots=True)
class Tiff:
    """The byte order and the width of offsets of a file."""

    order: str
    big: bool

    @classmethod
    def of(cls, data: bytes) -> "Tiff":
        order = "<" if data[:2] == b"II" else ">"
        return cls(order, 43 in {data[2], data[3]})

    def first(self, data: bytes) -> int:
        """Where the first page's directory is."""
        code, at = ("Q", 8) if self.big else ("I", 4)
        return struct.unpack_from(self.order + code, data, at)[0]

    def starting_at(self, data: bytes, offset: int) -> bytes:
        """The file with another page as its first; a BigTIFF as a TIFF, since Pillow reads only some of those."""
        if self.big:
            return self._classic(data, offset)
        return data[:4] + struct.pack(self.order + "I", offset) + data[8:]

    def _classic(self, data: bytes, offset: int) -> bytes:
        order = self.order
        (count,) = struct.unpack_from(order + "Q", data, offset)
        count = min(count, _MAX_TAGS)
        directory, at = offset + 8, len(data) + len(data) % 2
        entries, more = struct.pack(order + "H", count), b""
        after = at + 2 + 12 * count + 4
        for place in range(directory, directory + 20 * count, 20):
            tag, kind, values = struct.unpack_from(order + "HHQ", data, place)
            value = self._value(data, kind, values, data[place + 12 : place + 20])
            kind = _NARROWED.get(kind, kind)
            if value is None:  # it stays where it is
                (where,) = struct.unpack_from(order + "Q", data, place + 12)
                value = struct.pack(order + "I", where)
            elif len(value) > 4:
                where = after + len(more)
                more += value + bytes(len(value) % 2)
                value = struct.pack(order + "I", where)
            entries += struct.pack(order + "HHI", tag, kind, values) + value.ljust(4, b"\x00")
        head = data[:2] + struct.pack(order + "HI", 42, at)
        return b"".join((head, data[8:], bytes(len(data) % 2), entries, bytes(4), more))

    def _value(self, data: bytes, kind: int, values: int, inline: bytes) -> bytes | None:
        """A BigTIFF entry's values as a TIFF has them; None for what lies elsewhere in the file and stays as it is."""
        size = _SIZES.get(kind, 1) * values
        if kind not in _NARROWED:
            return inline[:size] if size <= len(inline) else None
        if values > _MAX_STRIPS:
            raise ValueError("more strips than make sense")
        (where,) = struct.unpack(self.order + "Q", inline)
        numbers = struct.unpack_from(f"{self.order}{values}Q", *((inline, 0) if size <= len(inline) else (data, where)))
        return struct.pack(f"{self.order}{values}I", *numbers)

    def next(self, data: bytes, offset: int) -> int:
        """Where the page's directory is that follows the one at `offset`; 0 where there is none."""
        count_code, entry, code = ("Q", 20, "Q") if self.big else ("H", 12, "I")
        (count,) = struct.unpack_from(self.order + count_code, data, offset)
        at = offset + struct.calcsize("=" + count_code) + count * entry
        return struct.unpack_from(self.order + code, data, at)[0]

    def tags(self, data: bytes, offset: int) -> dict[int, tuple[int, ...]]:
        """The numbers in the directory at `offset`, of each tag no more than make sense."""
        count_code, entry, code, room = ("Q", 20, "Q", 8) if self.big else ("H", 12, "I", 4)
        (count,) = struct.unpack_from(self.order + count_code, data, offset)
        at = offset + struct.calcsize("=" + count_code)
        found: dict[int, tuple[int, ...]] = {}
        for _ in range(min(count, _MAX_TAGS)):
            tag, kind, values = struct.unpack_from(f"{self.order}HH{code}", data, at)
            if (letter := _TYPES.get(kind)) and letter != "c":
                values = min(values, _MAX_VALUES)
                place = at + 4 + struct.calcsize("=" + code)
                if values * struct.calcsize("=" + letter) > room:
                    (place,) = struct.unpack_from(self.order + code, data, place)
                found[tag] = struct.unpack_from(f"{self.order}{values}{letter}", data, place)
            at += entry
        return found


def page(data: bytes, number: int) -> tuple[bytes, bool]:
    """The file with page `number` (from 0) as its first, and whether it has that many; else its last one is.

    Only as many directories are visited as it takes to come there, and none twice.
    """
    tiff = Tiff.of(data)
    offset, found = tiff.first(data), True
    seen = {offset}
    for _ in range(number):
        try:
            following = tiff.next(data, offset)
        except struct.error:
            following = 0
        if not following or following in seen:
            found = False
            break
        seen.add(following)
        offset = following
    return (tiff.starting_at(data, offset) if tiff.big or len(seen) > 1 else data), found


def is_raw(data: bytes) -> bool:
    """Whether it is a camera's raw file (DNG, NEF, CR2, ARW and their kin): a TIFF of which Pillow sees a preview."""
    if data[8:11] == _CR2:
        return True
    tiff = Tiff.of(data)
    try:
        first = tiff.tags(data, tiff.first(data))
        if _DNG in first or _is_sensor(first):
            return True
        subimages = [tiff.tags(data, offset) for offset in first.get(_SUBIMAGES, ())[:_MAX_SUBIMAGES]]
    except struct.error:
        return False
    is_preview = bool(first.get(_SUBFILE, (0,))[0] & _REDUCED)
    return any(_is_sensor(tags) or (is_preview and not tags.get(_SUBFILE, (0,))[0] & _REDUCED) for tags in subimages)


def _is_sensor(tags: dict[int, tuple[int, ...]]) -> bool:
    photometric, packing = tags.get(_PHOTOMETRIC, (0,)), tags.get(_COMPRESSION, (0,))
    return bool(_SENSOR.intersection(photometric) or _SENSOR_PACKING.intersection(packing))


def has_pixels(data: bytes) -> bool:
    """Whether the first page has its size and the position of its pixels."""
    tiff = Tiff.of(data)
    try:
        tags = tiff.tags(data, tiff.first(data))
    except struct.error:
        return False
    return {_WIDTH, _HEIGHT} <= tags.keys() and not _PLACES.isdisjoint(tags)


@contextmanager
def read_by_libtiff(data: bytes) -> Generator[None]:
    """Has libtiff read what Pillow's own reader takes for something else: separate planes, and YCbCr."""
    tiff = Tiff.of(data)
    try:
        tags = tiff.tags(data, tiff.first(data))
    except struct.error:
        tags = {}
    TiffImagePlugin.READ_LIBTIFF = tags.get(_PLANAR) == (2,) or tags.get(_PHOTOMETRIC) == (_YCBCR,)
    try:
        yield
    finally:
        TiffImagePlugin.READ_LIBTIFF = False


def mend(image: TiffImagePlugin.TiffImageFile) -> None:
    """Puts right what Pillow gets wrong of an opened page, before it is decoded."""
    colours = image.tag_v2.get(_COLOUR_MAP)
    # some writers fill the map of 16 bits with values of 8, which Pillow takes for black
    if image.mode in {"P", "PA"} and isinstance(colours, tuple) and colours and max(colours) < 256:
        third = len(colours) // 3
        levels = [value for at in range(third) for value in colours[at::third]]
        image.palette = ImagePalette.raw("RGB", bytes(levels))


def can_be_read(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Whether Pillow gets the pixels of an opened page right, as far as its tags show."""
    # the planes of grey with alpha come out as one
    return not (image.tag_v2.get(_PLANAR) == 2 and image.mode in {"LA", "La", "PA"})


def is_wrapped(pixels: Image.Image) -> bool:
    """Whether integers of 32 bits are larger than Pillow can hold, and so have become negative."""
    assert isinstance(pixels, TiffImagePlugin.TiffImageFile)
    if pixels.mode != "I" or pixels.tag_v2.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0] != _UNSIGNED:
        return False
    low, _ = pixels.getextrema()
    return isinstance(low, int | float) and low < 0


def levels(image: Image.Image) -> tuple[float, float] | None:
    """What black and white are in a page of more than 8 bits a channel; None where no two programs agree."""
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    bits = image.tag_v2.get(_BITS, (1,))
    if not image.mode.startswith("I;16"):
        return None
    top = float((1 << bits[0]) - 1)
    return (top, 0.0) if image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else (0.0, top)


def lab_to_rgb(pixels: Image.Image) -> Image.Image:
    """L*a*b* of D50 in sRGB."""
    transform = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
    converted = ImageCms.applyTransform(pixels, transform)
    assert converted is not None  # None only when it converts in place
    return converted
