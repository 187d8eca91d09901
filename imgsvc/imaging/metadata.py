"""Metadata of an original: what is read of it, and what may stay with an image whose uploader asks for it.

What stays says how the image was taken, never by which one camera, and where only if the uploader asks for that too. A
list of what is safe, so that what nobody has thought of stays out: serial numbers, owners' names, maker notes, embedded
thumbnails, XMP and IPTC among it.
"""

from collections.abc import Set

from PIL import ExifTags

from imgsvc.imaging import exif
from imgsvc.imaging.exif import Directory, Exif, Value

_BASE, _GPS = ExifTags.Base, ExifTags.GPS
_IMAGE_TEXTS = frozenset(
    {
        *(_BASE.ImageDescription, _BASE.Make, _BASE.Model, _BASE.Software, _BASE.DateTime),
        *(_BASE.Artist, _BASE.Copyright),
    }
)
_PHOTO_TEXTS = frozenset(
    {
        *(_BASE.DateTimeOriginal, _BASE.DateTimeDigitized, _BASE.OffsetTime, _BASE.OffsetTimeOriginal),
        *(_BASE.LensMake, _BASE.LensModel),
    }
)
_PHOTO_NUMBERS = frozenset(
    {
        *(_BASE.ExposureTime, _BASE.FNumber, _BASE.ExposureProgram, _BASE.ISOSpeedRatings),
        *(_BASE.ShutterSpeedValue, _BASE.ApertureValue, _BASE.BrightnessValue, _BASE.ExposureBiasValue),
        *(_BASE.MaxApertureValue, _BASE.SubjectDistance, _BASE.MeteringMode, _BASE.LightSource, _BASE.Flash),
        *(_BASE.FocalLength, _BASE.FocalLengthIn35mmFilm, _BASE.ExposureMode, _BASE.WhiteBalance),
        *(_BASE.SceneCaptureType, _BASE.LensSpecification),
    }
)
_PLACE_TEXTS = frozenset({_GPS.GPSLatitudeRef, _GPS.GPSLongitudeRef})
_PLACE_NUMBERS = frozenset({_GPS.GPSLatitude, _GPS.GPSLongitude, _GPS.GPSAltitudeRef, _GPS.GPSAltitude})
_MAX_NUMBERS = 4  # LensSpecification's


def read(block: bytes) -> Exif:
    """The tags that are of use here, of an EXIF block or of a TIFF file."""
    return exif.read(block, _IMAGE_TEXTS, _PHOTO_TEXTS | _PHOTO_NUMBERS, _PLACE_TEXTS | _PLACE_NUMBERS)


def safe_exif(found: Exif, *, with_place: bool) -> bytes | None:
    """The EXIF block of those tags that are safe to pass on; None where there are none."""
    image = _safe(found.image, _IMAGE_TEXTS, frozenset())
    photo = _safe(found.photo, _PHOTO_TEXTS, _PHOTO_NUMBERS)
    place = _safe(found.place, _PLACE_TEXTS, _PLACE_NUMBERS) if with_place else {}
    return exif.written(found.order, image, photo, place) if image or photo or place else None


def _safe(tags: Directory, texts: Set[int], numbers: Set[int]) -> dict[int, Value]:
    """The tags that are of their type. Texts end at their first NUL: behind it could be anything."""
    kept: dict[int, Value] = {}
    for tag, value in tags.items():
        if value.kind not in exif.TEXTS:
            if tag in numbers and value.count <= _MAX_NUMBERS:
                kept[tag] = value
        elif tag in texts and (words := value.raw.partition(b"\x00")[0]):
            kept[tag] = Value(value.kind, words + b"\x00")
    return kept
