"""Operations for operators."""

from imgsvc.api.openapi.operations import operation
from imgsvc.api.openapi.parts import Json, answer, json, parameter
from imgsvc.api.uploads.list import LIMIT
from imgsvc.domain.documents import MAX_PAGE
from imgsvc.domain.problems import JOB_FAILURES
from imgsvc.domain.states import Status

_TAG = "Operators"
_AWAY = ("queue_unavailable",)
_ACTION_ID: Json = {
    "name": "id",
    "in": "path",
    "description": "The action's `id`.",
    "required": True,
    "schema": {"type": "string", "format": "uuid"},
}


def paths() -> Json:
    return {
        "/admin/stats": {"get": _stats()},
        "/admin/uploads": {"get": _uploads()},
        "/admin/uploads/{id}": {"parameters": [parameter("Id")], "get": _upload()},
        "/admin/count": {"get": _count()},
        "/admin/retry": {"post": _bulk("retry", "FAILURE or CANCELLED; those that failed, unless it says otherwise")},
        "/admin/cancel": {"post": _bulk("cancel", "PENDING or PROGRESS; both, unless it says otherwise")},
        "/admin/actions": {"get": _actions()},
        "/admin/actions/{id}": {"parameters": [_ACTION_ID], "get": _action()},
        "/admin/actions/{id}/cancel": {"parameters": [_ACTION_ID], "post": _stop()},
    }


def bulk_schema() -> Json:
    """What a bulk action is begun with."""
    fields = {name: {"type": "string"} | kind for name, (_, kind) in _FILTERS.items()}
    described = {name: kind | {"description": _FILTERS[name][0]} for name, kind in fields.items()}
    return {
        "type": "object",
        "description": "Which uploads it is done to.",
        "properties": {
            "where": {
                "type": "object",
                "description": "All of it must apply; what is left out or null excludes none.",
                "properties": {
                    name: {**kind, "type": ["string", "null"]}
                    | ({"enum": [*kind["enum"], None]} if "enum" in kind else {})
                    for name, kind in described.items()
                },
                "additionalProperties": False,
            }
        },
        "required": ["where"],
        "additionalProperties": False,
        "examples": [{"where": {"code": "storage_unavailable", "created_after": "2026-11-25T10:00:00Z"}}],
    }


_FILTERS: dict[str, tuple[str, Json]] = {
    "status": ("Of the job, or of the newest derivation.", {"enum": list(Status)}),
    "code": ("Of the failure of either.", {"enum": list(JOB_FAILURES)}),
    "owner": ("Whose uploads; empty for those without an owner.", {"pattern": "^[a-z0-9_-]{0,40}$"}),
    "q": (
        "Part of the file's name, in which ASCII letters may be large or small; or the beginning of the id.",
        {"maxLength": 100},
    ),
    "created_before": ("Submitted before this time (RFC 3339).", {"format": "date-time"}),
    "created_after": ("Submitted at this time or later (RFC 3339).", {"format": "date-time"}),
}
_CURSOR = {
    "name": "cursor",
    "in": "query",
    "description": "`next` of the page before.",
    "schema": {"type": "string"},
}


def _filters() -> list[Json]:
    return [
        {"name": name, "in": "query", "description": description, "schema": {"type": "string", **kind}}
        for name, (description, kind) in _FILTERS.items()
    ]


def _stats() -> Json:
    return operation(
        _TAG,
        "admin_stats",
        "The service at a glance",
        "The queue, the last hour minute by minute, and what each worker is at. For operators, as all calls below "
        "`/admin`: keys of owners with `admin`; or anybody, where a service without keys is reached on its own machine "
        "alone.",
        answers={200: answer("The figures.", json("AdminStats"))},
        refusals=_AWAY,
    )


def _uploads() -> Json:
    return operation(
        _TAG,
        "admin_uploads",
        "Search all owners' uploads",
        "Newest first. One call looks at no more than ten thousand uploads, so that a page may have few or none and "
        "others follow: go on while `next` is not null.",
        parameters=[
            *_filters(),
            {
                "name": "limit",
                "in": "query",
                "description": "Most uploads of a page.",
                "schema": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": LIMIT},
            },
            _CURSOR,
        ],
        answers={200: answer("A page.", json("AdminUploads"))},
        refusals=("invalid_field", *_AWAY),
    )


def _count() -> Json:
    return operation(
        _TAG,
        "admin_count",
        "Count all owners' uploads",
        "How many match, of the ten thousand newest; the next ten thousand are counted with `cursor`.",
        parameters=[*_filters(), _CURSOR],
        answers={200: answer("The number.", json("AdminCount"))},
        refusals=("invalid_field", *_AWAY),
    )


def _upload() -> Json:
    return operation(
        _TAG,
        "admin_upload",
        "What one job went through",
        "The status of any owner's upload, with the attempts that came to nothing.",
        answers={200: answer("The upload.", json("AdminStory"))},
        refusals=("not_found", *_AWAY),
    )


def _bulk(action: str, statuses: str) -> Json:
    words = {
        "retry": "They are queued again as by `retry_upload`, and count against their owners' limits: it waits while "
        "too many jobs wait or an owner's rate is used up, and leaves out those beyond a quota.",
        "cancel": "They are cancelled as by `cancel_upload`.",
    }
    return operation(
        _TAG,
        f"admin_{action}",
        f"{action.capitalize()} all uploads that match",
        f"Begins a bulk action, which workers do, each upload once, whatever dies meanwhile. {words[action]} The "
        f"`status` is {statuses}. Uploads submitted later are left alone.",
        body={"required": True, "content": json("Bulk")},
        answers={202: answer("It has begun.", json("BulkAction"), ["Location"])},
        refusals=(
            *("malformed_body", "upload_too_large", "unsupported_media_type", "unknown_field", "invalid_field"),
            *("conflict", *_AWAY),
        ),
    )


def _actions() -> Json:
    return operation(
        _TAG,
        "admin_actions",
        "List bulk actions",
        "Those under way, and those that have ended.",
        answers={200: answer("The actions.", json("BulkActions"))},
        refusals=_AWAY,
    )


def _action() -> Json:
    return operation(
        _TAG,
        "admin_action",
        "Get a bulk action",
        "How far it is.",
        answers={200: answer("The action.", json("BulkAction"))},
        refusals=("not_found", *_AWAY),
    )


def _stop() -> Json:
    return operation(
        _TAG,
        "admin_cancel_action",
        "Cancel a bulk action",
        "What it has done stays done. One that has ended stays as it is.",
        answers={200: answer("It is cancelled, or had ended.", json("BulkAction"))},
        refusals=("unknown_field", "not_found", *_AWAY),
    )
