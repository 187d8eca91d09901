"""Which uploads an operator means: by parameters of a query, or by the `where` of a bulk action."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from starlette.datastructures import QueryParams

from imgsvc.api.http.errors import ProblemError
from imgsvc.domain.admin_documents import Where
from imgsvc.domain.problems import JOB_FAILURES
from imgsvc.domain.states import Status
from imgsvc.jobs.bulk import Filter
from imgsvc.jobs.rows import optional_timestamp
from imgsvc.runtime.api_keys import is_owner_name

FIELDS = ("status", "code", "owner", "q", "created_before", "created_after")
MAX_TEXT = 100
_END_MS = 32_503_680_000_000  # the year 3000


def from_query(query: QueryParams) -> Filter:
    """Raises:
    ProblemError: a parameter has no such value.
    """
    return _filter({name: query[name] for name in FIELDS if name in query})


def from_where(where: object) -> Filter:
    """Reads the `where` of a bulk action; members that are null count as left out.

    Raises:
        ProblemError: it is no object, or has an unknown member or value.
    """
    if not isinstance(where, dict):
        raise ProblemError("invalid_field", "'where' must be an object; {} means all uploads.")
    members = cast("dict[str, Any]", where)
    for name, value in members.items():
        if name not in FIELDS:
            raise ProblemError(
                "unknown_field", f"{name[:80]!r} is not a field of 'where'. The fields are: {', '.join(FIELDS)}."
            )
        if value is not None and not isinstance(value, str):
            raise ProblemError("invalid_field", f"{name!r} must be a string or null.")
    return _filter({name: value for name, value in members.items() if value is not None})


def document(where: Filter) -> Where:
    return {
        "status": where.statuses[0] if len(where.statuses) == 1 else None,
        "code": where.code,
        "owner": where.owner,
        "q": where.text,
        "created_before": optional_timestamp(where.created_before),
        "created_after": optional_timestamp(where.created_after),
    }


def _filter(given: Mapping[str, str]) -> Filter:
    status, code, owner, text = (given.get(name) for name in FIELDS[:4])
    if status is not None and status not in set(Status):
        raise ProblemError("invalid_field", f"'status' must be one of {', '.join(Status)}.")
    if code is not None and code not in JOB_FAILURES:
        raise ProblemError("invalid_field", f"'code' must be one of {', '.join(JOB_FAILURES)}.")
    if owner and not is_owner_name(owner):
        raise ProblemError("invalid_field", "'owner' must be an owner's name, of 1 to 40 of a-z, 0-9, _ and -.")
    if text is not None and len(text) > MAX_TEXT:
        raise ProblemError("invalid_field", f"'q' must have no more than {MAX_TEXT} characters.")
    return Filter(
        statuses=() if status is None else (Status(status),),
        code=code,
        owner=owner,
        text=text or None,
        created_before=_moment("created_before", given),
        created_after=_moment("created_after", given),
    )


def _moment(name: str, given: Mapping[str, str]) -> int | None:
    if name not in given:
        return None
    try:
        moment = datetime.fromisoformat(given[name])
        ms = round(moment.timestamp() * 1000) if moment.tzinfo else -1
    except (ValueError, OverflowError):
        ms = -1
    if 0 <= ms < _END_MS:
        return ms
    raise ProblemError(
        "invalid_field", f"{name!r} must be a time such as 2026-11-25T10:35:00Z, with its offset from UTC."
    )
