"""The record of an upload: its states, the moves between them, and the documents that readers see.

    PENDING ──claim──▶ PROGRESS ──finish──▶ SUCCESS
       ▲                  │   ├──finish──▶ FAILURE ──┐
       │                  │   └──cancel──▶ CANCELLED │
       └────release───────┘                    │     │   (a reader still sees PROGRESS: no crash in between
    PENDING ◀──────────retry───────────────────┴─────┘    ever makes a status go backwards)

A job that is still PENDING can be cancelled too. RESERVED comes before PENDING, while the body is still being
uploaded, and ABANDONED instead of it where the upload fails; no reader ever sees either.
An upload in SUCCESS stays there. Each of its derivations, one at a time, goes the same way beside it, and retry makes
the next one of it (derivation.py).
The moves themselves are made in Redis, each by one Lua script beside this file.
"""

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields, replace
from secrets import token_hex
from typing import Self, cast

import orjson

from imgsvc.domain import documents
from imgsvc.domain.facts import NOT_KNOWN, Facts, Position
from imgsvc.domain.facts_document import Facts as FactsDocument
from imgsvc.domain.file_urls import FileUrls
from imgsvc.domain.formats import KNOWN
from imgsvc.domain.model import Placeholder, json_form
from imgsvc.domain.options import Options, unpack
from imgsvc.domain.picture import backdrop, file_set, main_file
from imgsvc.domain.presets import CUSTOM
from imgsvc.domain.problems import WARNINGS
from imgsvc.domain.states import TERMINAL, Status
from imgsvc.jobs.derivation import Derivation, changed
from imgsvc.jobs.files import File
from imgsvc.jobs.rows import integer, optional_timestamp, owner_in, timestamp
from imgsvc.jobs.webhook import Webhook

_VISIBLE = frozenset[str](Status)
_FACTS = len(fields(Facts))  # those of a later version may have more
_VERSION = ("status", "derivation", "derivation_status", "changed")


@dataclass(frozen=True, slots=True)
class Source:
    """The original as it was uploaded; `format` names one of formats.KNOWN."""

    bytes: int
    sha256: str
    format: str

    @property
    def content_type(self) -> str:
        return KNOWN[self.format].media_type


@dataclass(frozen=True, slots=True)
class Submission:
    """A finished upload, ready to become a job: with its `source`, or with the `url` that its job will fetch."""

    id: str
    options: Options
    source: Source | None = None
    url: str | None = None
    gated: bool = False

    def is_repeated_by(self, other: Self) -> bool:
        """Whether `other` asks for the same. What a named preset stands for may have changed in between."""
        other = replace(other, gated=self.gated)
        if self.options.preset != CUSTOM:
            other = replace(other, options=replace(other.options, variants=self.options.variants))
        return self == other


@dataclass(frozen=True, slots=True)
class Success:
    """What a job made. `width` and `height` are those of the upright original.

    `warnings` are codes of problems.WARNINGS.
    """

    width: int
    height: int
    frames: int
    files: tuple[File, ...]
    placeholder: Placeholder | None = None
    warnings: tuple[str, ...] = ()
    facts: Facts = NOT_KNOWN

    def packed(self) -> bytes:
        """As a record has it (unpacked by _success)."""
        width, height, frames, _, *others = astuple(self)
        return orjson.dumps((width, height, frames, [file.row() for file in self.files], *others))


