"""A derivation: variants that are made anew, or for the first time, of the stored original of an upload.

Its upload stays SUCCESS meanwhile, and its files are served until the new ones take their place in one step. Each
derivation, also a retry of one, has a revision that none had before, and the names of its files have it: no name ever
stands for two contents. What it makes and which options the upload has then was decided on when it was queued
(derive.lua); if it fails, none of that happens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import orjson

from imgsvc.domain import documents
from imgsvc.domain.options import Options, unpack
from imgsvc.domain.presets import Preset
from imgsvc.domain.states import TERMINAL, Status
from imgsvc.jobs.rows import integer, optional_timestamp, timestamp


@dataclass(frozen=True, slots=True)
class Derivation:
    """The newest derivation of an upload: `variants` are made with `options`, which the upload has from then on.

    Times are milliseconds since the epoch.
    """

    revision: int
    status: Status
    options: Options
    variants: Preset
    progress: int
    step: str | None
    attempt: int
    created_at: int
    started_at: int | None
    finished_at: int | None
    error: documents.JobError | None

    @classmethod
    def from_row(cls, row: Mapping[str, str]) -> Self | None:
        if "derivation_status" not in row:
            return None
        options = unpack(changed(row, row.get("derivation_changes") or row.get("changed")))
        names: list[str] = orjson.loads(row["derivation_variants"])
        return cls(
            revision=int(row["derivation"]),
            status=Status(row["derivation_status"]),
            options=options,
            variants=tuple(variant for variant in options.variants if variant.name in names),
            progress=int(row.get("derivation_progress", 0)),
            step=row.get("derivation_step"),
            attempt=int(row.get("derivation_attempt", 0)),
            created_at=int(row["derivation_created_at"]),
            started_at=integer(row.get("derivation_started_at")),
            finished_at=integer(row.get("derivation_finished_at")),
            error=_error(row.get("derivation_failure")),
        )

    @property
    def done(self) -> bool:
        return self.status in TERMINAL

    def document(self) -> documents.Derivation:
        return {
            "revision": self.revision,
            "status": self.status,
            "variants": [variant.name for variant in self.variants],
            "progress": self.progress,
            "step": self.step,
            "attempt": self.attempt,
            "created_at": timestamp(self.created_at),
            "started_at": optional_timestamp(self.started_at),
            "finished_at": optional_timestamp(self.finished_at),
            "error": self.error,
        }


def changed(row: Mapping[str, str], changes: str | None) -> Mapping[str, str]:
    """Returns the row with `changes` to its options (changes_of), if there are any."""
    if changes is None:
        return row
    return {name: text for name, text in {**row, **orjson.loads(changes)}.items() if text is not None}


def _error(failure: str | None) -> documents.JobError | None:
    if failure is None:
        return None
    code, message = orjson.loads(failure)
    return {"code": code, "message": message}
