"""How much memory a variant takes: its pixels, the steps that they go through, and the encoder that writes them."""

from imgsvc.domain.model import FileFormat
from imgsvc.imaging.encode import HELD_JPEG_BYTES, LARGE_WEBP_PIXELS, Tuning, may_hold_jpeg
from imgsvc.imaging.steps import Plan
from imgsvc.imaging.write import MAX_TRIES, WHOLE_PIXELS

BASE_BYTES = 160 * 1024 * 1024
"""Address space that a decoder takes before its first image."""

_PIXEL_BYTES = 4  # of Pillow's pixels in colour, with alpha or without
_STEP_COPIES = 2  # what a step is given, and what it makes of it

# bytes a pixel that an encoder takes for itself: of noise, its worst, on 4096 x 4096; and at 8192 x 8192 of one colour
_ENCODER_BYTES: dict[FileFormat, float] = {"jpeg": 2.5, "png": 1, "gif": 13, "webp": 22, "avif": 39, "jxl": 84}
_LEAST_ENCODER_BYTES: dict[FileFormat, float] = {"jpeg": 0, "png": 0, "gif": 5, "webp": 6, "avif": 28, "jxl": 13}
_LEAST_ALPHA_BYTES: dict[FileFormat, float] = {"webp": 10}

_LARGE_WEBP_BYTES = 12
_COMPARED_BYTES = 72  # a pixel, of all that similarity.py makes of two pictures
_HELD_JPEG_BYTES = 6 + HELD_JPEG_BYTES  # its coefficients at 4:4:4, and room for the file

# bytes a pixel of a file of a detailed photograph; all of them are held until the last is made
_FILE_BYTES: dict[FileFormat, float] = {"jpeg": 0.5, "png": 3, "gif": 1, "webp": 0.4, "avif": 0.3, "jxl": 0.3}


def output_bytes(plan: Plan) -> int:
    """About how much it takes to make a variant of pixels that are decoded."""
    pixels = _pixels(plan)
    encoder = _ENCODER_BYTES[plan.format]
    if plan.format == "webp" and pixels >= LARGE_WEBP_PIXELS:
        encoder = _LARGE_WEBP_BYTES
    elif plan.format == "jpeg" and may_hold_jpeg(pixels, Tuning.of(plan.variant)):
        encoder = _HELD_JPEG_BYTES
    overlay = plan.overlay.size_bytes(plan.place.size) if plan.overlay else 0
    return round(pixels * (_PIXEL_BYTES * _STEP_COPIES + encoder)) + overlay + _search_bytes(plan)


def _search_bytes(plan: Plan) -> int:
    """What a search holds besides its last file: what it compares with, and the files that it has tried."""
    variant = plan.variant
    compared = min(_pixels(plan), WHOLE_PIXELS) * _COMPARED_BYTES if variant.quality == "auto" else 0
    is_searched = variant.quality == "auto" or variant.max_bytes is not None
    return compared + (MAX_TRIES - 1) * file_bytes(plan) if is_searched else 0


def least_output_bytes(plan: Plan, *, transparent: bool) -> int:
    """What it takes at the very least, of the plainest picture."""
    alpha = _LEAST_ALPHA_BYTES.get(plan.format, 0) if transparent and plan.variant.background is None else 0
    encoder = _pixels(plan) * (_LEAST_ENCODER_BYTES[plan.format] + alpha)
    overlay = plan.overlay.least_bytes(plan.place.size) if plan.overlay else 0
    return round(_pixels(plan) * _PIXEL_BYTES + max(encoder, overlay))  # one after the other


def file_bytes(plan: Plan) -> int:
    """About how much its file has."""
    return round(_pixels(plan) * plan.frames * _FILE_BYTES[plan.format])


def _pixels(plan: Plan) -> int:
    width, height = plan.place.canvas
    return width * height