@dataclass(frozen=True, slots=True)
class Derived:
    """What an upload has after a derivation, and the keys of its files that no longer count."""

    success: Success
    replaced: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fetched:
    """The original has been fetched from its URL, and stored."""

    source: Source


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed, with a code of problems.JOB_FAILURES."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """The job could not be done now, through no fault of its own: it is queued again after `delay_s` seconds.

    What it lacks, other jobs lack too, unless it is postponed `alone`.
    """

    delay_s: float
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """The gate has somebody look at the image: the job waits until it is released or cancelled."""


def original_key(upload_id: str) -> str:
    """Where the original is stored; that of an upload that may be tried several times has more behind it."""
    return f"originals/{upload_id}"


def key_of_try(upload_id: str) -> str:
    """Where one of several tries stores the original: no two write to the same key, however late."""
    return f"{original_key(upload_id)}.{token_hex(4)}"


Outcome = Success | Derived | Fetched | Failure | Postponed | Held


@dataclass(frozen=True, slots=True)
class Record:
    """One upload as its readers know it. Times are milliseconds since the epoch, by the clock of Redis.

    `owner` is the name of the API key of its upload, "" if there was none. `options` are what applies now, `submitted`
    what came with the upload. `gate` is `ask` where the gate is to be asked about it, `held` while it is held back, and
    `passed` once it was released. `version` is another one after each change that counts for the next (version_of).
    `original` is the key of its original where that is not `original_key(id)`.
    """

    id: str
    owner: str
    status: Status
    options: Options
    submitted: Options
    url: str | None
    source: Source | None
    progress: int
    step: str | None
    attempt: int
    created_at: int
    started_at: int | None
    finished_at: int | None
    expires_at: int | None
    success: Success | None
    failure: Failure | None
    webhook: Webhook | None
    derivation: Derivation | None
    gate: str | None
    version: str
    original: str | None = None

    @classmethod
    def from_hash(cls, upload_id: str, values: Mapping[bytes, bytes]) -> Self | None:
        """The record that a Redis hash holds, or None where there is none that a reader may see."""
        row = {key.decode(): value.decode() for key, value in values.items()}
        if row.get("status") not in _VISIBLE:
            return None
        if "expires_at" in row:  # older records have it alone
            row.setdefault("expires_in", str((int(row["expires_at"]) - int(row["created_at"])) // 1000))
        submitted = unpack(row)
        return cls(
            id=upload_id,
            owner=owner_in(row),
            status=Status(row["status"]),
            options=unpack(changed(row, row["changed"])) if "changed" in row else submitted,
            submitted=submitted,
            url=row.get("url"),
            source=Source(*orjson.loads(row["source"])) if "source" in row else None,
            progress=int(row.get("progress", 0)),
            step=row.get("step"),
            attempt=int(row.get("attempt", 0)),
            created_at=int(row["created_at"]),
            started_at=integer(row.get("started_at")),
            finished_at=integer(row.get("finished_at")),
            expires_at=integer(row.get("expires_at")),
            success=_success(row.get("success")),
            failure=Failure(*orjson.loads(row["failure"])) if "failure" in row else None,
            webhook=Webhook.from_row(row),
            derivation=Derivation.from_row(row),
            gate=row.get("gate"),
            version=" ".join(row.get(name, "") for name in _VERSION),
            original=row.get("original"),
        )

    @property
    def original_key(self) -> str:
        """Where its original is stored."""
        return self.original or original_key(self.id)

    @property
    def has_result(self) -> bool:
        return self.status in TERMINAL

    @property
    def done(self) -> bool:
        """Whether nothing of it will change by itself: its job has ended, and so has its newest derivation."""
        return self.has_result and (self.derivation is None or self.derivation.done)

    def keys(self, files: Iterable[File]) -> tuple[str, ...]:
        """Returns where these files of it are stored."""
        return tuple(file.key(self.id, self.options.filename) for file in files)

    @property
    def submission(self) -> Submission:
        """What it was made of."""
        return Submission(self.id, self.submitted, None if self.url else self.source, self.url, self.gate is not None)

    def has_expired(self, now_ms: float) -> bool:
        return self.expires_at is not None and self.expires_at <= now_ms

    def document(self, urls: FileUrls) -> documents.Upload:
        """All of it, as a reader and a webhook's receiver see it."""
        path = urls.upload(self.id)
        return {
            "id": self.id,
            "status": self.status_document(),
            "result": self._end_document(urls),
            "links": {
                "self": path,
                "status": f"{path}/status",
                "result": f"{path}/result",
                "events": f"{path}/events",
            },
        }

    def status_document(self) -> documents.JobStatus:
        return {
            "id": self.id,
            "task_id": self.id,
            "status": self.status,
            "progress": self.progress,
            "step": self.step,
            "filename": self.options.filename,
            "preset": self.options.preset,
            "attempt": self.attempt,
            "created_at": timestamp(self.created_at),
            "started_at": optional_timestamp(self.started_at),
            "finished_at": optional_timestamp(self.finished_at),
            "expires_at": optional_timestamp(self.expires_at),
            "error": self._error(),
            "metadata": self.options.metadata,
            "focus": json_form(self.options.focus),
            "derivation": self.derivation.document() if self.derivation else None,
        }

    def result_document(self, urls: FileUrls) -> documents.Success | documents.Ended | documents.NotYet:
        """What came of it, its files as `urls` makes their URLs."""
        if (end := self._end_document(urls)) is not None:
            return end
        return {"status": Status.PENDING if self.status is Status.PENDING else Status.PROGRESS, "result": None}

    def _end_document(self, urls: FileUrls) -> documents.Success | documents.Ended | None:
        match self.status:
            case Status.SUCCESS:
                return self._success_document(urls)
            case Status.PENDING | Status.PROGRESS:
                return None
            case status:
                return {"status": status, "result": None, "error": self._error()}

    def _success_document(self, urls: FileUrls) -> documents.Success:
        assert self.success, "it is written in one step with the status"
        assert self.source, "it is known before anything is made of it"
        variants = {
            name: self._variant_document(name, urls)
            for name in dict.fromkeys(file.variant for file in self.success.files)
        }
        document: documents.Success = {
            "status": Status.SUCCESS,
            "result": {name: main_file(variant)["url"] for name, variant in variants.items()},
            "variants": variants,
            "original": {
                "width": self.success.width,
                "height": self.success.height,
                "bytes": self.source.bytes,
                "content_type": self.source.content_type,
                "sha256": self.source.sha256,
                "frames": self.success.frames,
                **cast("FactsDocument", json_form(self.success.facts)),
            },
            "warnings": [{"code": code, "message": WARNINGS[code]} for code in self.success.warnings],
        }
        if placeholder := self.success.placeholder:
            document["placeholder"] = {"thumbhash": placeholder.thumbhash, "color": placeholder.color}
        return document

    def _key(self, file: File) -> str:
        return file.key(self.id, self.options.filename)

    def _variant_document(self, name: str, urls: FileUrls) -> documents.File | documents.FileSet:
        assert self.success
        files = [file for file in self.success.files if file.variant == name]
        shown = [self._file_document(file, urls) for file in files]
        if files[0].set_width is None:
            return shown[0]
        variant = next((variant for variant in self.options.variants if variant.name == name), None)
        return file_set(shown, backdrop(variant, self.success.placeholder))

    def _file_document(self, file: File, urls: FileUrls) -> documents.File:
        return {
            "url": urls(self._key(file)),
            "width": file.width,
            "height": file.height,
            "bytes": file.bytes,
            "content_type": file.content_type,
            "sha256": file.sha256,
            "quality": file.quality,
            "fits": file.fits,
        }

    def _error(self) -> documents.JobError | None:
        return {"code": self.failure.code, "message": self.failure.message} if self.failure else None


def _success(value: str | None) -> Success | None:
    if value is None:
        return None
    width, height, frames, files, *more = orjson.loads(value)
    placeholder = Placeholder(*more[0]) if more and more[0] else None  # older records have none
    warnings = tuple(code for code in more[1] if code in WARNINGS) if len(more) > 1 else ()
    facts = _facts(*more[2][:_FACTS]) if len(more) > 2 else NOT_KNOWN
    kept = tuple(File.from_row(file) for file in files)
    return Success(width, height, frames, kept, placeholder, warnings, facts)


def _facts(
    taken_at: str | None, camera: str | None, palette: list[str], dhash: str | None, position: list[float] | None
) -> Facts:
    return Facts(taken_at, camera, tuple(palette), dhash, Position(*position) if position else None)
