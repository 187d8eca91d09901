"""Operations on one upload that was accepted."""

from imgsvc.api.openapi import examples
from imgsvc.api.openapi.operations import operation
from imgsvc.api.openapi.parts import JSON, Json, answer, json, parameter, schema
from imgsvc.api.openapi.problems import RATE_LIMIT

_TAG = "Jobs"
_AWAY = ("queue_unavailable", "storage_unavailable")
_LOST = ("not_found", "expired", *_AWAY)
_WAITING = (parameter("wait"), parameter("Prefer"))
_WAITED = ("Preference-Applied",)


def paths() -> Json:
    one = {"parameters": [parameter("Id")]}
    return {
        "/upload/{id}": {**one, "get": _upload(), "patch": _change(), "delete": _delete()},
        "/upload/{id}/status": {**one, "get": _status()},
        "/upload/{id}/result": {**one, "get": _result()},
        "/upload/{id}/events": {**one, "get": _events()},
        "/upload/{id}/cancel": {**one, "post": _cancel()},
        "/upload/{id}/retry": {**one, "post": _retry()},
        "/upload/{id}/release": {**one, "post": _release()},
        "/upload/{id}/variants": {**one, "post": _derive()},
    }


def _upload() -> Json:
    return operation(
        _TAG,
        "get_upload",
        "Get an upload",
        "Its status and result in one document, with the state of its webhook.",
        answers={200: answer("The upload.", json("Upload"))},
        refusals=_LOST,
    )


def _delete() -> Json:
    return operation(
        _TAG,
        "delete_upload",
        "Delete an upload",
        "Cancels its job if need be, and removes record, original and files. May be repeated for an hour.",
        answers={204: answer("It is gone.")},
        refusals=("unknown_field", "not_found", *_AWAY),
    )


def _status() -> Json:
    return operation(
        _TAG,
        "get_status",
        "Get a job's status",
        "With `wait`, the answer is held until the job has ended.",
        parameters=_WAITING,
        answers={200: answer("The status.", json("JobStatus"), _WAITED)},
        refusals=("invalid_field", *_LOST),
        by_token=True,
    )


def _result() -> Json:
    ended = {JSON: {"schema": {"oneOf": [schema("Success"), schema("Ended")]}, "examples": _RESULTS}}
    return operation(
        _TAG,
        "get_result",
        "Get a job's result",
        "200 once the job has ended, successfully or not; 202 before. With `wait`, the answer is held until then.",
        parameters=_WAITING,
        answers={
            200: answer("The job has ended.", ended, _WAITED),
            202: answer("The job has not ended.", json("NotYet"), ["Retry-After", *_WAITED]),
        },
        refusals=("invalid_field", *_LOST),
        by_token=True,
    )


_RESULTS = {
    "success": {"summary": "The job succeeded", "value": examples.SUCCESS},
    "failure": {"summary": "The job failed", "value": examples.ENDED},
}


def _events() -> Json:
    return operation(
        _TAG,
        "get_events",
        "Watch a job",
        "Server-Sent Events: each `status` event has a status document (`JobStatus`) as its data, the current one "
        "first. Comments keep the connection alive. The stream ends after the last status, or "
        "when the process stops.",
        parameters=[
            {
                "name": "Last-Event-ID",
                "in": "header",
                "description": "Sent by an EventSource that reconnects.",
                "schema": {"type": "string"},
            }
        ],
        answers={
            200: answer("The stream.", _STREAM, ["Cache-Control", "X-Accel-Buffering"]),
            204: answer("The client has the last status already: do not reconnect."),
        },
        refusals=_LOST,
        by_token=True,
    )


_STREAM = {"text/event-stream": {"schema": schema("StreamEvent")}}


def _cancel() -> Json:
    return operation(
        _TAG,
        "cancel_upload",
        "Cancel a job",
        "Immediately, in any state; its files are removed. A job that has ended cannot be cancelled. Of an upload that "
        "has succeeded, its newest derivation is cancelled, and nothing else changes.",
        answers={200: answer("It is cancelled.", json("JobStatus"))},
        refusals=("unknown_field", "conflict", *_LOST),
        by_token=True,
    )


def _retry() -> Json:
    return operation(
        _TAG,
        "retry_upload",
        "Retry a job",
        "Runs a job again that failed or was cancelled, with the stored original. Counts as an upload of these bytes. "
        "Of an upload that has succeeded, it is the newest derivation that is made again, under another revision.",
        answers={202: answer("It is queued again.", json("JobStatus"), RATE_LIMIT)},
        refusals=("unknown_field", "conflict", "rate_limited", "quota_exceeded", *_LOST),
    )


def _release() -> Json:
    return operation(
        _TAG,
        "release_upload",
        "Release a job that is held back",
        "The operator's gate may hold an image back until somebody has looked at it: its job is in PROGRESS then, with "
        "the step `held`. Released, it goes on, and the gate is not asked again. To reject it, cancel or delete it.",
        answers={202: answer("It is queued again.", json("JobStatus"))},
        refusals=("unknown_field", "conflict", *_LOST),
    )


_REFUSED_DERIVATIONS = (
    *("malformed_body", "upload_too_large", "unsupported_media_type", "unknown_field", "invalid_field"),
    *("conflict", "rate_limited", "quota_exceeded", *_LOST),
)


def _derive() -> Json:
    return operation(
        _TAG,
        "derive_variants",
        "Make variants of a stored original",
        "Variants are made anew, or for the first time. The upload stays in SUCCESS, and its files are served until "
        "all new ones are there; then they take the place of those of the same names in one step, and the other "
        "variants stay. The status tells how far it is (`derivation`), and `wait` and events follow it. One that fails "
        "changes nothing. Counts as an upload of these bytes.\n\n"
        "The names of its files have its revision, so that a name never stands for another content. What was replaced "
        "is still served for a day, unless the operator has set another time.",
        body={"required": True, "content": json("Derive")},
        answers={202: answer("It is queued.", json("JobStatus"), RATE_LIMIT)},
        refusals=(
            "invalid_preset",
            "invalid_variants",
            *_REFUSED_DERIVATIONS,
        ),
    )


def _change() -> Json:
    return operation(
        _TAG,
        "change_upload",
        "Change an upload's focus",
        "Variants with `fit: cover` and `gravity: focus` are made anew, as by `derive_variants`; the upload has the "
        "new focus once that has succeeded. Where there are none, or nothing was made yet, the focus is only noted. A "
        "job or a derivation that has begun must end first.",
        body={"required": True, "content": json("Change")},
        answers={
            200: answer("It is changed, and nothing has to be made.", json("JobStatus")),
            202: answer("A derivation is queued.", json("JobStatus"), RATE_LIMIT),
        },
        refusals=_REFUSED_DERIVATIONS,
    )
