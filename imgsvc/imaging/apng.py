"""Animated PNG, written frame by frame: Pillow's writer wants to see all frames twice."""

import struct
import zlib
from collections.abc import Iterable
from fractions import Fraction
from io import BytesIO

from PIL import Image, ImageChops

from imgsvc.imaging import png

_MOST = 65_535  # what a delay's numerator and denominator can be


def written(
    frames: Iterable[tuple[Image.Image, int]], plays: int, level: int, exif: bytes | None, profile: bytes | None = None
) -> bytes:
    """The file of frames (L, LA, RGB or RGBA, all of one size), each with its duration in milliseconds.

    Of each frame only that part is written which differs from the one before. `level` is zlib's; `plays` of 0 is for
    ever. `profile` is the ICC profile of all.
    """
    chunks: list[bytes] = []
    head, before, count, number = b"", None, 0, 0
    for pixels, duration_ms in frames:
        shown = pixels if before is None else pixels.convert(before.mode)
        box = None if before is None else ImageChops.difference(shown, before).getbbox(alpha_only=False)
        left, top, right, bottom = box or (0, 0, *(shown.size if before is None else (1, 1)))
        part = png.parse(_still(shown.crop((left, top, right, bottom)), level))
        delay = Fraction(min(max(0, duration_ms), _MOST), 1000).limit_denominator(_MOST)
        control = (right - left, bottom - top, left, top, delay.numerator, delay.denominator, 0, 0)
        chunks.append(png.chunk(b"fcTL", struct.pack("!IIIIIHHBB", number, *control)))
        number += 1
        data = b"".join(part.parts)
        if before is None:
            head = png.chunk(b"IHDR", struct.pack("!IIBBBBB", *part.header))
            chunks.append(png.chunk(b"IDAT", data))
        else:
            chunks.append(png.chunk(b"fdAT", struct.pack("!I", number) + data))
            number += 1
        before = shown.copy()
        count += 1
    control = png.chunk(b"acTL", struct.pack("!II", count, min(plays, 2**31 - 1)))
    tags = png.chunk(b"eXIf", exif.removeprefix(b"Exif\x00\x00")) if exif else b""
    colours = png.chunk(b"iCCP", b"ICC\x00\x00" + zlib.compress(profile)) if profile else b""
    return b"".join((png.SIGNATURE, head, colours, control, tags, *chunks, png.chunk(b"IEND", b"")))


def _still(pixels: Image.Image, level: int) -> bytes:
    file = BytesIO()
    pixels.save(file, "PNG", compress_level=level)
    return file.getvalue()
