"""Load, before a process is locked down, everything that Pillow loads only when it meets a file that needs it."""

import importlib
from io import BytesIO

from PIL import AvifImagePlugin, Image, ImageCms

from imgsvc.domain.formats import FORMATS, HEIF, HEIF_READER, JXL, JXL_CODEC
from imgsvc.domain.model import Crop, Limits, Variant
from imgsvc.domain.overlays import Overlay
from imgsvc.imaging.encode import OUTPUTS
from imgsvc.imaging.render import render
from imgsvc.imaging.search import CURVES

_LATE_IMPORTS = (
    *("BmpImagePlugin", "GifImagePlugin", "JpegImagePlugin", "MpoImagePlugin", "PngImagePlugin"),
    *("TiffImagePlugin", "WebPImagePlugin", "ImageColor", "ImageOps", "ImagePalette", "ImageSequence"),
)

_HEIF_OPTIONS = {"thumbnails": False, "depth_images": False, "aux_images": False, "decode_threads": 1}
_OVERLAY = "of this warm-up"
_SIDE = 64  # the least that every codec takes
_LIMITS = Limits(max_pixels=_SIDE**2, max_side=_SIDE, max_frames=2, max_animation_pixels=2 * _SIDE**2)
_SMALL = Variant("small", 2, 2)
_VARIANTS = (
    *(Variant(f"whole_{fmt}", _SIDE, _SIDE, format=fmt, frames="all") for fmt in OUTPUTS if fmt in FORMATS),
    Variant("all_steps", 4, 8, fit="cover", gravity="entropy", blur=1, sharpen=1, grayscale=True, strip=False),
    Variant("geometry", 8, 4, fit="cover", gravity="attention", crop=Crop(1, 1, 60, 50), trim=5, rotate=90, padding=1),
    *(Variant(f"wide_{fmt}", 2, 2, format=fmt, gamut="keep") for fmt in ("png", "jpeg")),
    Variant("overlaid", 2, 2, overlay=Overlay("warm", opacity=0.5, tile=True, sha256=_OVERLAY)),
    *(Variant(f"searched_{fmt}", 32, 32, format=fmt, quality="auto", max_bytes=1) for fmt in CURVES if fmt in FORMATS),
    Variant("set", 4, 3, fit="cover", widths=(2, 4), formats=("webp", "jpeg")),
)


def warm_up() -> None:
    """Read a tiny picture of every format, through an ICC profile; of one, and of an animation, make everything."""
    # one decoder process a core is the parallelism; libavif would start a thread a core in each, and libheif four
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    for name in _LATE_IMPORTS:
        importlib.import_module(f"PIL.{name}")
    if HEIF.name in FORMATS:
        importlib.import_module(HEIF_READER).register_heif_opener(**_HEIF_OPTIONS)
    if JXL.name in FORMATS:
        importlib.import_module(JXL_CODEC)  # makes itself known to Pillow
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    for name in FORMATS:
        _render(_sample(name, icc_profile=profile), _SMALL)
    _render(_sample("png", icc_profile=profile), *_VARIANTS)
    _render(_sample("gif", save_all=True, append_images=[Image.new("RGB", (_SIDE, _SIDE), "red")]), *_VARIANTS)


def _render(source: bytes, *variants: Variant) -> None:
    render(source, variants, _LIMITS, lambda _step, _done, _total: None, lambda _bytes: None, {_OVERLAY: source})


def _sample(name: str, **options: object) -> bytes:
    file = BytesIO()
    Image.new("RGB", (_SIDE, _SIDE)).save(file, name.upper(), **options)
    return file.getvalue()
