"""The JSON documents that the service answers, as types: each field with its meaning and an example.

Records and handlers build them, OpenAPI's schemas and examples are derived from them (api/openapi/schemas.py), and the
client and the command line read them. A new field is written here, and where its value comes from.
"""

from typing import Annotated, Literal, final, get_args

from typing_extensions import NotRequired, TypeAliasType, TypedDict  # noqa: UP035 (pydantic needs it before Python 3.12)

from imgsvc.domain import facts_document, presets_document, webhook_documents
from imgsvc.domain.described import UPLOAD_ID, Described
from imgsvc.domain.described import moment as _moment
from imgsvc.domain.described import number as _number
from imgsvc.domain.filenames import MAX_NAME_BYTES
from imgsvc.domain.formats import KNOWN
from imgsvc.domain.model import FileFormat
from imgsvc.domain.presets import CUSTOM
from imgsvc.domain.problems import HTTP_PROBLEMS, JOB_FAILURES, WARNINGS
from imgsvc.domain.states import Status, Unfinished, Unsuccessful

Position = facts_document.Position
Webhook = webhook_documents.Webhook
Deliveries = webhook_documents.Deliveries
EventDelivery = webhook_documents.EventDelivery
DeliveryAttempt = webhook_documents.DeliveryAttempt
OverlayFile = presets_document.OverlayFile
Presets = presets_document.Presets

MAX_PAGE = 200
"""Uploads that a page of them has at most."""

_PATH = f"/upload/{UPLOAD_ID}"
_FILE = f"/files/processed/{UPLOAD_ID}/sample_thumbnail.jpeg"
_SET_FILE = f"/files/processed/{UPLOAD_ID}/sample_hero-320.avif"
_OUTPUT_TYPES = [KNOWN[name].media_type for name in get_args(FileFormat)]
_CODE = "For programs. Codes are stable."


def _path(example: str) -> Described:
    return Described(example=example, format="uri-reference")


Id = TypeAliasType(
    "Id",
    Annotated[
        str,
        Described(
            "A random UUID (version 4).",
            UPLOAD_ID,
            format="uuid",
            pattern="^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
        ),
    ],
)
TaskId = Annotated[Id, Described("The same as `id`.", UPLOAD_ID)]
Filename = Annotated[
    str,
    Described(
        f"The client's name of the file, made safe: no path, no invisible characters, at most {MAX_NAME_BYTES} bytes.",
        "sample.jpg",
        minLength=1,
        maxLength=MAX_NAME_BYTES,
    ),
]
Metadata = Annotated[dict[str, str], Described("The strings that came with the upload.", {"order": "1234"})]
Sha256 = Annotated[
    str,
    Described(
        "SHA-256 of the bytes, in hexadecimal.",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        pattern="^[0-9a-f]{64}$",
    ),
]
Message = Annotated[str, Described("For people.", JOB_FAILURES["decode_failed"])]


class Accepted(TypedDict):
    """The original is stored, and its job is queued."""

    id: Id
    task_id: TaskId
    filename: Filename
    status_url: Annotated[str, _path(f"{_PATH}/status")]
    result_url: Annotated[str, _path(f"{_PATH}/result")]
    events_url: Annotated[str, _path(f"{_PATH}/events")]
    url: Annotated[str, _path(_PATH)]
    message: Annotated[
        str, Described("For people.", "File uploaded successfully. Processing started in the background.")
    ]


class JobError(TypedDict):
    """Why a job failed."""

    code: Annotated[str, Described(_CODE, "decode_failed", enum=list(JOB_FAILURES))]
    message: Message


class Derivation(TypedDict):
    """The newest derivation of an upload: variants made anew, or for the first time, of its original."""

    revision: Annotated[
        int,
        _number("Its number, which is part of the names of its files; the upload's own job counts as the first.", 2, 2),
    ]
    status: Annotated[Status, Described("As that of a job; the upload stays in SUCCESS.", Status.PROGRESS)]
    variants: Annotated[list[str], Described("The variants that it makes.", ["thumbnail"])]
    progress: Annotated[int, _number("Percent; never falls.", 60, maximum=100)]
    step: Annotated[str | None, Described("The current step.", "encode:thumbnail")]
    attempt: Annotated[int, _number("Times it was started.", 1)]
    created_at: Annotated[str, _moment("When it was queued", "2026-11-25T11:00:00.000Z")]
    started_at: Annotated[str | None, _moment("When it was first started", "2026-11-25T11:00:00.004Z")]
    finished_at: Annotated[str | None, _moment("When it ended", None)]
    error: Annotated[JobError | None, Described(example=None)]


