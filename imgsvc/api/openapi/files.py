"""Operations on processed files (RFC 9110: conditional requests and ranges)."""

from typing import get_args

from imgsvc.api.openapi import examples
from imgsvc.api.openapi.operations import operation
from imgsvc.api.openapi.parts import Json, answer, binary, parameter
from imgsvc.domain.formats import KNOWN
from imgsvc.domain.model import FileFormat

_TAG = "Files"
_BYTES = binary(*(KNOWN[name].media_type for name in get_args(FileFormat)))
_EMBEDDING = (
    "Repr-Digest",
    "ETag",
    "Last-Modified",
    "Cache-Control",
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Security-Policy",
    "Cross-Origin-Resource-Policy",
    "X-Content-Type-Options",
)
_WHOLE = (*_EMBEDDING, "Content-Length", "Content-Type")
_REFUSED = ("signature_invalid", "signature_expired", "not_found", "precondition_failed", "storage_unavailable")


def _header(name: str, description: str, example: str) -> Json:
    return {
        "name": name,
        "in": "header",
        "description": description,
        "schema": {"type": "string"},
        "example": example,
    }


def _query(name: str, description: str, **schema: object) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_DATE = "Wed, 25 Nov 2026 10:35:00 GMT"
_CONDITIONS = (
    _query("download", "`1` has browsers save the file rather than show it.", enum=["1"]),
    _query("exp", "When the URL's signature ends, in seconds since the epoch.", type="string"),
    _query("sig", "The URL's signature, where files are signed; the upload's result has both.", type="string"),
    _header("If-Match", "Answer 412 unless the file has one of these tags.", "*"),
    _header("If-Unmodified-Since", "Answer 412 if the file is newer.", _DATE),
    parameter("If-None-Match"),
    _header("If-Modified-Since", "Answer 304 unless the file is newer. Counts only without `If-None-Match`.", _DATE),
)
_RANGES = (
    _header("Range", "A single range of bytes; several, or one that cannot be read, get the whole file.", "bytes=0-99"),
    _header("If-Range", "Give the range only of the file with this tag or date, else the whole.", _DATE),
)


def paths() -> Json:
    return {
        "/files/processed/{id}/{name}": {
            "parameters": [parameter("Id"), _NAME],
            "get": _get(),
            "head": _head(),
        }
    }


_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The file's name, as the upload's result has it.",
    "schema": {"type": "string", "minLength": 1},
    "example": examples.FILE_NAME,
}


def _get() -> Json:
    return operation(
        _TAG,
        "get_file",
        "Fetch a variant",
        "Needs no key, and goes on while the queue is away. Where files are signed, only a URL from the upload's "
        "result works, until its signature expires.",
        parameters=[*_CONDITIONS, *_RANGES],
        answers={
            200: answer("The file.", _BYTES, _WHOLE),
            206: answer("A part of it.", _BYTES, [*_WHOLE, "Content-Range"]),
            304: answer("The client's copy is current.", headers=_EMBEDDING),
        },
        refusals=(*_REFUSED, "range_not_satisfiable"),
        needs_key=False,
    )


def _head() -> Json:
    return operation(
        _TAG,
        "head_file",
        "Ask about a variant",
        "The headers of GET, without the file.",
        parameters=_CONDITIONS,
        answers={
            200: answer("There is such a file.", headers=_WHOLE),
            304: answer("The client's copy is current.", headers=_EMBEDDING),
        },
        refusals=_REFUSED,
        needs_key=False,
        is_head=True,
    )
