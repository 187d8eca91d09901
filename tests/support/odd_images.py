"""Images that no library writes, byte by byte: PNG chunks, GIF blocks, TIFF directories, RIFF chunks, AVIF boxes."""

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any

from PIL import Image

from tests.support import images
from tests.support.images import png_chunk

Level = Sequence[int]
Pixel = Callable[[int, int], Level]

SIDES = 64, 48
QUARTERS = (200, 30, 30), (30, 180, 40), (40, 60, 210), (240, 220, 60)


def quarter(x: int, y: int) -> tuple[int, int, int]:
    """A picture of four colours: red, green, blue and yellow."""
    return QUARTERS[(x >= SIDES[0] // 2) + 2 * (y >= SIDES[1] // 2)]


# --- PNG


def png(
    pixels: Sequence[Level], *extra: bytes, kind: int = 2, depth: int = 8, palette: bytes = b"", rows: int = 32
) -> bytes:
    """A PNG of one row repeated; `extra` chunks come before its palette and its pixels. `kind` is the colour type."""
    bits = "".join(format(level, f"0{depth}b") for pixel in pixels for level in pixel)
    row = b"\x00" + int(bits, 2).to_bytes((len(bits) + 7) // 8, "big")
    header = png_chunk(b"IHDR", struct.pack("!IIBBBBB", len(pixels), rows, depth, kind, 0, 0, 0))
    plte = png_chunk(b"PLTE", palette) if palette else b""
    parts = (b"\x89PNG\r\n\x1a\n", header, plte, *extra, png_chunk(b"IDAT", zlib.compress(row * rows)))
    return b"".join((*parts, png_chunk(b"IEND", b"")))


def with_wrong_sum(data: bytes, kind: bytes) -> bytes:
    """The PNG with a wrong checksum in its chunk of this kind."""
    at = data.index(kind)
    end = at + 4 + int.from_bytes(data[at - 4 : at], "big")
    return data[:end] + bytes(byte ^ 0xFF for byte in data[end : end + 4]) + data[end + 4 :]


def gamma(value: int) -> bytes:
    return png_chunk(b"gAMA", struct.pack("!I", value))


def code_points(primaries: int, transfer: int, matrix: int = 0, full: int = 1) -> bytes:
    return png_chunk(b"cICP", bytes((primaries, transfer, matrix, full)))


Frame = tuple[tuple[int, int, int, int], Level, int, int]
"""An APNG's frame: left, top, width and height; its colour; disposal and blending."""


def apng(frames: Sequence[Frame], *, hidden: Level | None = None, plays: int = 0, count: int | None = None) -> bytes:
    """An animation of 40 x 30 RGBA pixels, with a still picture that is no part of it where `hidden` is a colour."""

    def packed(width: int, height: int, colour: Level) -> bytes:
        return zlib.compress((b"\x00" + bytes(colour) * width) * height)

    head = png_chunk(b"IHDR", struct.pack("!IIBBBBB", 40, 30, 8, 6, 0, 0, 0))
    chunks = [head, png_chunk(b"acTL", struct.pack("!II", len(frames) if count is None else count, plays))]
    if hidden is not None:
        chunks.append(png_chunk(b"IDAT", packed(40, 30, hidden)))
    number = 0
    for at, ((left, top, width, height), colour, disposal, blend) in enumerate(frames):
        control = struct.pack("!IIIIIHHBB", number, width, height, left, top, 10, 100, disposal, blend)
        chunks.append(png_chunk(b"fcTL", control))
        number += 1
        if at == 0 and hidden is None:
            chunks.append(png_chunk(b"IDAT", packed(width, height, colour)))
        else:
            chunks.append(png_chunk(b"fdAT", struct.pack("!I", number) + packed(width, height, colour)))
            number += 1
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + png_chunk(b"IEND", b"")


# --- GIF

GIF_PALETTE = bytes((255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 0))


def gif_frame(
    box: tuple[int, int, int, int], index: int, *, disposal: int = 0, delay: int = 10, clear: int | None = None
) -> bytes:
    """A frame of one colour; `clear` is the index of the transparent one. The box is left, top, width, height."""
    left, top, width, height = box
    control = bytes((disposal << 2 | (clear is not None),)) + struct.pack("<H", delay) + bytes((clear or 0, 0))
    codes = "".join(format(code, "03b")[::-1] for _ in range((width * height + 1) // 2) for code in (4, index, index))
    codes += "101"  # the end, its bits from the least on
    raw = bytes(int(codes[at : at + 8][::-1], 2) for at in range(0, len(codes), 8))
    blocks = b"".join(bytes((len(raw[at : at + 255]),)) + raw[at : at + 255] for at in range(0, len(raw), 255))
    return (
        b"!\xf9\x04" + control + b"," + struct.pack("<HHHHB", left, top, width, height, 0) + b"\x02" + blocks + b"\x00"
    )


def gif(
    size: tuple[int, int], *frames: bytes, background: int = 0, repeats: int | None = 0, end: bytes = b";"
) -> bytes:
    head = b"GIF89a" + struct.pack("<HH", *size) + bytes((0xF1, background, 0)) + GIF_PALETTE
    loop = b"" if repeats is None else b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", repeats) + b"\x00"
    return head + loop + b"".join(frames) + end


# --- WebP


def webp_animation(frames: Sequence[tuple[tuple[int, int], Image.Image]], *, flag: bool) -> bytes:
    """An animation of 60 x 40 pixels of pictures at their places; `flag` is what its header says of transparency."""
    body = b"VP8X" + struct.pack("<I", 10) + bytes((0x12 if flag else 0x02, 0, 0, 0))
    body += (59).to_bytes(3, "little") + (39).to_bytes(3, "little")
    body += b"ANIM" + struct.pack("<I", 6) + b"\xff\xff\xff\xff\x00\x00"
    for (left, top), picture in frames:
        sides = (left // 2, top // 2, picture.width - 1, picture.height - 1, 100)
        frame = b"".join(value.to_bytes(3, "little") for value in sides) + b"\x00"
        frame += images.encoded(picture, "WEBP", lossless=True)[12:]
        body += b"ANMF" + struct.pack("<I", len(frame)) + frame + bytes(len(frame) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


# --- JPEG


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack("!H", len(body) + 2) + body


def jpeg_with(*segments: bytes) -> bytes:
    """A JPEG of four colours without its JFIF segment, and with these instead."""
    whole = images.encoded(picture(), "JPEG", quality=95)
    return whole[:2] + b"".join(segments) + whole[20:]


def picture() -> Image.Image:
    image = Image.new("RGB", SIDES)
    image.putdata([quarter(x, y) for y in range(SIDES[1]) for x in range(SIDES[0])])
    return image


# --- TIFF

_TYPES = {"B": 1, "H": 3, "I": 4, "Q": 16}
Tags = Mapping[int, tuple[str, Sequence[int]]]
Page = tuple[Tags, Sequence[bytes]]
"""A directory's tags, each with its type as a struct letter, and the strips of its pixels."""


def tiff(*pages: Page, order: str = "<", big: bool = False, below: Sequence[Page] = ()) -> bytes:
    """A TIFF, or a BigTIFF; `below` are subimages of the first page."""
    wide = "Q" if big else "I"
    version = struct.pack(order + "HHHQ", 43, 8, 0, 0) if big else struct.pack(order + "HI", 42, 0)
    out = bytearray((b"II" if order == "<" else b"MM") + version)
    subimages = [_directory(out, page, order, wide)[0] for page in below]
    link = 8 if big else 4
    for number, (tags, strips) in enumerate(pages):
        more: Tags = {330: (wide, subimages)} if subimages and not number else {}
        at, following = _directory(out, ({**tags, **more}, strips), order, wide)
        out[link : link + struct.calcsize(wide)] = struct.pack(order + wide, at)
        link = following
    return bytes(out)


def _directory(out: bytearray, page: Page, order: str, wide: str) -> tuple[int, int]:
    """Appends a page; returns where its directory is, and where the place for the next one's is."""
    tags, strips = page
    room = struct.calcsize(wide)
    offsets: list[int] = []
    for strip in strips:
        offsets.append(len(out))
        out += strip + bytes(len(strip) % 2)
    entries = b""
    every: Tags = {**tags, 273: (wide, offsets), 279: ("I", [len(strip) for strip in strips])}
    for tag in sorted(every):
        letter, values = every[tag]
        raw = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(raw) > room:
            raw, place = struct.pack(order + wide, len(out)), raw
            out += place + bytes(len(place) % 2)
        entries += struct.pack(order + "HH" + wide, tag, _TYPES[letter], len(values)) + raw.ljust(room, b"\x00")
    at = len(out)
    out += struct.pack(order + ("Q" if wide == "Q" else "H"), len(every)) + entries
    following = len(out)
    out += bytes(room)
    return at, following


def tags(photometric: int, bits: Sequence[int], packing: int = 1, **more: Any) -> dict[int, tuple[str, Sequence[int]]]:
    """Those that every page has, for SIDES; `more` are named as `t284=("H", [2])`."""
    width, height = SIDES
    own = {int(name[1:]): value for name, value in more.items()}
    return {
        **{256: ("H", [width]), 257: ("H", [height]), 258: ("H", bits), 259: ("H", [packing])},
        **{262: ("H", [photometric]), 277: ("H", [len(bits)]), 278: ("H", [height])},
        **own,
    }


def strips(pixel: Pixel, letter: str, order: str = "<", *, planes: bool = False) -> list[bytes]:
    """The pixels of SIDES in one strip, or in one for each plane."""
    width, height = SIDES
    every = [pixel(x, y) for y in range(height) for x in range(width)]
    bands = list(zip(*every, strict=True)) if planes else [[level for one in every for level in one]]
    return [struct.pack(f"{order}{len(band)}{letter}", *band) for band in bands]


def rgb16(x: int, y: int) -> list[int]:
    return [level * 257 for level in quarter(x, y)]


def many_pages(count: int) -> bytes:
    """A TIFF of as many small pages."""
    page: Page = ({**tags(1, [8]), 256: ("H", [1]), 257: ("H", [1]), 278: ("H", [1])}, [b"\x80"])
    first = tiff(page)
    at = int.from_bytes(first[4:8], "little")
    directory = first[at:-4]
    size = len(directory) + 4
    links = (struct.pack("<I", at + size * (number + 1) if number < count - 1 else 0) for number in range(count))
    return first[:at] + b"".join(directory + link for link in links)


def camera_raw(order: str = "<", *, dng: bool = True) -> bytes:
    """The directories of a camera's raw file: a preview of 8 x 8, and below it what the sensor saw."""
    small = {256: ("H", [8]), 257: ("H", [8]), 278: ("H", [8]), 254: ("I", [1])}
    preview = {**tags(2, [8, 8, 8]), **small, **({50706: ("B", [1, 4, 0, 0])} if dng else {})}
    sensor = {**tags(32803, [16]), 254: ("I", [0])}
    return tiff((preview, [bytes(192)]), order=order, below=[(sensor, strips(lambda _x, _y: (1000,), "H", order))])


# --- AVIF


def avif(image: Image.Image | None = None, *, points: tuple[int, int] | None = None, **options: object) -> bytes:
    """A still AVIF, by its `nclx` in the space of other code points."""
    data = images.encoded(image or picture(), "AVIF", quality=95, subsampling="4:4:4", **options)
    if points is None:
        return data
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack("!HH", *points) + data[at + 4 :]


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack("!I4s", 8 + len(body), kind) + body


def clean_aperture(width: int, height: int, across: int = 0, down: int = 0) -> bytes:
    """A `clap` property of whole numbers; its centre is moved from the picture's."""
    return _box(b"clap", struct.pack("!IIIIiIiI", width, 1, height, 1, across, 1, down, 1))


def turned(quarters: int) -> bytes:
    return _box(b"irot", bytes((quarters,)))


def avif_with(*properties: bytes) -> bytes:
    """An AVIF of four colours whose picture has these properties besides."""
    data = avif()
    found = {kind: data.index(kind) - 4 for kind in (b"meta", b"iprp", b"ipco", b"ipma", b"mdat")}
    bodies = {kind: data[at + 8 : at + int.from_bytes(data[at : at + 4], "big")] for kind, at in found.items()}
    had, at = 0, 0
    while at < len(bodies[b"ipco"]):
        at += int.from_bytes(bodies[b"ipco"][at : at + 4], "big")
        had += 1
    ipma = bodies[b"ipma"]  # version 0: how many entries, then the first one's item, count and properties
    end = 11 + ipma[10]
    added = bytes(0x80 | had + 1 + number for number in range(len(properties)))
    ipma = ipma[:10] + bytes((ipma[10] + len(properties),)) + ipma[11:end] + added + ipma[end:]
    iprp = _box(b"iprp", _box(b"ipco", bodies[b"ipco"] + b"".join(properties)) + _box(b"ipma", ipma))
    before, after = data[found[b"meta"] + 8 : found[b"iprp"]], data[found[b"iprp"] + 8 + len(bodies[b"iprp"]) :]
    grown = len(iprp) - 8 - len(bodies[b"iprp"])
    pixels = found[b"mdat"] + 8
    before = before.replace(struct.pack("!I", pixels), struct.pack("!I", pixels + grown))
    rest = after[: found[b"meta"] + 8 + len(bodies[b"meta"]) - found[b"iprp"] - 8 - len(bodies[b"iprp"])]
    return data[: found[b"meta"]] + _box(b"meta", before + iprp + rest) + after[len(rest) :]


def lossless(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
