"""What an upload token says about the upload that comes with it: its options, its size and its type."""

from collections.abc import Mapping

from imgsvc.api.http.errors import ProblemError
from imgsvc.domain.formats import Format
from imgsvc.domain.options import EXCLUSIVE, OPTIONS
from imgsvc.domain.tokens import UploadToken

FIXABLE = tuple(name for name in OPTIONS if name != "filename")
"""Options that a token may fix: all but the name of the file, which comes with it."""

_ISSUERS = frozenset({"expires_in", "webhook_url", "priority"})
"""Options that only a token can give: whoever has one is not the owner."""

_GENERIC = frozenset({"", "application/octet-stream"})
_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/heif": "image/heic",
    "image/x-ms-bmp": "image/bmp",
    "image/x-bmp": "image/bmp",
}
"""Other names of media types that clients declare."""


def merged(token: UploadToken, given: Mapping[str, str]) -> dict[str, str]:
    """Returns the options of the upload, each as a text: the token's and those `given` with the file.

    Raises:
        ProblemError: the token fixes one of them, or it is not for the token's bearer to choose.
    """
    fixed = set(token.options) | (set(EXCLUSIVE) if not token.options.keys().isdisjoint(EXCLUSIVE) else set[str]())
    for name in given:
        if name in fixed:
            raise ProblemError("invalid_field", f"{name!r} is fixed by the upload token. Leave it out.")
        if name in _ISSUERS:
            raise ProblemError("invalid_field", f"{name!r} is for whoever issues the upload token. Leave it out.")
    return {**given, **token.options}


def max_bytes(token: UploadToken | None, limit: int) -> int:
    """Returns the largest size of the file, of which the service takes `limit` bytes."""
    return min(limit, token.max_bytes) if token and token.max_bytes else limit


def check_declared(token: UploadToken, media_type: str) -> None:
    """Refuses a file by the media type that its client declares; one that says nothing is judged by its bytes alone.

    Raises:
        ProblemError: unsupported_media_type.
    """
    kind = media_type.partition(";")[0].strip().lower()
    if kind not in _GENERIC:
        _check(token, _ALIASES.get(kind, kind))


def check_format(token: UploadToken, fmt: Format) -> None:
    """Refuses a file by what its first bytes say that it is.

    Raises:
        ProblemError: unsupported_media_type.
    """
    _check(token, fmt.media_type)


def _check(token: UploadToken, media_type: str) -> None:
    if token.content_types and media_type not in token.content_types:
        allowed = ", ".join(token.content_types)
        raise ProblemError("unsupported_media_type", f"This upload token allows {allowed}, not {media_type[:80]!r}.")
