"""The part of a result document that has an original's facts."""

from typing import Annotated

from typing_extensions import TypedDict

from imgsvc.domain.described import Described
from imgsvc.domain.facts import COLOUR, DHASH, MAX_CAMERA_CHARS, MAX_COLOURS, TAKEN_AT


class Position(TypedDict):
    """A place on Earth (WGS 84)."""

    latitude: Annotated[float, Described("Degrees north.", 35.6586, minimum=-90, maximum=90)]
    longitude: Annotated[float, Described("Degrees east.", 139.7454, minimum=-180, maximum=180)]
    altitude: Annotated[float | None, Described("Metres above the sea.", None)]


class Facts(TypedDict):
    """What an original tells beside its size."""

    taken_at: Annotated[
        str | None,
        Described(
            "When it was taken, by its metadata (RFC 3339). Without an offset it is a local time: the camera did not "
            "record one.",
            "2026-05-01T12:34:56+02:00",
            pattern=f"^{TAKEN_AT}$",
        ),
    ]
    camera: Annotated[
        str | None,
        Described("Maker and model, by its metadata.", "Canon EOS 5D", minLength=1, maxLength=MAX_CAMERA_CHARS),
    ]
    palette: Annotated[
        list[Annotated[str, Described(pattern=f"^{COLOUR}$")]],
        Described(
            "Its main colours, the one that covers most first; transparent pixels do not count. Empty in results of "
            "earlier versions.",
            ["#7a6b52", "#2c3b46", "#d9cfbf", "#a4482f", "#55705b"],
            maxItems=MAX_COLOURS,
        ),
    ]
    dhash: Annotated[
        str | None,
        Described(
            "Its difference hash: similar pictures differ in few of the 64 bits. Null in results of earlier versions.",
            "3a7b19c4d2e08f65",
            pattern=f"^{DHASH}$",
        ),
    ]
    position: Annotated[
        Position | None,
        Described("Where it was taken, by its metadata; only if the upload asked for it with `keep_location`.", None),
    ]
