"""Operations that make uploads, and that list them."""

from imgsvc.api.openapi import examples
from imgsvc.api.openapi.operations import operation
from imgsvc.api.openapi.parts import JSON, Json, answer, binary, json, parameter, schema
from imgsvc.api.openapi.problems import RATE_LIMIT
from imgsvc.api.openapi.schemas import OPTION_SCHEMAS
from imgsvc.api.receive.form import FORM_OVERHEAD_BYTES
from imgsvc.api.receive.json_body import MAX_BODY_BYTES
from imgsvc.api.uploads.list import LIMIT
from imgsvc.domain.documents import MAX_PAGE
from imgsvc.domain.formats import FORMATS
from imgsvc.domain.options import OPTIONS
from imgsvc.runtime.api_keys import NAME

_TAG = "Uploads"
_OBJECTS = [name for name, option in OPTIONS.items() if option.is_object]
"""Options that are sent as JSON; the others are sent as plain text."""

_REFUSED_OPTIONS = (
    "unknown_field",
    "invalid_field",
    "invalid_preset",
    "invalid_variants",
    "invalid_webhook_url",
    "idempotency_mismatch",
)
_REFUSED_FOR_NOW = ("idempotency_in_flight", "rate_limited", "quota_exceeded", "queue_unavailable")

_THEN = {
    name: {"operationId": operation_id, "parameters": {"id": "$response.body#/id"}}
    for name, operation_id in {
        "status": "get_status",
        "result": "get_result",
        "events": "get_events",
        "upload": "get_upload",
        "cancel": "cancel_upload",
        "retry": "retry_upload",
        "release": "release_upload",
        "variants": "derive_variants",
        "delete": "delete_upload",
    }.items()
}
_ACCEPTED = answer("Accepted: the job is queued.", json("Accepted"), ["Location", *RATE_LIMIT], _THEN)


def paths(max_upload_bytes: int) -> Json:
    return {
        "/upload": {"post": _upload(max_upload_bytes)},
        "/tokens": {"post": _tokens()},
        "/upload/url": {"post": _upload_url()},
        "/uploads": {"get": _uploads()},
    }


def _upload(max_bytes: int) -> Json:
    form = {
        "schema": schema("UploadForm"),
        "encoding": {"file": {"contentType": "image/*, application/octet-stream"}}
        | {name: {"contentType": JSON} for name in _OBJECTS},
    }
    raw = binary(*(fmt.media_type for fmt in FORMATS.values()), "application/octet-stream", max_bytes=max_bytes)
    return operation(
        _TAG,
        "upload",
        "Upload an image",
        "The image comes as the field `file` of a form, or as the body itself; then the options stand in the query. "
        "What it is gets judged by its first bytes, not by its name or declared type. The answer is given when the "
        "original is durable and its job is queued.\n\n"
        "Of the form's other fields `name`, `type` and `relativePath`, which Uppy sends, are ignored; any more are "
        "refused. The file's name is read from `filename*` first (RFC 8187), then from `filename`.\n\n"
        f"At most {max_bytes} bytes, in a form with {FORM_OVERHEAD_BYTES} more for its other parts.",
        parameters=[
            parameter("Idempotency-Key"),
            parameter("Content-Digest"),
            _DISPOSITION,
            *map(_in_query, OPTION_SCHEMAS),
        ],
        body={"required": True, "content": {"multipart/form-data": form, **raw}},
        answers={202: _ACCEPTED},
        refusals=(
            "malformed_body",
            "upload_too_large",
            "unsupported_media_type",
            "missing_file",
            "empty_file",
            "too_many_files",
            "digest_mismatch",
            "token_used",
            *_REFUSED_OPTIONS,
            *_REFUSED_FOR_NOW,
            "storage_unavailable",
        ),
        by_token=True,
    )


def _tokens() -> Json:
    return operation(
        _TAG,
        "issue_token",
        "Issue an upload token",
        "A browser or a phone uploads with it, and never has the key. It makes one upload: the same file may be sent "
        "again and gets the same answer, another one gets 409. It also opens the status, result and events of that "
        "upload, and cancels it. Options that it fixes cannot be given with the file; `webhook_url`, `expires_in` and "
        "`priority` can be given by the token only. Nothing is stored until the file comes.\n\n"
        "The uploads belong to the key's owner, and count in the owner's limits. A service without keys issues tokens "
        "if it has a signing secret.",
        body={"required": True, "content": json("Terms")},
        answers={201: answer("The token.", json("Issued"))},
        refusals=(
            "malformed_body",
            "upload_too_large",
            "unsupported_media_type",
            *(code for code in _REFUSED_OPTIONS if code != "idempotency_mismatch"),
            "storage_unavailable",
        ),
    )


_DISPOSITION = {
    "name": "Content-Disposition",
    "in": "header",
    "description": "The file's name if the body is the file; takes precedence over `filename`.",
    "schema": {"type": "string"},
    "example": 'attachment; filename="sample.jpg"',
}


def _in_query(name: str) -> Json:
    kind = OPTION_SCHEMAS[name]
    described = {"name": name, "in": "query", "description": f"If the body is the file: {OPTIONS[name].words}"}
    return described | ({"content": {JSON: {"schema": kind}}} if name in _OBJECTS else {"schema": kind})


def _upload_url() -> Json:
    return operation(
        _TAG,
        "upload_url",
        "Upload an image by its URL",
        "A worker fetches the image. A host that is away is asked again for ten minutes; then the job ends in "
        "`fetch_failed`. Addresses that are not public are reached only where the operator has named them.\n\n"
        f"The body has at most {MAX_BODY_BYTES} bytes.",
        parameters=[parameter("Idempotency-Key")],
        body={"required": True, "content": json("UploadUrl")},
        answers={202: _ACCEPTED},
        refusals=(
            "malformed_body",
            "upload_too_large",
            "unsupported_media_type",
            "url_not_allowed",
            *_REFUSED_OPTIONS,
            *_REFUSED_FOR_NOW,
        ),
    )


def _uploads() -> Json:
    return operation(
        _TAG,
        "list_uploads",
        "List uploads",
        "The caller's own, newest first, page by page. An administrator's key lists those of another owner too.",
        parameters=[
            {
                "name": "owner",
                "in": "query",
                "description": "Those of this owner; for keys of an administrator.",
                "schema": {"type": "string", "pattern": f"^{NAME.pattern}$"},
            },
            {
                "name": "status",
                "in": "query",
                "description": "Only those in this state.",
                "schema": schema("Status"),
                "example": examples.FAILED["status"],
            },
            {
                "name": "limit",
                "in": "query",
                "description": "How many a page has at most.",
                "schema": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": LIMIT},
            },
            {
                "name": "cursor",
                "in": "query",
                "description": "The `next` of the page before, unchanged.",
                "schema": {"type": "string"},
            },
        ],
        answers={200: answer("A page.", json("Uploads"))},
        refusals=("invalid_field", "queue_unavailable"),
    )
