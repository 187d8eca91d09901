"""The documents that clients send and get. What other rooms know of them is taken from there."""

from collections.abc import Collection
from typing import Any, get_args

from imgsvc.api.openapi import examples, problems
from imgsvc.api.openapi.parts import Json, schema
from imgsvc.api.uploads.list import MAX_LIMIT
from imgsvc.domain.filenames import MAX_NAME_BYTES
from imgsvc.domain.formats import FORMATS
from imgsvc.domain.model import FileFormat
from imgsvc.domain.options import FORM_FIELDS, OPTIONS
from imgsvc.domain.presets import CUSTOM, DEFAULT
from imgsvc.domain.presets import schema as variants_schema
from imgsvc.domain.problems import JOB_FAILURES, WARNINGS
from imgsvc.jobs.record import Status


def _object(description: str, properties: Json, *, optional: tuple[str, ...] = (), **more: Any) -> Json:
    """Its members are all there but those that are `optional`."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "description": description, "properties": properties, "required": required, **more}


def _text(description: str, **more: Any) -> Json:
    return {"type": "string", "description": description, **more}


def _number(description: str, minimum: int = 0, **more: Any) -> Json:
    return {"type": "integer", "description": description, "minimum": minimum, **more}


def _maybe(described: Json) -> Json:
    """The same, or null."""
    return described | {"type": [described["type"], "null"]}


def _or_null(name: str) -> Json:
    return {"oneOf": [schema(name), {"type": "null"}]}


def _moment(description: str) -> Json:
    return _text(f"{description} (RFC 3339, UTC, milliseconds).", format="date-time")


_PATH = {"type": "string", "format": "uri-reference"}
_SHA256 = _text("SHA-256 of the bytes, in hexadecimal.", pattern="^[0-9a-f]{64}$")
_NAME = _text(
    f"The client's name of the file, made safe: no path, no invisible characters, at most {MAX_NAME_BYTES} bytes.",
    minLength=1,
    maxLength=MAX_NAME_BYTES,
)
_URL = dict(OPTIONS["webhook_url"].schema)
_NAMED = {"preset": schema("Preset"), "variants": schema("Variants")}

OPTION_SCHEMAS: Json = {
    name: {**_NAMED.get(name, option.schema), "description": option.words} for name, option in OPTIONS.items()
}


def schemas(presets: Collection[str]) -> Json:
    return _inputs(presets) | _job() | _outputs() | _service() | {"Problem": problems.schema()}


def _inputs(presets: Collection[str]) -> Json:
    in_form = {name: kind for name, kind in OPTION_SCHEMAS.items() if name in FORM_FIELDS}
    variants = variants_schema()
    variant = variants["additionalProperties"]
    variant |= {
        "description": "One output image. A field that is null counts as left out.",
        "examples": [examples.VARIANT],
    }
    return {
        "Variant": variant,
        "Variants": variants
        | {
            "description": OPTIONS["variants"].words,
            "additionalProperties": schema("Variant"),
            "examples": [{"card": examples.VARIANT}],
        },
        "Preset": _text(
            "A named set of variants; `GET /presets` has them in full.", enum=list(presets), default=DEFAULT
        ),
        "UploadForm": _object(
            "A form with one file; its fields may stand before or after it.",
            {"file": {"description": "The image."}, **in_form},
            optional=tuple(in_form),
            additionalProperties=False,
        ),
        "UploadUrl": _object(
            "An image to be fetched.",
            {
                "url": _URL | {"description": "Where the image is, on a host that can be reached from the internet."},
                **OPTION_SCHEMAS,
            },
            optional=tuple(OPTION_SCHEMAS),
            additionalProperties=False,
            examples=[examples.UPLOAD_URL],
        ),
    }


def _job() -> Json:
    return {
        "Id": _text(
            "A random UUID (version 4).",
            format="uuid",
            pattern="^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
            examples=[examples.ID],
        ),
        "Status": _text(
            "`PENDING`, then `PROGRESS`, then one of the others; never backwards, but by the client's own retry.",
            enum=list(Status),
        ),
        "JobError": _object(
            "Why a job failed.",
            {
                "code": _text("For programs. Codes stay as they are.", enum=list(JOB_FAILURES)),
                "message": _text("For people."),
            },
            examples=[examples.JOB_ERROR],
        ),
        "Accepted": _object(
            "The original is stored, and its job is queued.",
            {
                "id": schema("Id"),
                "task_id": schema("Id") | {"description": "The same as `id`."},
                "filename": _NAME,
                "status_url": _PATH,
                "result_url": _PATH,
                "events_url": _PATH,
                "url": _PATH,
                "message": _text("For people."),
            },
            examples=[examples.ACCEPTED],
        ),
        "JobStatus": _object(
            "How far a job is.",
            {
                "id": schema("Id"),
                "task_id": schema("Id") | {"description": "The same as `id`."},
                "status": schema("Status"),
                "progress": _number("Percent; never falls.", maximum=100),
                "step": _maybe(_text("What is being done just now.")),
                "filename": _NAME,
                "preset": _text(f"What was asked for; `{CUSTOM}` for variants of the upload's own."),
                "attempt": _number("How often the job was begun."),
                "created_at": _moment("When it was queued"),
                "started_at": _maybe(_moment("When it was first begun")),
                "finished_at": _maybe(_moment("When it ended")),
                "expires_at": _maybe(_moment("When upload and files are removed")),
                "error": _or_null("JobError"),
                "metadata": OPTION_SCHEMAS["metadata"],
            },
            examples=[examples.PROGRESS, examples.FAILED],
        ),
        "Upload": _object(
            "One upload as a whole.",
            {
                "id": schema("Id"),
                "status": schema("JobStatus"),
                "result": {"oneOf": [schema("Success"), schema("Ended"), {"type": "null"}]},
                "links": _object("Paths of its parts.", dict.fromkeys(("self", "status", "result", "events"), _PATH)),
                "webhook": schema("Webhook"),
            },
            optional=("webhook",),
            examples=[examples.UPLOAD],
        ),
        "Webhook": _object(
            "How far the telling of the job's end has come.",
            {
                "url": _URL,
                "state": _text("How it stands.", enum=["pending", "delivered", "gave_up"]),
                "attempts": _number("How often it was tried."),
                "last_status": _maybe(_number("What the receiver answered last.", 100)),
                "last_error": _maybe(_text("Why there was no answer.")),
                "next_at": _maybe(_moment("When it is tried again")),
            },
            examples=[examples.WEBHOOK],
        ),
        "Uploads": _object(
            "A page of uploads, newest first.",
            {
                "uploads": {"type": "array", "items": schema("JobStatus"), "maxItems": MAX_LIMIT},
                "next": _maybe(_text("The `cursor` of the next page; null on the last one.")),
            },
            examples=[{"uploads": [examples.PROGRESS], "next": None}],
        ),
        "StreamEvent": _object(
            "One of the events that a stream consists of, field by field.",
            {
                "id": _text("Stands for just this state; an EventSource that comes again sends it back."),
                "event": {"const": "status"},
                "data": _text(
                    "A status document.", contentMediaType="application/json", contentSchema=schema("JobStatus")
                ),
            },
            examples=[examples.STREAM_EVENT],
        ),
        "Event": _object(
            "What a webhook is sent.",
            {
                "type": _text("How the job ended.", enum=["upload.succeeded", "upload.failed", "upload.cancelled"]),
                "timestamp": _moment("When it ended"),
                "data": schema("Upload"),
            },
            examples=[examples.EVENT],
        ),
    }


def _outputs() -> Json:
    written = [FORMATS[name].media_type for name in get_args(FileFormat)]
    return {
        "Success": _object(
            "What a job made.",
            {
                "status": {"const": Status.SUCCESS},
                "result": {
                    "type": "object",
                    "description": "Where each variant is, by name.",
                    "additionalProperties": _PATH,
                },
                "variants": {
                    "type": "object",
                    "description": "Each variant, by name.",
                    "additionalProperties": schema("File"),
                },
                "original": schema("Original"),
                "placeholder": schema("Placeholder"),
                "warnings": {
                    "type": "array",
                    "description": "What was given up or assumed of the original; empty where nothing was.",
                    "items": schema("Warning"),
                },
            },
            optional=("placeholder",),
            examples=[examples.SUCCESS],
        ),
        "Warning": _object(
            "Something that was given up or assumed.",
            {
                "code": _text("For programs. Codes stay as they are.", enum=list(WARNINGS)),
                "message": _text("For people."),
            },
            examples=[examples.WARNING],
        ),
        "Ended": _object(
            "A job that made nothing.",
            {
                "status": {"enum": [Status.FAILURE, Status.CANCELLED]},
                "result": {"type": "null"},
                "error": _or_null("JobError"),
            },
            examples=[examples.ENDED],
        ),
        "NotYet": _object(
            "A job that has not ended.",
            {"status": {"enum": [Status.PENDING, Status.PROGRESS]}, "result": {"type": "null"}},
            examples=[{"status": Status.PROGRESS, "result": None}],
        ),
        "File": _object(
            "A variant as a file.",
            {
                "url": _PATH,
                "width": _number("Pixels.", 1),
                "height": _number("Pixels.", 1),
                "bytes": _number("Size.", 1),
                "content_type": {"enum": written},
                "sha256": _SHA256,
            },
            examples=[examples.FILE],
        ),
        "Original": _object(
            "What was uploaded, its sides as an upright viewer sees them.",
            {
                "width": _number("Pixels.", 1),
                "height": _number("Pixels.", 1),
                "bytes": _number("Size.", 1),
                "content_type": {"enum": [fmt.media_type for fmt in FORMATS.values()]},
                "sha256": _SHA256,
                "frames": _number("More than one for an animation.", 1),
            },
            examples=[examples.ORIGINAL],
        ),
        "Placeholder": _object(
            "What stands in for the image until it is loaded.",
            {
                "thumbhash": _text("A ThumbHash.", contentEncoding="base64"),
                "color": _text("The image's main colour.", pattern="^#[0-9a-f]{6}$"),
            },
            examples=[examples.PLACEHOLDER],
        ),
    }


def _service() -> Json:
    dependency = {"ok": {"type": "boolean"}, "latency_ms": {"type": ["number", "null"], "minimum": 0}}
    dependency["error"] = _text("Why not, and what to set.")
    workers = {
        "ok": {"type": "boolean", "description": "Whether one is alive."},
        "alive": _maybe(_number("How many.")),
        "queued": _maybe(_number("Jobs that wait.")),
        "sandbox": _maybe(_text("The weakest lock-down of them; `full` is all of it.")),
    }
    return {
        "Presets": _object(
            "What an upload can ask for by name.",
            {
                "presets": {
                    "type": "object",
                    "description": "Each preset's variants, in full.",
                    "additionalProperties": schema("Variants"),
                }
            },
            examples=[examples.PRESETS_DOCUMENT],
        ),
        "Health": _object("The process is alive.", {"status": {"const": "ok"}}, examples=[{"status": "ok"}]),
        "Readiness": _object(
            "Whether the process can serve.",
            {
                "status": _text("`draining` while it stops.", enum=["ready", "not_ready", "draining"]),
                "checks": _object(
                    "What it needs. Not told to those without a key, once there are keys.",
                    {
                        "queue": schema("Dependency"),
                        "storage": schema("Dependency"),
                        "workers": _object("Those that do the jobs. That none is alive is no reason for 503.", workers),
                    },
                ),
            },
            optional=("checks",),
            examples=[examples.READY],
        ),
        "Dependency": _object(
            "A server that is needed.", dependency, optional=("error",), examples=[{"ok": True, "latency_ms": 0.4}]
        ),
    }
