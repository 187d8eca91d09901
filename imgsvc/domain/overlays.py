"""Overlays: images that variants may lay over pictures, such as a watermark. The presets file names and pins them.

A variant names an overlay; its job keeps the SHA-256 of the file too, so that it is made with the file of the moment of
its upload even if the presets file names another one by then.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from imgsvc.domain.formats import FORMATS, SNIFF_BYTES, sniff
from imgsvc.domain.rules import either, flag, matching, number, one_of, record, whole

MAX_OVERLAYS = 20
MAX_FILE_BYTES = 1024 * 1024

Position = Literal["center", "top", "bottom", "left", "right", "top-left", "top-right", "bottom-left", "bottom-right"]

_NAME = re.compile(r"[a-z0-9_-]{1,40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FIELDS = ("file", "sha256")


@dataclass(frozen=True, slots=True)
class Overlay:
    """An overlay as a variant has it.

    `scale` is the part of the picture's width and height that it fits into, as large as its aspect ratio allows.
    `margin` is its distance to the picture's edges, and to its repetitions where it is a `tile`: in pixels where it is
    a whole number, or as a fraction of the picture's shorter side. `sha256` is that of its file, "" until it is pinned;
    which file a name stands for makes no difference between two variants.
    """

    name: str
    position: Position = "bottom-right"
    opacity: float = 1.0
    scale: float = 0.25
    margin: float = 0.02
    tile: bool = False
    sha256: str = field(default="", compare=False)


OVERLAY = record(
    Overlay,
    {
        "name": matching(_NAME, "the name of an overlay"),
        "position": one_of(Position),
        "opacity": number(0, 1),
        "scale": number(0.01, 1),
        "margin": either(whole(0, 8192, "pixels"), number(0, 0.5)),
        "tile": flag(),
        "sha256": matching(re.compile(f"(?:{_SHA256.pattern})?"), "the SHA-256 of its file, or empty"),
    },
)
"""What the field `overlay` of a variant may be."""


class OverlayError(ValueError):
    """An overlay is invalid, or there is none of that name. The message begins with the place in the presets file."""


@dataclass(frozen=True, slots=True)
class OverlayFile:
    """The file of an overlay, whose SHA-256 has been verified."""

    sha256: str
    data: bytes
    media_type: str


Overlays = Mapping[str, OverlayFile]
"""The overlays of a service, by name."""


def overlay_key(sha256: str) -> str:
    """Where the file is stored."""
    return f"overlays/{sha256}"


def read(where: str, written: object, folder: Path) -> Overlays:
    """Reads the tables `[overlays.<name>]` of a presets file in `folder`, and the files that they name.

    Raises:
        OverlayError: a table is invalid, or its file is missing, too large, no image, or not the one that is pinned.
    """
    if not isinstance(written, dict) or len(cast("dict[str, object]", written)) > MAX_OVERLAYS:
        raise OverlayError(f"{where} must have at most {MAX_OVERLAYS} overlays, each a name with a table of fields")
    return {name: _overlay(where, name, fields, folder) for name, fields in cast("dict[str, object]", written).items()}


def _overlay(where: str, name: str, written: object, folder: Path) -> OverlayFile:
    path = f"{where}.{name[:80]}"
    if not _NAME.fullmatch(name):
        raise OverlayError(f"{path} is not a valid name of an overlay: use 1 to 40 characters of a-z, 0-9, _ and -")
    if not isinstance(written, dict):
        raise OverlayError(f"{path} must be an overlay with the fields {' and '.join(_FIELDS)}")
    fields = cast("dict[str, object]", written)
    for key in fields:
        if key not in _FIELDS:
            raise OverlayError(f"{path}.{key[:80]} is no field of an overlay (they are {' and '.join(_FIELDS)})")
    file = fields.get("file")
    if not isinstance(file, str) or not file:
        raise OverlayError(f"{path}.file must be the path of an image, relative to the presets file")
    data = _content(f"{path}.file", folder / file)
    actual = hashlib.sha256(data).hexdigest()
    _check_pin(f"{path}.sha256", fields.get("sha256"), actual, file)
    fmt = sniff(data[:SNIFF_BYTES])
    if fmt is None:
        raise OverlayError(f"{path}.file: {file} is no image that can be read here: use {', '.join(FORMATS)}")
    return OverlayFile(actual, data, fmt.media_type)


def _content(where: str, file: Path) -> bytes:
    try:
        if not file.is_file():  # opening a pipe would wait for its writer
            raise OverlayError(f"{where}: there is no file {file}")
        with file.open("rb") as opened:
            data = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise OverlayError(f"{where}: {file} cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise OverlayError(f"{where}: {file} has more than {MAX_FILE_BYTES} bytes: use a smaller image")
    return data


def _check_pin(where: str, pinned: object, actual: str, file: str) -> None:
    if pinned is None:
        raise OverlayError(f'{where} must be given: if {file} is the right image, write sha256 = "{actual}"')
    if not isinstance(pinned, str) or not _SHA256.fullmatch(pinned.lower()):
        raise OverlayError(f"{where} must be 64 hexadecimal digits, as `sha256sum {file}` writes them")
    if pinned.lower() != actual:
        raise OverlayError(f"{where} is {pinned.lower()}, and {file} has {actual}: correct the one that is wrong")
