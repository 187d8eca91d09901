"""Headers and parameters that several operations share."""

from typing import Any

from imgsvc.api.http.rate_limit import LEFT, POLICY
from imgsvc.api.openapi import examples
from imgsvc.api.openapi.parts import Json, schema
from imgsvc.api.uploads.wait import MAX_WAIT_S
from imgsvc.domain.documents import UPLOAD_ID

_ID = {"type": "string", "pattern": "^[\\w.:-]{8,128}$"}
_SIZE = {"type": "string", "pattern": "^[0-9]+$"}
_DATE = {"type": "string", "description": "An HTTP date."}
_PATH = {"type": "string", "format": "uri-reference"}
_FILE_NAME = {"type": "string", "pattern": "^(inline|attachment); filename="}
_POLICIES = {
    "type": "string",
    "pattern": '^("uploads";q=[0-9]+;w=60)?(, )?("bytes";q=[0-9]+;qu="content-bytes";w=86400)?$',
}
_RESTS = {"type": "string", "pattern": '^"(uploads|bytes)";r=[0-9]+;t=[0-9]+(, "bytes";r=[0-9]+;t=[0-9]+)?$'}
_WAIT = {"type": "string", "pattern": "^wait=[0-9]+$"}
_TAGS = {"type": "string", "description": "Entity tags, or `*`."}


def _header(description: str, kind: Json, example: object, *, always: bool = True) -> Json:
    return {"description": description, "required": always, "schema": kind, "example": example}


HEADERS: Json = {
    "X-Request-Id": _header(
        "The request's id in the log: the client's own, or a generated one.", _ID, "f9fb546d373eba3b"
    ),
    "Tus-Resumable": _header("The version of tus.", {"const": "1.0.0"}, "1.0.0", always=False),
    "Tus-Version": _header("The versions of tus that the service knows.", {"const": "1.0.0"}, "1.0.0"),
    "Upload-Offset": _header("How many bytes are received.", _SIZE, "5242880", always=False),
    "Upload-Length": _header("The file's length in bytes.", _SIZE, "829401", always=False),
    "Upload-Defer-Length": _header("That the length is not known yet.", {"const": "1"}, "1", always=False),
    "Upload-Metadata": _header(
        "What the upload was begun with.", {"type": "string"}, "filename c2FtcGxlLmpwZw==", always=False
    ),
    "Upload-Expires": _header(
        "When an upload that is not complete is removed.", _DATE, "Thu, 26 Nov 2026 10:35:00 GMT", always=False
    ),
    "Location": _header(
        "Where the job's status is; of an upload that is begun, where it is.",
        _PATH,
        examples.ACCEPTED["status_url"],
    ),
    "Retry-After": _header("Seconds after which to try again.", {"type": "integer", "minimum": 1}, 2),
    "Retry-After-Of-Some": _header(
        "Seconds after which to try again, where that is of use.", {"type": "integer", "minimum": 1}, 2, always=False
    ),
    POLICY: _header(
        "The caller's limits (draft-ietf-httpapi-ratelimit-headers-11): `q` uploads and retries in `w` seconds, and "
        "`q` bytes. Only where there are limits.",
        _POLICIES,
        '"uploads";q=60;w=60, "bytes";q=50000000000;qu="content-bytes";w=86400',
        always=False,
    ),
    LEFT: _header(
        "What is left of each: `r`, and more than that in `t` seconds.",
        _RESTS,
        '"uploads";r=12;t=1, "bytes";r=31000000000;t=1',
        always=False,
    ),
    "Preference-Applied": _header(
        "The part of `Prefer` that was applied (RFC 7240).",
        _WAIT,
        "wait=30",
        always=False,
    ),
    "WWW-Authenticate": _header("How to send a key.", {"type": "string"}, 'Bearer realm="imgsvc"'),
    "Accept-Encoding": _header(
        "That the body must be sent uncompressed.", {"const": "identity"}, "identity", always=False
    ),
    "Allow": _header("The methods that the path answers to.", {"type": "string"}, "GET, HEAD"),
    "ETag": _header("Identifies these bytes.", {"type": "string"}, '"9b2cf535f27731c974343645a3985328"'),
    "Last-Modified": _header("When the file was made.", _DATE, "Wed, 25 Nov 2026 10:35:00 GMT"),
    "Cache-Control": _header(
        "How long a copy is good: of a file no longer than it and its signature, of a document not at all.",
        {"type": "string"},
        "public, max-age=86400, immutable",
    ),
    "Accept-Ranges": _header("That ranges can be requested.", {"const": "bytes"}, "bytes"),
    "Content-Range": _header(
        "Which bytes of how many these are; `*` for none.",
        {"type": "string", "pattern": "^bytes ([0-9]+-[0-9]+|\\*)/[0-9]+$"},
        "bytes 0-99/8123",
    ),
    "Content-Disposition": _header(
        "The file's name (RFC 6266).",
        _FILE_NAME,
        'inline; filename="sample_thumbnail.jpeg"',
    ),
    "Content-Length": _header("The size in bytes.", _SIZE, "8123"),
    "Content-Type": _header("The media type.", {"type": "string"}, "image/jpeg"),
    "Content-Security-Policy": _header(
        "What a page may do; a file that a browser takes for a page must not act as one.",
        {"type": "string"},
        "default-src 'none'; sandbox",
    ),
    "Cross-Origin-Opener-Policy": _header("No other site's window reaches it.", {"type": "string"}, "same-origin"),
    "Cross-Origin-Resource-Policy": _header("Any page may embed it.", {"type": "string"}, "cross-origin"),
    "Referrer-Policy": _header(
        "That no other site learns the address: of pages, and of what an upload token opens.",
        {"const": "no-referrer"},
        "no-referrer",
        always=False,
    ),
    "Repr-Digest": _header(
        "SHA-256 of the whole file (RFC 9530).",
        {"type": "string", "pattern": "^sha-256=:[A-Za-z0-9+/]{43}=:$"},
        "sha-256=:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=:",
        always=False,
    ),
    "X-Accel-Buffering": _header("Asks proxies not to buffer.", {"const": "no"}, "no"),
    "X-Content-Type-Options": _header("No guessing.", {"const": "nosniff"}, "nosniff"),
}


