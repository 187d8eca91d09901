"""Images for tests, made in memory: photographs, oddities and attacks."""

import struct
import zlib
from collections.abc import Callable
from functools import cache
from importlib import import_module
from io import BytesIO

import pillow_heif
from PIL import Image, ImageChops, ImageCms, ImageStat

from imgsvc.domain.model import Limits

pillow_heif.register_heif_opener()
import_module("pillow_jxl")  # makes itself known

LIMITS = Limits(max_pixels=50_000_000, max_side=16_384, max_frames=300, max_animation_pixels=200_000_000)
"""What the settings allow where nobody says otherwise."""

JPEG_ORIENTATION_TAG = 0x0112
# How each EXIF orientation's camera stores a scene: what undoes the turn that a viewer makes
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@cache
def scene(width: int = 480, height: int = 320) -> Image.Image:
    """Something like a photograph: slow gradients, an off-centre patch, and the same fine grain on every run."""
    across = Image.linear_gradient("L").rotate(90).resize((width, height))
    down = Image.linear_gradient("L").resize((width, height))
    around = Image.radial_gradient("L").resize((width, height))
    grain = Image.frombytes("L", (64, 64), bytes((x * 7919 + x * x * 31) % 64 for x in range(64 * 64)))
    picture = Image.merge("RGB", (across, down, around))
    picture.paste((220, 30, 40), (width // 8, height // 8, width // 3, height // 3))
    return Image.blend(picture, grain.resize((width, height)).convert("RGB"), 0.1)


def encoded(image: Image.Image, fmt: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, fmt, **options)
    vars(image).pop("encoderconfig", None)  # Pillow would give it to the next format that it is a further frame of
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def distance(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two images of one size, in levels of 255."""
    assert one.size == other.size
    means = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean
    return sum(means) / len(means)


def pixel(image: Image.Image, across: float = 0.5, down: float = 0.5) -> tuple[int, ...]:
    value = image.convert("RGB").getpixel((int(image.width * across), int(image.height * down)))
    assert isinstance(value, tuple)
    return tuple(int(level) for level in value)


def near(pixel: tuple[int, ...], wanted: tuple[int, int, int], by: int = 4) -> bool:
    return all(abs(is_ - should) <= by for is_, should in zip(pixel, wanted, strict=True))


@cache
def photo(width: int = 480, height: int = 320, *, orientation: int | None = None) -> bytes:
    """A JPEG of the scene; with an orientation, stored turned so that it looks the same upright."""
    image = scene(width, height)
    if orientation is None:
        return encoded(image, "JPEG", quality=95)
    stored = image.transpose(STORED[orientation]) if orientation in STORED else image
    return encoded(stored, "JPEG", quality=95, exif=exif(orientation))


def noise(width: int, height: int) -> bytes:
    """A PNG that cannot be made smaller."""
    return encoded(Image.effect_noise((width, height), 100).convert("RGB"), "PNG")


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[JPEG_ORIENTATION_TAG] = orientation
    return tags


def plain(colour: object, mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.new(mode, size, colour)  # pyright: ignore[reportArgumentType] (a colour is what the mode says)


def grey_16_bit() -> bytes:
    """A PNG of four 16-bit greys: black, a quarter, a half, white."""
    row = b"".join(struct.pack("<H", level) * 16 for level in (0, 16384, 32768, 65535))
    return encoded(Image.frombytes("I;16", (64, 16), row * 16), "PNG")


def palette_with_transparency() -> bytes:
    """A palette PNG: its left half opaque red, its right half transparent black."""
    image = Image.new("P", (64, 16), 0)
    image.putpalette([255, 0, 0, 0, 0, 0])
    image.paste(1, (32, 0, 64, 16))
    return encoded(image, "PNG", transparency=1)


def swapped_primaries_profile() -> bytes:
    """An ICC profile of sRGB whose red and blue primaries are exchanged: no viewer can mistake it for sRGB."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace(b"rXYZ", b"____").replace(b"bXYZ", b"rXYZ").replace(b"____", b"bXYZ")
    description = "sRGB built-in".encode("utf-16-be")
    assert description in profile
    return profile.replace(description, "swapped RGB!!".encode("utf-16-be"))


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + kind + body + struct.pack("!I", zlib.crc32(kind + body))


def png_header_bomb(width: int = 40_000, height: int = 40_000) -> bytes:
    """A 1-bit PNG whose pixels are as good as nothing in the file and everything in memory."""
    header = struct.pack("!IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = zlib.compress(bytes((width // 8 + 1) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


def png_text_bomb() -> bytes:
    """A small PNG with a compressed text of 200 MB."""
    whole = encoded(plain("red"), "PNG")
    text = b"Comment\x00\x00" + zlib.compress(bytes(200_000_000), 9)
    return whole[:33] + png_chunk(b"zTXt", text) + whole[33:]


def webp_header_bomb() -> bytes:
    """A WebP of 16383 x 16383 pixels, by its header."""
    body = struct.pack("<I", 0x10)[:4] + (16_382).to_bytes(3, "little") * 2
    chunk = b"VP8X" + struct.pack("<I", len(body)) + body
    image = encoded(plain("red"), "WEBP")[12:]
    return b"RIFF" + struct.pack("<I", 4 + len(chunk) + len(image)) + b"WEBP" + chunk + image


def many_frames(count: int, fmt: str) -> bytes:
    """A GIF or WebP of 8 x 8 pixels whose second frame is repeated, at a few bytes each."""
    two = encoded(
        plain("red", size=(8, 8)), fmt, save_all=True, append_images=[plain("blue", size=(8, 8))], duration=50
    )
    if fmt == "GIF":
        second = two.index(b"\x21\xf9", two.index(b"\x21\xf9") + 2)
        return two[:second] + two[second:-1] * (count - 1) + b";"
    second = two.index(b"ANMF", two.index(b"ANMF") + 4)
    body = two[12:second] + two[second:] * (count - 1)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def growing_gif(width: int, height: int) -> bytes:
    """A GIF of 8 x 8 pixels whose second frame is larger, or says so where nobody could hold it."""
    small, large = (animation(2, size=size) for size in ((8, 8), (min(width, 64), min(height, 64))))
    first, second = (gif.index(b"\x21\xf9", gif.index(b"\x21\xf9") + 2) for gif in (small, large))
    frame = bytearray(large[second:])
    frame[13:17] = struct.pack("<HH", width, height)
    return small[:first] + frame


def many_scans(scans: int, size: tuple[int, int]) -> bytes:
    """A progressive JPEG whose last scan is repeated: 35 bytes each, that go over all of the picture once more."""
    jpeg = encoded(plain("red", size=size), "JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * scans + b"\xff\xd9"


def png_of_chunks(count: int) -> bytes:
    """A PNG with as many texts of no use."""
    whole = encoded(plain("red"), "PNG")
    return whole[:33] + png_chunk(b"tEXt", b"a\x00b") * count + whole[33:]


def animation(frames: int, fmt: str = "GIF", size: tuple[int, int] = (8, 8)) -> bytes:
    pictures = [plain((index * 37 % 256, index // 256, 0), size=size) for index in range(frames)]
    return encoded(pictures[0], fmt, save_all=True, append_images=pictures[1:], duration=50)


def two_pictures() -> bytes:
    """An MPO: a red picture, and a blue one behind it."""
    return encoded(plain("red"), "MPO", save_all=True, append_images=[plain("blue")])


def full_of_metadata() -> bytes:
    """A JPEG with all the metadata that there is, each piece marked SECRET."""
    tags = exif(1)
    tags[0x010F] = "SECRET camera"
    tags.get_ifd(0x8825)[0x001D] = "SECRET place"
    photo = tags.get_ifd(0x8769)
    photo[0xA431], photo[0x927C] = "SECRET serial", b"SECRET maker's note"
    tags.get_ifd(0x0001)[0x0201] = b"SECRET thumbnail"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>SECRET</x:xmpmeta>"
    whole = encoded(scene(), "JPEG", exif=tags, comment=b"SECRET comment", xmp=xmp, icc_profile=profile)
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\x00\x00\x00\x00\x00\x0b\x1c\x02\x50\x00\x06SECRET\x00"
    return whole[:2] + b"\xff\xed" + struct.pack("!H", len(iptc) + 2) + iptc + whole[2:] + b"SECRET tail"


def _with_chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG with this chunk before its pixels."""
    whole = encoded(scene(), "PNG")
    return whole[:33] + png_chunk(kind, body) + whole[33:]


KINDS: dict[str, Callable[[], bytes]] = {
    "large WebP": lambda: encoded(scene(1600, 1200), "WEBP"),
    "lossless WebP": lambda: encoded(scene(1600, 1200), "WEBP", lossless=True),
    "WebP with alpha": lambda: encoded(scene(1600, 1200).convert("RGBA"), "WEBP"),
    "progressive JPEG": lambda: encoded(scene(), "JPEG", progressive=True, icc_profile=swapped_primaries_profile()),
    "CMYK JPEG": lambda: encoded(scene().convert("CMYK"), "JPEG"),
    "LZW TIFF": lambda: encoded(scene(), "TIFF", compression="tiff_lzw"),
    "JPEG TIFF": lambda: encoded(scene(), "TIFF", compression="jpeg"),
    "deflated TIFF": lambda: encoded(scene(), "TIFF", compression="tiff_adobe_deflate"),
    "large 4:4:4 AVIF": lambda: encoded(scene(1600, 1200), "AVIF", speed=9, quality=90, subsampling="4:4:4"),
    "16-bit PNG": grey_16_bit,
    "JPEG XL": lambda: encoded(scene(), "JXL"),
    "lossless JPEG XL with alpha": lambda: encoded(scene().convert("RGBA"), "JXL", lossless=True, use_container=True),
    "HEIC": lambda: encoded(scene(), "HEIF", exif=exif(6)),
    "HEIC in tiles with alpha": lambda: encoded(scene().convert("RGBA"), "HEIF", tile_size=128),
    "HDR PNG": lambda: _with_chunk(b"cICP", b"\x09\x10\x00\x01"),
    "PNG with gamma": lambda: _with_chunk(b"gAMA", struct.pack("!I", 55_100)),
    "JPEG that ends early": lambda: photo()[:-3000],
    "PNG that ends early": lambda: encoded(scene(), "PNG")[:-3000],
    "LAB TIFF": lambda: encoded(Image.new("LAB", (64, 48), (100, 20, 30)), "TIFF"),
    "BigTIFF": lambda: encoded(scene(), "TIFF", big_tiff=True),
    "YCbCr TIFF": lambda: encoded(scene().convert("YCbCr"), "TIFF"),
    "palette PNG": palette_with_transparency,
    "MPO": two_pictures,
    "JPEG with metadata": full_of_metadata,
    "turned JPEG": lambda: photo(orientation=6),
    "animated GIF": lambda: animation(3, "GIF"),
    "animated WebP": lambda: animation(3, "WEBP"),
    "animated PNG": lambda: animation(3, "PNG"),
    "animated AVIF": lambda: animation(3, "AVIF"),
}
"""One image for each code path that a library might load late."""
