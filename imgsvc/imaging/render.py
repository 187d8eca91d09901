"""The way of an image through the decoder: bytes in, one encoded file a variant out.

Once per image: open → limits → decode (source.py). Then per variant, the largest first, the steps below.
Every step leaves alone what an earlier variant has done already, so a smaller variant starts from a larger one.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

from PIL import Image

from imgsvc.imaging import colour
from imgsvc.imaging.encode import encode
from imgsvc.imaging.source import Picture, Size, decode, open_source, turned
from imgsvc.model import Limits, Rendered, Rendition, Variant

OnStep = Callable[[str, int, int], None]
"""Called as a step begins: its name, and how many of how many steps are done."""

Step = Callable[[Picture, Variant], Picture]

_TURNS: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def fit(picture: Picture, variant: Variant) -> Picture:
    """Shrink to fit inside the variant's box; never enlarge."""
    size = turned(fitted(picture.whole, variant), picture.orientation)
    width = picture.pixels.width
    if size == picture.pixels.size:
        return picture
    # Below 2:1 LANCZOS takes 30 ms for a photo of 1024 x 836 and BICUBIC 19, both 37.6 dB from a full-size LANCZOS.
    # Above, reducing first by whole numbers (reducing_gap) takes 3.5 ms for a thumbnail instead of 8, at -0.4 dB.
    filter_ = Image.Resampling.LANCZOS if width >= 2 * size[0] else Image.Resampling.BICUBIC
    return replace(picture, pixels=picture.pixels.resize(size, filter_, reducing_gap=2.0))


def upright(picture: Picture, _variant: Variant) -> Picture:
    """Turn and flip as the EXIF orientation says."""
    turn = _TURNS.get(picture.orientation)
    return picture if turn is None else replace(picture, pixels=picture.pixels.transpose(turn), orientation=1)


def to_srgb(picture: Picture, _variant: Variant) -> Picture:
    """Convert to the colour space that every viewer assumes of an image without a profile."""
    return replace(picture, pixels=colour.to_srgb(picture.pixels, picture.profile), profile=None)


# The costly steps work on few pixels: turning and converting come after the fit
STEPS: tuple[Step, ...] = (fit, upright, to_srgb)


def render(source: bytes, variants: Sequence[Variant], limits: Limits, on_step: OnStep) -> Rendered:
    """Make every variant of an image file.

    Args:
        source: the file, of a format in formats.FORMATS.
        variants: what to make; their names must differ. The renditions come in this order.
        limits: what the file may be, judged before any pixel is decoded.
        on_step: called with "decode", then with "encode:<variant>" for each variant, largest first.

    Raises:
        JobError: unsupported_format, image_too_large, too_many_frames or decode_failed.
        MemoryError: the image does not fit in the memory that this process may use.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of flaws in files; a client reads errors only
        return _render(source, variants, limits, on_step)


def _render(source: bytes, variants: Sequence[Variant], limits: Limits, on_step: OnStep) -> Rendered:
    total = 1 + len(variants)
    on_step("decode", 0, total)
    opened = open_source(source, limits)
    whole = (opened.original.width, opened.original.height)
    largest_first = sorted(variants, key=lambda variant: fitted(whole, variant), reverse=True)

    made = [decode(opened, fitted(whole, largest_first[0]))]
    renditions: dict[str, Rendition] = {}
    for done, variant in enumerate(largest_first, start=1):
        on_step(f"encode:{variant.name}", done, total)
        picture = _start(made, fitted(whole, variant))
        for step in STEPS:
            picture = step(picture, variant)
        made.append(picture)
        renditions[variant.name] = _rendition(picture, variant)
    return Rendered(opened.original, tuple(renditions[variant.name] for variant in variants))


def _rendition(picture: Picture, variant: Variant) -> Rendition:
    width, height = picture.pixels.size
    data = encode(picture.pixels, variant.format, variant.quality)
    return Rendition(variant.name, width, height, variant.format, data)


def fitted(whole: Size, variant: Variant) -> Size:
    """The size of an image inside the variant's box: its shape kept, at least 1 pixel a side, never enlarged."""
    width, height = whole
    scale = min(variant.width / width, variant.height / height, 1.0)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _start(made: Sequence[Picture], size: Size) -> Picture:
    """The smallest picture to make `size` from without a loss: that very size, or at least twice it."""
    width, height = size
    for picture in reversed(made):
        has = turned(picture.pixels.size, picture.orientation)
        if has == size or (has[0] >= 2 * width and has[1] >= 2 * height):
            return picture
    return made[0]
