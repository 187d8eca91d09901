"""The facts of an original: what its metadata say, and what its picture shows."""

import re
from datetime import datetime

from PIL import Image

from imgsvc.domain.facts import CAMERA_CHARS, MAX_ALTITUDE_M, MAX_CAMERA_CHARS, Facts, Position
from imgsvc.imaging.colour import flat
from imgsvc.imaging.exif import Exif, text

_MAKE, _MODEL, _TAKEN_AT, _OFFSET = 0x010F, 0x0110, 0x9003, 0x9011
_LATITUDE, _LONGITUDE, _BELOW, _ALTITUDE = 2, 4, 5, 6

_LOCAL = re.compile(r"([0-9]{4})[:/-]([0-9]{2})[:/-]([0-9]{2})[ T]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.[0-9]+)?")
_ZONE = re.compile(r"Z|[+-](?:0[0-9]|1[0-4]):[0-5][0-9]")
_UTC = frozenset({"Z", "+00:00", "-00:00"})
_FIRST_YEAR = 1800
"""No photograph is as old; cameras whose clock was never set write the year 0 or 1."""

_MAX_PACKET_BYTES = 128 * 1024
_COMPANY = re.compile(
    r"[\s,]+(imaging|optical|digital|camera|electronics|company|corporation|corp|co|ltd|inc|ag|gmbh)\b\.?",
    re.IGNORECASE,
)
_GAP = 3.0  # by a fifth of the work, what comes of it can hardly be told from that of the filter alone


def facts(found: Exif, packet: bytes, picture: Image.Image, palette: tuple[str, ...], *, with_position: bool) -> Facts:
    """All that is known of an original.

    Args:
        found: its EXIF.
        packet: its XMP, which is asked for what the EXIF lacks. It is searched, not parsed: entities are not expanded.
        picture: a small upright picture of all of it, in sRGB.
        palette: its colours.
        with_position: whether anybody may know where it was taken.
    """
    return Facts(
        taken_at=taken_at(found, packet),
        camera=camera(found, packet),
        palette=palette,
        dhash=dhash(picture),
        position=position(found) if with_position else None,
    )


def taken_at(found: Exif, packet: bytes = b"") -> str | None:
    """When it was taken, as facts.TAKEN_AT; None where no date is given, or one that no clock shows."""
    moment = _moment(text(found.photo.get(_TAKEN_AT)), text(found.photo.get(_OFFSET)))
    return moment or _moment(_told(packet, "exif:DateTimeOriginal")) or _moment(_told(packet, "photoshop:DateCreated"))


def _moment(words: str, zone: str = "") -> str | None:
    words = words.strip()
    local = _LOCAL.match(words)
    if local is None:
        return None
    year, month, day, clock = local.groups()
    try:
        moment = datetime.fromisoformat(f"{year}-{month}-{day}T{clock}")  # noqa: DTZ007, RUF100 (it has no zone)
    except ValueError:
        return None
    zone = words[local.end() :] or zone.strip()
    if moment.year < _FIRST_YEAR or (words[local.end() :] and not _ZONE.fullmatch(zone)):
        return None
    zone = zone if _ZONE.fullmatch(zone) else ""
    return moment.isoformat(timespec="seconds") + ("Z" if zone in _UTC else zone)


def camera(found: Exif, packet: bytes = b"") -> str | None:
    """Maker and model as people call it: `Canon EOS 5D`, not `Canon Canon EOS 5D`."""
    make = _name(text(found.image.get(_MAKE)) or _told(packet, "tiff:Make"))
    model = _name(text(found.image.get(_MODEL)) or _told(packet, "tiff:Model"))
    first = model.casefold().partition(" ")[0]
    if first not in re.split(r"[\s,]+", make.casefold()):
        model = f"{_COMPANY.sub('', make)} {model}".strip()
    return model[:MAX_CAMERA_CHARS].strip() or None


def _name(words: str) -> str:
    return " ".join(re.sub(f"[^{CAMERA_CHARS}]", " ", words.replace("_", " ")).split())


def _told(packet: bytes, name: str) -> str:
    """A short value in an XMP packet, as an attribute or an element."""
    found = re.search(
        name.encode() + rb"""(?:\s{0,8}=\s{0,8}["']|>)([^"'<>]{1,100})["'<]""", packet[:_MAX_PACKET_BYTES]
    )
    return found[1].decode("utf-8", "ignore") if found else ""


def position(found: Exif) -> Position | None:
    """Where it was taken, rounded to 0.1 m; None where that is not given, or is no place on Earth."""
    latitude = _degrees(found, _LATITUDE, "NS", 90)
    longitude = _degrees(found, _LONGITUDE, "EW", 180)
    if latitude is None or longitude is None:
        return None
    heights = found.numbers(found.place.get(_ALTITUDE))
    height = heights[0] if len(heights) == 1 else None
    if height is not None:
        below = found.numbers(found.place.get(_BELOW)) in {(1,), (3,)}
        height = round(-height if below else height, 1)
        height = height if abs(height) <= MAX_ALTITUDE_M else None
    return Position(latitude, longitude, height)


def _degrees(found: Exif, tag: int, signs: str, most: float) -> float | None:
    """Degrees, minutes and seconds, of which the last may be missing, as a signed number."""
    sign = text(found.place.get(tag - 1)).strip().upper()
    parts = found.numbers(found.place.get(tag))
    if len(sign) != 1 or sign not in signs or not 1 <= len(parts) <= 3 or min(parts) < 0:
        return None
    degrees = sum(part / 60**power for power, part in enumerate(parts))
    return round(-degrees if sign == signs[1] else degrees, 6) if degrees <= most else None


def dhash(picture: Image.Image) -> str:
    """The difference hash: 64 bits that change little where the picture does, as 16 hexadecimal digits.

    The picture, on white where it is transparent, in grey (0.299 R + 0.587 G + 0.114 B), is brought to 9 x 8 pixels
    (Lanczos). Row by row, each bit is 1 where a pixel is brighter than the one on its left; the first is the highest.
    """
    grey = flat(picture, "#ffffff").convert("L")
    small = grey.resize((9, 8), Image.Resampling.LANCZOS, reducing_gap=_GAP)
    levels = small.tobytes()
    bits = 0
    for at in range(72):
        if at % 9:
            bits = bits << 1 | (levels[at] > levels[at - 1])
    return f"{bits:016x}"
