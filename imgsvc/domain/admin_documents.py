"""The JSON documents that only operators are answered, as types: see documents.py."""

from typing import Annotated, Literal

from typing_extensions import TypedDict

from imgsvc.domain.described import UPLOAD_ID, Described, moment, number
from imgsvc.domain.documents import MAX_PAGE, Checks, Filename, Id, JobStatus, Webhook
from imgsvc.domain.problems import JOB_FAILURES
from imgsvc.domain.states import Status

_WORKER = "5f0c2b9a7d1e4836-9d2c41aa"
_REQUEST = "f9fb546d373eba3b"
_CODES = {"type": "string", "enum": list(JOB_FAILURES)}

Owner = Annotated[str, Described("Whose upload it is; empty where there are no keys.", "shop")]
Worker = Annotated[str | None, Described("The last worker that had the job.", _WORKER)]
RequestId = Annotated[str | None, Described("The request that queued the job: its lines in the log have it.", _REQUEST)]
Failed = Annotated[dict[str, int], Described("Failed jobs by code.", {"decode_failed": 2}, propertyNames=_CODES)]


class Minute(TypedDict):
    """What happened to jobs in one minute: uploads', retries', derivations'."""

    at: Annotated[str, moment("Its beginning", "2026-11-25T10:35:00.000Z")]
    accepted: Annotated[int, number("Queued.", 41)]
    done: Annotated[int, number("Ended successfully.", 38)]
    cancelled: Annotated[int, number("Cancelled, or expired before they had ended.", 0)]
    failed: Failed
    queued: Annotated[int, number("Jobs that had not ended when the minute had, by what was counted since.", 19)]


class Lanes(TypedDict):
    """Waiting jobs by the lane that they wait in; null where too many owners wait to be counted."""

    normal: Annotated[int | None, number("Of high or normal priority.", 12)]
    low: Annotated[int | None, number("Of low priority: they yield to all others.", 3)]


class AdminQueue(TypedDict):
    """Jobs that have not ended."""

    waiting: Annotated[int, number("For a worker.", 15)]
    lanes: Lanes
    leased: Annotated[int, number("That a worker has.", 4)]
    delayed: Annotated[int, number("For a time.", 0)]
    oldest_waiting_ms: Annotated[int, number("How long the first of the waiting has waited.", 230)]
    max_queued: Annotated[int, number("How many there may be.", 10_000, 1)]
    webhooks: Annotated[int, number("Deliveries to webhooks that have not arrived.", 1)]


class Duration(TypedDict):
    """Milliseconds from the first start of a job to its success, right within a tenth; null where there was none."""

    p50_ms: Annotated[int | None, number("Half of the jobs took no longer.", 63)]
    p95_ms: Annotated[int | None, number("All but one in twenty took no longer.", 180)]


class WorkerJob(TypedDict):
    """A job that a worker has."""

    id: Id
    owner: Owner
    filename: Filename
    revision: Annotated[int | None, number("Of the derivation, if it is one.", None, 2)]
    attempt: Annotated[int, number("Times the job was started.", 1)]
    step: Annotated[str | None, Described("The current step; null until the worker has reported one.", "decode")]
    progress: Annotated[int, number("Percent.", 10, maximum=100)]
    started_at: Annotated[str | None, moment("When it was first started", "2026-11-25T10:35:00.004Z")]


class AdminWorker(TypedDict):
    """A worker and what it is at."""

    name: Annotated[str, Described("Another one for each start.", _WORKER)]
    alive: Annotated[bool, Described("False where its jobs have not been given to another yet.", True)]
    sandbox: Annotated[str | None, Described("How its decoders are locked down; `full` is complete.", "full")]
    jobs: list[WorkerJob]


class AdminStats(TypedDict):
    """The service at a glance."""

    at: Annotated[str, moment("The time by the clock of Redis", "2026-11-25T10:35:21.000Z")]
    queue: AdminQueue
    checks: Checks
    minutes: Annotated[list[Minute], Described("The last hour, the oldest first; the last minute has not ended.")]
    failed: Failed
    duration: Duration
    workers: list[AdminWorker]


