"""Reads objects and spans of them from S3, and parses their headers."""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from imgsvc.storage.calls import Calls
from imgsvc.storage.errors import AnswerError, StorageError

Span = tuple[int, int]
"""The first and the last byte, both included."""

_READ_BYTES = 64 * 1024
_EXPIRES_AT = "expires-at"
_OWNER = "owner"
_SHA256 = "sha256"
_HEX = re.compile("[0-9a-f]{64}")
_PLAIN = {"", "identity", "aws-chunked"}


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object's headers. `etag` is quoted, as HTTP wants it; `expires_at` is in ms since the epoch; `owner` is
    the owner of the API key that uploaded it, or ""; `sha256` is that of its bytes, "" where it was stored without.
    """

    size: int
    etag: str
    last_modified: datetime
    content_type: str
    expires_at: int | None
    owner: str
    sha256: str = ""


def metadata(expires_at: int | None, owner: str, sha256: str = "") -> dict[str, str]:
    """Returns the metadata stored with an object, so that serving it needs no other look-up."""
    given = {_EXPIRES_AT: "" if expires_at is None else str(expires_at), _OWNER: owner, _SHA256: sha256}
    return {name: value for name, value in given.items() if value}


def info(answer: Mapping[str, Any]) -> ObjectInfo:
    """Parses an object's headers.

    Raises:
        AnswerError, KeyError, ValueError: they are not those of an object of this service.
    """
    if answer.get("ContentEncoding", "") not in _PLAIN:
        raise AnswerError("a proxy on the way compresses objects")
    whole = answer.get("ContentRange", "").rpartition("/")[2]
    size = int(whole) if whole else answer["ContentLength"]
    stored = answer["Metadata"]
    expires_at = int(stored[_EXPIRES_AT]) if _EXPIRES_AT in stored else None
    content_type = answer.get("ContentType", "application/octet-stream")
    sha256 = stored.get(_SHA256, "")
    return ObjectInfo(
        size,
        answer["ETag"],
        answer["LastModified"],
        content_type,
        expires_at,
        stored.get(_OWNER, ""),
        sha256 if _HEX.fullmatch(sha256) else "",
    )


def check_span(answer: Mapping[str, Any], span: Span | None) -> None:
    """Checks that an answer contains the requested bytes.

    Raises:
        AnswerError: it contains others.
    """
    received = answer.get("ContentRange", "")
    first, last = span or (0, answer["ContentLength"] - 1)
    if received and not received.startswith(f"bytes {first}-"):
        raise AnswerError(f"a range is answered by another one, {received}")
    if (not received and first) or answer["ContentLength"] > last - first + 1:
        raise AnswerError("ranges are answered by whole objects")


async def chunks(calls: Calls, body: Any, size: int) -> AsyncIterator[bytes]:
    left = size
    while left > 0:
        async with calls.call(timed=False):
            chunk = await body.read(min(_READ_BYTES, left))
        if not chunk:
            raise StorageError  # cut short: it must not pass for the whole object
        left -= len(chunk)
        yield chunk
