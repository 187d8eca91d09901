"""What an original tells beside its size: when, by what camera and where it was taken, its colours, and its hash.

All of it comes from a file that anybody may have written, by way of a decoder that such a file may control: `checked`
holds each value against its pattern and bounds.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

TAKEN_AT = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})?"
"""RFC 3339 to the second; without an offset it is a local time, of a camera that did not record one."""

MAX_CAMERA_CHARS = 100
CAMERA_CHARS = r"\w \-.,+/()&':#*!"
"""A class of characters: what the names of cameras are made of, and neither controls nor markup."""

COLOUR = "#[0-9a-f]{6}"
DHASH = "[0-9a-f]{16}"
MAX_COLOURS = 5
MAX_ALTITUDE_M = 100_000.0

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Position:
    """Degrees (WGS 84), north and east positive, and metres above the sea."""

    latitude: float
    longitude: float
    altitude: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """`taken_at` is like TAKEN_AT, the colours of `palette` are `#rrggbb`, `dhash` has 16 hexadecimal digits.

    All but the last two may be missing from a file; `position` is there only if it was asked for.
    """

    taken_at: str | None = None
    camera: str | None = None
    palette: tuple[str, ...] = ()
    dhash: str | None = None
    position: Position | None = None


NOT_KNOWN = Facts()


def checked(value: object) -> Facts:
    """The facts in a JSON object.

    Raises:
        ValueError: a value is not of its shape, or out of its bounds.
    """
    body = _object(value)
    palette = body.get("palette")
    if not isinstance(palette, list) or len(cast("list[object]", palette)) > MAX_COLOURS:
        raise ValueError("no list of a few colours")
    return Facts(
        taken_at=_optional(body.get("taken_at"), _like(TAKEN_AT)),
        camera=_optional(body.get("camera"), _like(f"[{CAMERA_CHARS}]{{1,{MAX_CAMERA_CHARS}}}")),
        palette=tuple(_like(COLOUR)(item) for item in cast("list[object]", palette)),
        dhash=_optional(body.get("dhash"), _like(DHASH)),
        position=_optional(body.get("position"), _position),
    )


def _position(value: object) -> Position:
    body = _object(value)
    return Position(
        latitude=_within(90)(body.get("latitude")),
        longitude=_within(180)(body.get("longitude")),
        altitude=_optional(body.get("altitude"), _within(MAX_ALTITUDE_M)),
    )


def _optional(value: object, read: Callable[[object], _T]) -> _T | None:
    return None if value is None else read(value)


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("a value where an object belongs")  # noqa: TRY004 (one error for all that is wrong)
    return cast("dict[str, object]", value)


def _within(most: float) -> Callable[[object], float]:
    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not -most <= value <= most:
            raise ValueError("a number out of its bounds")
        return float(value)

    return read


def _like(pattern: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError("a text of another shape")
        return value

    return read
