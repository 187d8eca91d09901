"""Whether an upload may begin: the queue's room and its owner's limits, asked in one call before its body is read."""

import math
from uuid import uuid4

from imgsvc.api.http.budget import overloaded
from imgsvc.api.http.context import Services
from imgsvc.api.http.errors import RETRY_AFTER_S, ProblemError
from imgsvc.jobs.types import Admission, Reservation

_LATER = "Retry after the time in Retry-After."


async def admit(services: Services, owner: str, idempotency_key: str, announced: int) -> Reservation:
    """Reserves an upload of `announced` bytes, or finds the one that the key stands for; all else is refused."""
    announced = min(announced, services.settings.max_upload_bytes)
    reservation = await services.queue.reserve(str(uuid4()), idempotency_key, owner=owner, announced=announced)
    if reservation.admission is Admission.IN_FLIGHT:
        detail = "The first upload with this Idempotency-Key is still under way. Ask again shortly."
        raise ProblemError("idempotency_in_flight", detail, {"retry-after": str(RETRY_AFTER_S)})
    check_limits(services, reservation)
    return reservation


def check_limits(services: Services, reservation: Reservation) -> None:
    """Raises ProblemError where the queue is full, or its owner has reached a limit."""
    match reservation.admission:
        case Admission.OVERLOADED:
            raise overloaded("Too many jobs are waiting. Try again later.")
        case Admission.RATE_LIMITED:
            detail = f"Rate limit of {services.settings.rate_limit} uploads a minute exceeded. {_LATER}"
            raise ProblemError("rate_limited", detail, _retry_after(reservation))
        case Admission.QUOTA_EXCEEDED:
            detail = f"Daily upload quota of {services.settings.quota_bytes} bytes exceeded. {_LATER}"
            raise ProblemError("quota_exceeded", detail, _retry_after(reservation))
        case _:
            return


def _retry_after(reservation: Reservation) -> dict[str, str]:
    return {"retry-after": str(math.ceil(reservation.wait_s))}
