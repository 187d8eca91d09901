"""Metadata that may stay with an image whose uploader asks for it: how it was taken, never where or by which camera.

A list of what is safe, so that what nobody has thought of stays out: positions, serial numbers, owners' names, maker
notes, embedded thumbnails, XMP and IPTC among it.
"""

from PIL import ExifTags, Image

_BASE = ExifTags.Base
_IMAGE_TAGS = frozenset(
    {
        *(_BASE.ImageDescription, _BASE.Make, _BASE.Model, _BASE.Software, _BASE.DateTime),
        *(_BASE.Artist, _BASE.Copyright),
    }
)
_PHOTO_TAGS = frozenset(
    {
        *(_BASE.ExposureTime, _BASE.FNumber, _BASE.ExposureProgram, _BASE.ISOSpeedRatings),
        *(_BASE.DateTimeOriginal, _BASE.DateTimeDigitized, _BASE.OffsetTime, _BASE.OffsetTimeOriginal),
        *(_BASE.ShutterSpeedValue, _BASE.ApertureValue, _BASE.BrightnessValue, _BASE.ExposureBiasValue),
        *(_BASE.MaxApertureValue, _BASE.SubjectDistance, _BASE.MeteringMode, _BASE.LightSource, _BASE.Flash),
        *(_BASE.FocalLength, _BASE.FocalLengthIn35mmFilm, _BASE.ExposureMode, _BASE.WhiteBalance),
        *(_BASE.SceneCaptureType, _BASE.LensMake, _BASE.LensModel, _BASE.LensSpecification),
    }
)
MAX_BYTES = 32 * 1024
"""Beyond it nothing is kept: a JPEG has room for 64 KiB, and honest tags of this list fill one."""


def safe_exif(image: Image.Image) -> bytes | None:
    """The EXIF block of those tags of `image` that are safe to pass on; None where there are none."""
    try:
        found = image.getexif()
        kept = Image.Exif()
        for tag in _IMAGE_TAGS & found.keys():
            kept[tag] = found[tag]
        photo = found.get_ifd(ExifTags.IFD.Exif)
        chosen = {tag: photo[tag] for tag in _PHOTO_TAGS & photo.keys()}
        if chosen:
            kept[ExifTags.IFD.Exif] = chosen
        block = kept.tobytes() if kept else b""
    except MemoryError:
        raise
    except Exception:  # Pillow raises all sorts of errors on broken EXIF, which is no reason to refuse a whole picture
        return None
    return block if 0 < len(block) <= MAX_BYTES else None