class Point(TypedDict):
    """A place in the upright image, as fractions of its width and height."""

    x: Annotated[float, Described("From the left.", 0.31, minimum=0, maximum=1)]
    y: Annotated[float, Described("From the top.", 0.4, minimum=0, maximum=1)]


class JobStatus(TypedDict):
    """The status of a job."""

    id: Id
    task_id: TaskId
    status: Annotated[Status, Described(example=Status.PROGRESS)]
    progress: Annotated[int, _number("Percent; never falls.", 60, maximum=100)]
    step: Annotated[str | None, Described("The current step.", "encode:thumbnail")]
    filename: Filename
    preset: Annotated[str, Described(f"The preset's name; `{CUSTOM}` for the upload's own variants.", "default")]
    attempt: Annotated[int, _number("Times the job was started.", 1)]
    created_at: Annotated[str, _moment("When it was queued", "2026-11-25T10:35:00.000Z")]
    started_at: Annotated[str | None, _moment("When it was first started", "2026-11-25T10:35:00.004Z")]
    finished_at: Annotated[str | None, _moment("When it ended", None)]
    expires_at: Annotated[str | None, _moment("When upload and files are removed", None)]
    error: Annotated[JobError | None, Described(example=None)]
    metadata: Metadata
    focus: Annotated[Point | None, Described("The upload's focus.", None)]
    derivation: Annotated[Derivation | None, Described(example=None)]


@final
class File(TypedDict):
    """A variant as a file."""

    url: Annotated[str, _path(_FILE)]
    width: Annotated[int, _number("Pixels.", 200, 1)]
    height: Annotated[int, _number("Pixels.", 163, 1)]
    bytes: Annotated[int, _number("Size.", 9399, 1)]
    content_type: Annotated[str, Described(example="image/jpeg", enum=_OUTPUT_TYPES)]
    sha256: Sha256
    quality: Annotated[
        int | None,
        _number(
            "What its encoder was given; null for formats without qualities, and for the original's own pixels where "
            "they are the smaller file.",
            85,
            1,
            maximum=100,
        ),
    ]
    fits: Annotated[bool, Described("Whether it is as small as the variant's `max_bytes` asks for.", True)]


@final
class SetSource(TypedDict):
    """The files of a responsive set that have one format."""

    content_type: Annotated[str, Described("What a `<source>` has as `type`.", "image/avif", enum=_OUTPUT_TYPES)]
    srcset: Annotated[
        str, Described("What a `<source>` has as `srcset`; in HTML, `&` is written `&amp;`.", f"{_SET_FILE} 320w")
    ]
    files: Annotated[list[File], Described("By width.", minItems=1)]


@final
class FileSet(TypedDict):
    """A variant as a responsive set: files of several widths and formats, of which a browser chooses one."""

    sources: Annotated[list[SetSource], Described("The smallest format first.", minItems=1)]
    fallback: Annotated[File, Described("The file for whoever takes one only.")]
    html: Annotated[
        str,
        Described(
            "A `<picture>` with all files, to be given its `alt` and `sizes`.",
            f'<picture><img src="{_FILE}" srcset="{_FILE} 200w" sizes="100vw" width="200" height="163"></picture>',
        ),
    ]


@final
class Original(facts_document.Facts):
    """What was uploaded, its sides as an upright viewer sees them."""

    width: Annotated[int, _number("Pixels.", 2725, 1)]
    height: Annotated[int, _number("Pixels.", 2225, 1)]
    bytes: Annotated[int, _number("Size.", 829_183, 1)]
    content_type: Annotated[str, Described(example="image/jpeg", enum=[fmt.media_type for fmt in KNOWN.values()])]
    sha256: Sha256
    frames: Annotated[int, _number("More than one for an animation.", 1, 1)]


class Placeholder(TypedDict):
    """A preview to show until the image is loaded."""

    thumbhash: Annotated[str, Described("A ThumbHash.", "3OcRJYB4d3h/iIeHeEh3eIhw+j2w", contentEncoding="base64")]
    color: Annotated[str, Described("The image's main colour.", "#7a6b52", pattern="^#[0-9a-f]{6}$")]


