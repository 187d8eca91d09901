"""Operations of uploads that resume."""

from collections.abc import Mapping

from imgsvc.api.openapi import problems, shared
from imgsvc.api.openapi.operations import operation
from imgsvc.api.openapi.parts import Json, answer, binary, header, parameter
from imgsvc.api.openapi.problems import RATE_LIMIT
from imgsvc.api.resumable.checksum import ALGORITHMS
from imgsvc.api.resumable.tus import EXTENSIONS, PIECE_TYPE, VERSION

_TAG = "Uploads"
_AWAY = ("queue_unavailable", "storage_unavailable")
_REFUSED_PIECES = (
    "unknown_field",
    "precondition_failed",
    "unsupported_media_type",
    "upload_too_large",
    "empty_file",
    "conflict",
    "checksum_mismatch",
    "rate_limited",
    "quota_exceeded",
    *_AWAY,
)


def paths(max_upload_bytes: int) -> Json:
    return {
        "/tus": {"post": _create(max_upload_bytes)},
        "/tus/{id}": {
            "parameters": [parameter("Id")],
            "head": _head(),
            "patch": _patch(max_upload_bytes),
            "delete": _terminate(),
            "post": _overridden(max_upload_bytes),
        },
    }


def _create(max_bytes: int) -> Json:
    return _tus(
        operation(
            _TAG,
            "tus_create",
            "Begin an upload that resumes",
            f"tus {VERSION} (tus.io) with the extensions {', '.join(EXTENSIONS)}: any of its clients uploads here. "
            "`Upload-Metadata` has the file's name as `filename`, and every option of an upload. The body may be the "
            "first piece, or all of the file.",
            parameters=[
                _VERSION,
                _in("Upload-Length", "The file's length in bytes.", _BYTES, "829401"),
                _in("Upload-Defer-Length", "That the length is not known yet.", {"const": "1"}),
                _in("Upload-Metadata", "Names and values in base64.", _TEXT, "filename c2FtcGxlLmpwZw=="),
                _CHECKSUM,
            ],
            body={"content": binary(PIECE_TYPE, max_bytes=max_bytes)},
            answers={201: answer("Begun.", headers=["Location", "Upload-Expires", "Upload-Offset", *RATE_LIMIT])},
            refusals=("invalid_field", "invalid_preset", "invalid_variants", "invalid_webhook_url", *_REFUSED_PIECES),
        )
    )


def _head() -> Json:
    return _tus(
        operation(
            _TAG,
            "tus_offset",
            "Get the offset to go on from",
            "Stops a request that still sends to the upload and says nothing: what it has stored counts.",
            parameters=[_VERSION],
            answers={
                200: answer(
                    "How far it is received.",
                    headers=_TOLD,
                )
            },
            refusals=_of_any("unsupported_media_type", "empty_file", "conflict"),
            is_head=True,
        )
    )


def _patch(max_bytes: int) -> Json:
    return _tus(
        operation(
            _TAG,
            "tus_add",
            "Add a piece",
            "The last one is answered when the job is queued, with `Location` of its status. What came of a piece that "
            "was cut off is kept, unless it had a checksum.",
            parameters=_PIECE_PARAMETERS,
            body={"required": True, "content": binary(PIECE_TYPE, max_bytes=max_bytes)},
            answers={204: _ADDED},
            refusals=("not_found", *_REFUSED_PIECES),
        )
    )


def _terminate() -> Json:
    return _tus(
        operation(
            _TAG,
            "tus_terminate",
            "Give an upload up",
            "Or delete it, if its job is queued already.",
            parameters=[_VERSION],
            answers={204: answer("It is gone.")},
            refusals=_of_any("unknown_field"),
        )
    )


def _overridden(max_bytes: int) -> Json:
    return _tus(
        operation(
            _TAG,
            "tus_override",
            "Add a piece, ask or give up, by POST",
            "For clients that cannot send the method itself.",
            parameters=[
                *_PIECE_PARAMETERS,
                _in("X-HTTP-Method-Override", "The method.", {"enum": ["PATCH", "DELETE", "HEAD"]}, "PATCH"),
            ],
            body={"content": binary(PIECE_TYPE, max_bytes=max_bytes)},
            answers={
                200: answer("As HEAD answers.", headers=_TOLD),
                204: _ADDED,
            },
            refusals=("not_found", *_REFUSED_PIECES),
        )
    )


def _of_any(*more: str) -> tuple[str, ...]:
    return ("precondition_failed", "not_found", *more, *_AWAY)


def _in(name: str, description: str, kind: Json, example: str | None = None) -> Json:
    described = {"name": name, "in": "header", "description": description, "schema": kind}
    return described if example is None else described | {"example": example}


_TOLD = ["Upload-Offset", "Upload-Length", "Upload-Defer-Length", "Upload-Metadata", "Upload-Expires"]
_BYTES: Json = {"type": "string", "pattern": "^[0-9]{1,18}$"}
_TEXT: Json = {"type": "string"}
_VERSION = _in("Tus-Resumable", "The version of the protocol.", {"const": VERSION}, VERSION) | {"required": True}
_CHECKSUM = _in(
    "Upload-Checksum",
    f"The body's checksum, by {' or '.join(ALGORITHMS)}: a piece that does not agree with it is not kept.",
    _TEXT,
    "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
)
_PIECE_PARAMETERS = [
    _VERSION,
    _in("Upload-Offset", "Where the piece begins: as far as the upload is received.", _BYTES, "5242880"),
    _in("Upload-Length", "The file's length, if it becomes known now.", _BYTES),
    _CHECKSUM,
]
_ADDED = answer("It is kept, and if it was the last one, the job is queued.", headers=["Upload-Offset", "Location"])
_OWN_HEADERS: Mapping[str, list[str]] = {"409": ["Upload-Offset"], "412": ["Tus-Version"]}


def _tus(described: Json) -> Json:
    """Adds the headers that answers of tus have, also those that refuse."""
    responses: Json = {}
    for status, response in described["responses"].items():
        if "$ref" in response:
            response = problems.described([response["$ref"].rpartition("/")[2]])
        headers = response["headers"] | {
            name: header(name) for name in ["Tus-Resumable", *_OWN_HEADERS.get(status, [])]
        }
        if status == "204" and "Location" in headers:
            headers["Location"] = shared.HEADERS["Location"] | {"required": False}  # of the last piece alone
        responses[status] = response | {"headers": headers}
    return described | {"responses": responses}
