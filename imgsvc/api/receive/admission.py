"""Admission of an upload: the queue's capacity and its owner's limits, checked in one call before its body is read."""

import math
from uuid import uuid4

from imgsvc.api.http.budget import overloaded
from imgsvc.api.http.context import Services
from imgsvc.api.http.errors import RETRY_ADVICE, RETRY_AFTER_S, ProblemError
from imgsvc.api.http.rate_limit import fields_of
from imgsvc.domain.tokens import UploadToken
from imgsvc.jobs.types import Admission, Allowance, Reservation


async def admit(services: Services, owner: str, idempotency_key: str, announced: int) -> Reservation:
    """Reserves an upload of `announced` bytes, or finds the one made with the same Idempotency-Key.

    Raises:
        ProblemError: idempotency_in_flight, overloaded, rate_limited or quota_exceeded.
    """
    announced = min(announced, services.settings.max_upload_bytes)
    reservation = await services.queue.reserve(str(uuid4()), idempotency_key, owner=owner, announced=announced)
    if reservation.admission is Admission.IN_FLIGHT:
        detail = f"The first upload with this Idempotency-Key is still in progress. {RETRY_ADVICE}"
        raise ProblemError("idempotency_in_flight", detail, {"retry-after": str(RETRY_AFTER_S)})
    check_limits(reservation)
    return reservation


async def admit_by_token(services: Services, token: UploadToken, original: str, announced: int) -> Reservation:
    """Reserves the upload of a token, or finds the one that was made by it. `original` is the key of this try.

    Raises:
        ProblemError: idempotency_in_flight, token_used, overloaded, rate_limited or quota_exceeded.
    """
    reservation = await services.queue.reserve(token.id, owner=token.owner, announced=announced, original=original)
    if reservation.admission is Admission.IN_FLIGHT:
        detail = f"An upload with this token is still in progress. {RETRY_ADVICE}"
        raise ProblemError("idempotency_in_flight", detail, {"retry-after": str(RETRY_AFTER_S)})
    if reservation.admission is Admission.USED:
        raise token_used()
    check_limits(reservation)
    return reservation


def token_used() -> ProblemError:
    return ProblemError("token_used", "This upload token was used for another file. Get a new one.")


def check_limits(reservation: Reservation) -> None:
    """Raises ProblemError if the queue is full, or the owner has reached a limit."""
    match reservation.admission:
        case Admission.OVERLOADED:
            raise overloaded(f"Too many jobs are queued. {RETRY_ADVICE}")
        case Admission.RATE_LIMITED:
            detail = f"Rate limit of {_limit(reservation.uploads)} uploads a minute exceeded. {RETRY_ADVICE}"
            raise ProblemError("rate_limited", detail, _fields(reservation))
        case Admission.QUOTA_EXCEEDED:
            detail = f"Daily upload quota of {_limit(reservation.bytes)} bytes exceeded. {RETRY_ADVICE}"
            raise ProblemError("quota_exceeded", detail, _fields(reservation))
        case _:
            return


def _limit(allowance: Allowance | None) -> int:
    assert allowance is not None, "what has no limit is not refused"
    return allowance.limit


def _fields(reservation: Reservation) -> dict[str, str]:
    return {"retry-after": str(math.ceil(reservation.wait_s))} | fields_of(reservation)
