"""Load, before a process is locked down, everything that Pillow loads only when it meets a file that needs it."""

import importlib
from io import BytesIO

from PIL import AvifImagePlugin, Image, ImageCms

from imgsvc.formats import FORMATS
from imgsvc.imaging.render import render
from imgsvc.model import Limits, Variant

_LATE_IMPORTS = (
    *("BmpImagePlugin", "GifImagePlugin", "JpegImagePlugin", "MpoImagePlugin", "PngImagePlugin"),
    *("TiffImagePlugin", "WebPImagePlugin", "ImageColor", "ImageOps", "ImagePalette", "ImageSequence"),
)

_SIZE = (16, 16)
_LIMITS = Limits(max_pixels=256, max_side=16, max_frames=1)
_VARIANTS = (Variant("whole", 16, 16), Variant("large", 12, 12), Variant("small", 2, 2))


def warm_up() -> None:
    """Decode and encode a tiny image of every format, through an ICC profile."""
    # one decoder process a core is the parallelism; libavif would start a thread a core in each
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    for name in _LATE_IMPORTS:
        importlib.import_module(f"PIL.{name}")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    for name in FORMATS:
        render(_sample(name, profile), _VARIANTS, _LIMITS, lambda _step, _done, _total: None)


def _sample(name: str, profile: bytes) -> bytes:
    file = BytesIO()
    Image.new("RGB", _SIZE).save(file, name.upper(), icc_profile=profile)
    return file.getvalue()
