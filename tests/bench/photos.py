"""Images like photographs, made up: the same ones on every machine and run.

What a codec makes of an image depends on how its detail is spread over the scales, and in photographs the finer ones
have the less of it: a smooth test picture would flatter every codec, and plain noise would slander them.
"""

from collections.abc import Callable
from io import BytesIO
from random import Random

from PIL import Image, ImageDraw

Picture = Image.Image

_FINER = 0.74
"""Strength of an octave beside the next coarser one: a JPEG of 6 MP and quality 85 takes 740 kB, as a real photo's."""


def photo(width: int, height: int) -> Picture:
    """Clouds of all scales in brightness, coarse ones in colour, and some things with hard edges before them."""
    random = Random(width * height)
    brightness = _clouds(width, height, random, finest=1)
    colours = (_clouds(width, height, random, finest=16) for _ in "br")
    picture = Image.merge("YCbCr", (brightness, *colours)).convert("RGB")
    things = picture.copy()
    draw = ImageDraw.Draw(things)
    for _ in range(40):
        x, y = random.randrange(width), random.randrange(height)
        box = (x, y, x + random.randrange(20, width // 6), y + random.randrange(20, height // 6))
        shape = random.choice((draw.ellipse, draw.rectangle))
        shape(box, fill=(random.randrange(256), random.randrange(256), random.randrange(256)))
    return Image.blend(picture, things, 0.5)


def with_alpha(width: int, height: int) -> Picture:
    """A photograph that fades out towards its corners."""
    picture = photo(width, height).convert("RGBA")
    fading = Image.radial_gradient("L").resize((width, height))
    picture.putalpha(fading.point([min(255, 2 * (255 - level)) for level in range(256)]))
    return picture


def moving(width: int, height: int, frames: int) -> list[Picture]:
    """A camera's slow way over a photograph, in 64 colours a frame."""
    scene = photo(width + 4 * frames, height + 2 * frames)
    return [
        scene.crop((4 * at, 2 * at, 4 * at + width, 2 * at + height)).quantize(64, Image.Quantize.FASTOCTREE)
        for at in range(frames)
    ]


def encoded(picture: Picture, fmt: str, **options: object) -> bytes:
    file = BytesIO()
    picture.save(file, fmt, **options)
    return file.getvalue()


def animated_gif(width: int, height: int, frames: int) -> bytes:
    first, *rest = moving(width, height, frames)
    return encoded(first, "GIF", save_all=True, append_images=rest, duration=80, loop=0)


SOURCES: dict[str, Callable[[], bytes]] = {
    "JPEG 6 MP": lambda: encoded(photo(2725, 2225), "JPEG", quality=85),
    "JPEG 24 MP": lambda: encoded(photo(6000, 4000), "JPEG", quality=85),
    "PNG with alpha 3 MP": lambda: encoded(with_alpha(2048, 1536), "PNG"),
    "WebP 6 MP": lambda: encoded(photo(2725, 2225), "WEBP", quality=80, method=2),
    "AVIF 6 MP": lambda: encoded(photo(2725, 2225), "AVIF", quality=60, speed=9),
    "GIF of 24 frames": lambda: animated_gif(640, 480, frames=24),
}


def _clouds(width: int, height: int, random: Random, finest: int) -> Picture:
    """Noise of every octave from `finest` pixels up to the whole picture, the coarser the stronger."""
    cell = finest
    clouds = _noise(width // cell, height // cell, random).resize((width, height), Image.Resampling.BICUBIC)
    while cell * 2 < max(width, height):
        cell *= 2
        coarser = _noise(max(1, width // cell), max(1, height // cell), random)
        clouds = Image.blend(coarser.resize((width, height), Image.Resampling.BICUBIC), clouds, _FINER)
    return clouds


def _noise(width: int, height: int, random: Random) -> Picture:
    return Image.frombytes("L", (width, height), random.randbytes(width * height))
