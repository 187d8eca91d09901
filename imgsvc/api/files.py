"""`GET` and `HEAD /files/…`: processed variants, streamed from storage; by signed URL alone where files are signed.

Conditional and range requests follow RFC 9110, sections 13 and 14.
"""

import base64
import re
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from time import time

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from imgsvc.api.http.context import services_of
from imgsvc.api.http.errors import ProblemError
from imgsvc.domain.file_urls import Verdict, file_path, verify
from imgsvc.domain.filenames import content_disposition
from imgsvc.storage import ObjectInfo, Storage, StorageError

# keys of processed files: S3 is not asked for any other
_KEY = re.compile(r"processed/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/[\w-][\w.-]{0,250}")
_RANGE = re.compile(r"bytes=(\d{1,200})?-(\d{1,200})?", re.ASCII | re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?"[^"]*"')
_MAX_AGE_S = 86_400
_PIECE_BYTES = 256 * 1024
"""Memory that a slow reader holds."""

_CONDITIONS = ("if-match", "if-unmodified-since", "if-none-match", "if-modified-since", "range")

_HEADERS = {
    "accept-ranges": "bytes",
    # a file that a browser takes for a page must still not act as one
    "content-security-policy": "default-src 'none'; sandbox",
    "cross-origin-resource-policy": "cross-origin",
    "x-content-type-options": "nosniff",
}


async def serve(request: Request) -> Response:
    key = request.path_params["path"]
    if not _KEY.fullmatch(key):
        raise _missing()
    until_s = _signed_until(request, key)
    storage = services_of(request).storage
    disposition = _disposition(request, key)
    if request.method == "GET" and not any(name in request.headers for name in _CONDITIONS):
        return ObjectResponse(storage, key, until_s, disposition)  # one call to storage where one is enough
    info = _fresh(await storage.head(key))
    headers = _headers(info, until_s) | disposition
    if not _precondition_holds(request.headers, info):
        raise ProblemError("precondition_failed", "The file does not match If-Match or If-Unmodified-Since.")
    if _is_unchanged(request.headers, info):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return Response(headers=headers | {"content-length": str(info.size)}, media_type=info.content_type)
    return ObjectResponse(storage, key, until_s, disposition, _span(request.headers, info))