def _parameter(place: str, name: str, description: str, kind: Json, example: object = None, **more: Any) -> Json:
    described = {"name": name, "in": place, "description": description, "schema": kind, **more}
    return described if example is None else described | {"example": example}


PARAMETERS: Json = {
    "X-Request-Id": _parameter(
        "header",
        "X-Request-Id",
        "An id for the request, repeated in the answer and in the log. An invalid one is replaced.",
        _ID,
        "checkout-7f3a",
    ),
    "Id": _parameter(
        "path",
        "id",
        "The upload's `id`.",
        schema("Id"),
        UPLOAD_ID,
        required=True,
    ),
    "Idempotency-Key": _parameter(
        "header",
        "Idempotency-Key",
        "Makes the upload safe to send again: for 24 hours the same key with the same file and options gives the same "
        "answer and no second job. Keys of different callers are different keys.",
        {"type": "string", "pattern": "^[!-~]{1,255}$"},
        "order-1234-photo-1",
    ),
    "Content-Digest": _parameter(
        "header",
        "Content-Digest",
        "Digest of the body (RFC 9530) by sha-256, sha-512 or both, which is verified; others are ignored. "
        "`Repr-Digest` means the same here.",
        {"type": "string"},
        "sha-256=:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=:",
    ),
    "wait": _parameter(
        "query",
        "wait",
        "Seconds to hold the answer until the job has ended.",
        {"type": "number", "minimum": 0, "maximum": MAX_WAIT_S, "default": 0},
        30,
    ),
    "Prefer": _parameter(
        "header",
        "Prefer",
        "`wait=30` is the same as `?wait=30` (RFC 7240). Other preferences are ignored.",
        {"type": "string"},
        "wait=30",
    ),
    "If-None-Match": _parameter("header", "If-None-Match", "Answer 304 if the copy with this tag is current.", _TAGS),
}