class JobWarning(TypedDict):
    """Something about the original that was lost or assumed."""

    code: Annotated[str, Described(_CODE, "truncated", enum=list(WARNINGS))]
    message: Annotated[str, Described("For people.", WARNINGS["truncated"])]


@final
class Success(TypedDict):
    """What a job made."""

    status: Literal[Status.SUCCESS]
    result: Annotated[
        dict[str, Annotated[str, _path(_FILE)]],
        Described("Where each variant is, by name; of a responsive set, its fallback."),
    ]
    variants: Annotated[dict[str, File | FileSet], Described("Each variant, by name.")]
    original: Original
    placeholder: NotRequired[Placeholder]
    warnings: Annotated[
        list[JobWarning],
        Described("What was lost or assumed about the original; often empty.", []),
    ]


@final
class Ended(TypedDict):
    """A job that ended without a result."""

    status: Unsuccessful
    result: None
    error: JobError | None


@final
class NotYet(TypedDict):
    """A job that has not ended."""

    status: Unfinished
    result: None


class Links(TypedDict):
    """Paths of an upload's parts."""

    self: Annotated[str, _path(_PATH)]
    status: Annotated[str, _path(f"{_PATH}/status")]
    result: Annotated[str, _path(f"{_PATH}/result")]
    events: Annotated[str, _path(f"{_PATH}/events")]


class Upload(TypedDict):
    """One upload as a whole."""

    id: Id
    status: JobStatus
    result: Success | Ended | None
    links: Links
    webhook: NotRequired[Webhook]


class Uploads(TypedDict):
    """A page of uploads, newest first."""

    uploads: Annotated[list[JobStatus], Described(maxItems=MAX_PAGE)]
    next: Annotated[str | None, Described("The `cursor` of the next page; null on the last one.", None)]


class Event(TypedDict):
    """The body of a webhook request."""

    type: Annotated[webhook_documents.EndEvent, Described("How the job, or a derivation, ended.", "upload.succeeded")]
    timestamp: Annotated[str, _moment("When it ended", "2026-11-25T10:35:00.078Z")]
    owner: Annotated[str, Described("The name of the upload's key; empty while the service has no keys.", "shop")]
    data: Upload


class Health(TypedDict):
    """The process is alive."""

    status: Literal["ok"]


class Dependency(TypedDict):
    """A server that is needed."""

    ok: Annotated[bool, Described(example=True)]
    latency_ms: Annotated[float | None, Described(example=0.4, minimum=0)]
    error: NotRequired[Annotated[str, Described("Why it is unavailable, and what to set.")]]


class Workers(TypedDict):
    """The workers. If none is alive, this is no reason for 503."""

    ok: Annotated[bool, Described("Whether one is alive.", example=True)]
    alive: Annotated[int | None, _number("How many.", 2)]
    queued: Annotated[int | None, _number("Jobs that wait.", 0)]
    sandbox: Annotated[str | None, Described("The weakest sandbox of them; `full` is complete.", "full")]


class Checks(TypedDict):
    """What the process needs. Not shown to those without a key, once there are keys."""

    queue: Dependency
    storage: Dependency
    workers: Workers


class Readiness(TypedDict):
    """Whether the process can serve."""

    status: Annotated[Literal["ready", "not_ready", "draining"], Described("`draining` while it stops.", "ready")]
    checks: NotRequired[Checks]


class Problem(TypedDict):
    """What went wrong (RFC 9457), and what to do next."""

    type: Annotated[str, Described("`about:blank#` and the code.", "about:blank#not_found", format="uri-reference")]
    title: Annotated[str, Described("The status in words.", "Not Found")]
    status: Annotated[int, Described("The HTTP status.", 404)]
    detail: Annotated[str, Described("What to do next, for people.", "There is no such upload.")]
    code: Annotated[
        str, Described("What went wrong, for programs. Codes are stable.", "not_found", enum=list(HTTP_PROBLEMS))
    ]
    instance: Annotated[str, Described("The path of the request.", "/upload")]
    request_id: Annotated[str, Described("The request's id in the log.", "f9fb546d373eba3b")]