class ObjectResponse(Response):
    """Sends an object, or a span of its bytes, as fast as the client takes it.

    It is fetched piece by piece, so that no client, however slow, holds one of the connections to storage.
    """

    def __init__(
        self,
        storage: Storage,
        key: str,
        until_s: int | None,
        headers: Mapping[str, str],
        span: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(headers=headers)
        self._storage, self._key, self._until_s, self._extra, self._span = storage, key, until_s, headers, span

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # without a span in one call, which for most files is all
        found = await self._fetch(self._span and _piece(*self._span))
        if found is None:
            raise _missing()
        info, piece = _fresh(found[0]), found[1]
        first, last = self._span or (0, info.size - 1)
        headers = _headers(info, self._until_s) | dict(self._extra) | {"content-length": str(last - first + 1)}
        if self._span:
            headers["content-range"] = f"bytes {first}-{last}/{info.size}"
        body = self._body(piece, first, last, info.etag)
        response = StreamingResponse(body, 206 if self._span else 200, headers, info.content_type)
        await response(scope, receive, send)

    async def _body(self, piece: deque[bytes], first: int, last: int, etag: str) -> AsyncGenerator[bytes]:
        while True:
            while piece:
                first += len(piece[0])
                yield piece.popleft()
            if first > last:
                return
            found = await self._fetch(_piece(first, last))
            if found is None or found[0].etag != etag:
                raise StorageError  # gone or replaced under its reader, who must not get a mixture
            piece = found[1]

    async def _fetch(self, span: tuple[int, int] | None) -> tuple[ObjectInfo, deque[bytes]] | None:
        """The object's headers, and at most a piece of it, in chunks."""
        async with self._storage.read(self._key, span) as found:
            if found is None:
                return None
            info, chunks = found
            piece: deque[bytes] = deque()
            size = 0
            while size < _PIECE_BYTES and (chunk := await anext(chunks, None)):
                piece.append(chunk)
                size += len(chunk)
            return info, piece


def _piece(first: int, last: int) -> tuple[int, int]:
    return first, min(last, first + _PIECE_BYTES - 1)


def _fresh(info: ObjectInfo | None) -> ObjectInfo:
    """The object, unless it has expired: the sweeper may be some seconds late."""
    if info is None or (info.expires_at is not None and info.expires_at <= time() * 1000):
        raise _missing()
    return info


def _signed_until(request: Request, key: str) -> int | None:
    """When the URL's signature ends, in seconds since the epoch; None where files are public."""
    secrets = services_of(request).settings.file_secrets
    if not secrets:
        return None
    exp, sig = (request.query_params.get(name, "") for name in ("exp", "sig"))
    match verify(file_path(key), exp, sig, secrets, time()):
        case Verdict.VALID:
            return int(exp)
        case Verdict.EXPIRED:
            raise ProblemError("signature_expired", "The URL has expired. Get a new one from the upload's result.")
        case Verdict.INVALID:
            detail = "The URL's signature is invalid. Use the URL from the upload's result unchanged."
            raise ProblemError("signature_invalid", detail)


def _headers(info: ObjectInfo, until_s: int | None) -> dict[str, str]:
    modified = format_datetime(info.last_modified.astimezone(UTC), usegmt=True)
    digest = base64.b64encode(bytes.fromhex(info.sha256)).decode()
    return (
        _HEADERS
        | {"etag": info.etag, "last-modified": modified, "cache-control": _cache_control(info, until_s)}
        | ({"repr-digest": f"sha-256=:{digest}:"} if digest else {})  # of the whole file, whatever range is sent
    )


def _cache_control(info: ObjectInfo, until_s: int | None) -> str:
    """No cached copy outlives the file, nor the signature of its URL."""
    ends = [end for end in (info.expires_at and info.expires_at / 1000, until_s) if end is not None]
    if not ends:
        return f"public, max-age={_MAX_AGE_S}, immutable"
    left_s = int(min(ends) - time())
    return f"private, max-age={min(_MAX_AGE_S, max(0, left_s))}"


def _disposition(request: Request, key: str) -> dict[str, str]:
    kind = "attachment" if request.query_params.get("download") == "1" else "inline"
    return {"content-disposition": content_disposition(kind, key.rpartition("/")[2])}


def _precondition_holds(headers: Headers, info: ObjectInfo) -> bool:
    """RFC 9110, 13.2.2, steps 1 and 2: the date counts only where there is no entity tag."""
    if (tags := _tags(headers, "if-match")) is not None:
        return "*" in tags or info.etag in tags
    until = _date(headers.get("if-unmodified-since"))
    return until is None or info.last_modified.replace(microsecond=0) <= until


def _is_unchanged(headers: Headers, info: ObjectInfo) -> bool:
    """RFC 9110, 13.2.2, steps 3 and 4: whether the client's copy is good."""
    if (tags := _tags(headers, "if-none-match")) is not None:
        return "*" in tags or info.etag in {tag.removeprefix("W/") for tag in tags}
    since = _date(headers.get("if-modified-since"))
    return since is not None and info.last_modified.replace(microsecond=0) <= since


def _tags(headers: Headers, name: str) -> set[str] | None:
    """The entity tags of a list, which may be spread over several lines, or "*"; None where there is no such header."""
    lines = headers.getlist(name)
    if not lines:
        return None
    value = ",".join(lines)
    return {"*"} if value.strip() == "*" else set(_TAG.findall(value))


def _span(headers: Headers, info: ObjectInfo) -> tuple[int, int] | None:
    """The first and last byte of a single range; None for the whole, also where a range cannot be understood."""
    match = _RANGE.fullmatch(", ".join(headers.getlist("range")).strip())
    if match is None or match.groups() == (None, None) or not _range_applies(headers.get("if-range"), info):
        return None
    first, last = match.groups()
    if first is None:  # the last n bytes
        start, end = max(0, info.size - int(last)), info.size - 1
        satisfiable = int(last) > 0 and info.size > 0
    else:
        start, end = int(first), min(int(last or info.size), info.size - 1)
        if last is not None and int(last) < start:
            return None
        satisfiable = start < info.size
    if not satisfiable:
        detail = f"The file has {info.size} bytes."
        raise ProblemError("range_not_satisfiable", detail, {"content-range": f"bytes */{info.size}"})
    return start, end


def _range_applies(validator: str | None, info: ObjectInfo) -> bool:
    """If-Range: a strong entity tag or an exact date, or else the whole file (RFC 9110, 13.1.5)."""
    if validator is None or validator == info.etag:
        return True
    return _date(validator) == info.last_modified.replace(microsecond=0)


def _date(value: str | None) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(value or "")
    except (ValueError, OverflowError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _missing() -> ProblemError:
    return ProblemError("not_found", "No such file. The upload's result lists its files.")