class AdminUpload(JobStatus):
    """An upload of any owner."""

    owner: Owner
    worker: Worker
    request_id: RequestId


class AdminUploads(TypedDict):
    """A page of all owners' uploads that match, newest first. It may have fewer than `limit`, and others may follow."""

    uploads: Annotated[list[AdminUpload], Described(maxItems=MAX_PAGE)]
    searched: Annotated[int, number("Uploads that were looked at for it.", 50)]
    next: Annotated[str | None, Described("The `cursor` of the next page; null on the last one.", None)]


class AdminCount(TypedDict):
    """How many of the uploads that were looked at match."""

    count: Annotated[int, number("That match.", 17)]
    searched: Annotated[int, number("That were looked at.", 1200)]
    next: Annotated[str | None, Described("The `cursor` with which to count on; null where all were looked at.", None)]


class Note(TypedDict):
    """An attempt that came to nothing, or a run of the job that was followed by another."""

    event: Annotated[
        Literal["lapsed", "released", "failed", "cancelled"],
        Described(
            "`lapsed`: its worker died or was cut off. `released`: its worker stopped, or had to wait for what it "
            "lacked. `failed`, `cancelled`: the end of a run that was followed by another.",
            "lapsed",
        ),
    ]
    at: Annotated[str, moment("When", "2026-11-25T10:35:04.204Z")]
    worker: Annotated[str | None, Described("The worker that had it.", _WORKER)]
    attempt: Annotated[int | None, number("Which attempt.", 1)]
    detail: Annotated[str | None, Described("The step that it was at, or the code of its failure.", "decode")]
    request_id: Annotated[str | None, Described("The request that had queued the run.", None)]


class AdminStory(AdminUpload):
    """An upload of any owner, and what its job went through."""

    url: Annotated[str | None, Described("Where the original was fetched from, if it was.", None)]
    bytes: Annotated[int | None, number("Size of the original, once it is known.", 829_183)]
    history: Annotated[list[Note], Described("Before the present run and attempt, the oldest first; at most 20.")]
    webhook: Annotated[Webhook | None, Described(example=None)]


class Where(TypedDict):
    """Which uploads are meant; what is null excludes none."""

    status: Annotated[Status | None, Described("Of the job, or of the newest derivation.", Status.FAILURE)]
    code: Annotated[str | None, Described("Of the failure of either.", "decode_failed", enum=[*JOB_FAILURES, None])]
    owner: Annotated[str | None, Described("Whose.", "shop")]
    q: Annotated[str | None, Described("Part of the file's name, or the beginning of the id.", None)]
    created_before: Annotated[str | None, moment("Submitted before", None)]
    created_after: Annotated[str | None, moment("Submitted then or later", None)]


class BulkAction(TypedDict):
    """A retry or a cancellation of all uploads that match."""

    id: Annotated[str, Described("A random UUID.", UPLOAD_ID, format="uuid")]
    action: Annotated[Literal["retry", "cancel"], Described(example="retry")]
    where: Where
    status: Annotated[Literal["RUNNING", "DONE", "CANCELLED"], Described("How far it is.", "RUNNING")]
    done: Annotated[int, number("Uploads that it was done to.", 120)]
    refused: Annotated[
        int, number("Uploads left as they were: beyond the quota of their owner, or changed since they were found.", 0)
    ]
    position: Annotated[
        str | None, moment("All uploads submitted after this have had their turn", "2026-11-25T09:12:44.001Z")
    ]
    waiting_for: Annotated[Literal["OVERLOADED", "RATE_LIMITED", None], Described("The limit that it waits for.", None)]
    by: Annotated[str, Described("Whose key began it.", "operations")]
    request_id: Annotated[str, Described("The request that began it, and that queued its retries.", _REQUEST)]
    created_at: Annotated[str, moment("When it began", "2026-11-25T10:35:00.000Z")]
    finished_at: Annotated[str | None, moment("When it ended", None)]


class BulkActions(TypedDict):
    """The newest fifty, the newest first."""

    actions: list[BulkAction]
