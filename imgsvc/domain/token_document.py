"""The document that answers `POST /tokens`; see documents.py."""

from typing import Annotated

from typing_extensions import TypedDict

from imgsvc.domain.described import Described
from imgsvc.domain.documents import UPLOAD_ID, Id

_EXAMPLE = "iut1.eNqrVspMUbJSMk42TTZNNkozTTNOSjM2MTY.Yk0vC0m5h2m3bqk7d0Xo8cYw3n1p6t9s4r2u5v8x1y0"
_PATH = f"/upload/{UPLOAD_ID}"


def _path(what: str, example: str) -> Described:
    return Described(what, example, format="uri-reference")


class Issued(TypedDict):
    """An upload token: whoever has it may make one upload, and follow it."""

    token: Annotated[str, Described("It is sent as `Authorization: Bearer …`, or as `?token=…`.", _EXAMPLE)]
    id: Id
    upload_url: Annotated[str, _path("Where to send the file; the token is in it.", f"/upload?token={_EXAMPLE}")]
    tus_url: Annotated[str, _path("The same for clients of tus.", f"/tus?token={_EXAMPLE}")]
    status_url: Annotated[str, _path("Without the token.", f"{_PATH}/status")]
    result_url: Annotated[str, _path("Without the token.", f"{_PATH}/result")]
    events_url: Annotated[str, _path("Without the token.", f"{_PATH}/events")]
    expires_at: Annotated[
        str,
        Described("When the token ends (RFC 3339, UTC, milliseconds).", "2026-11-25T10:50:00.000Z", format="date-time"),
    ]
