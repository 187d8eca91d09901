"""The fields that say how much an owner has left, by draft-ietf-httpapi-ratelimit-headers-11 and RFC 9651.

    RateLimit-Policy: "uploads";q=60;w=60, "bytes";q=50000000;qu="content-bytes";w=86400
    RateLimit: "uploads";r=12;t=1, "bytes";r=31000000;t=1

Both limits are leaky buckets, so that what was used comes back bit by bit: `t` is when there will be more than `r`, and
after a refusal by that limit when the same request would be let in, as in Retry-After.
"""

import math

from imgsvc.jobs.types import Admission, Allowance, Reservation

POLICY, LEFT = "RateLimit-Policy", "RateLimit"

_MAX_INTEGER = 10**15 - 1  # RFC 9651, 3.3.1


def fields_of(reservation: Reservation) -> dict[str, str]:
    """The fields of an answer to what was admitted, or refused by a limit; none where the owner has no limit."""
    limits = {
        "uploads": (reservation.uploads, "w=60", Admission.RATE_LIMITED),
        "bytes": (reservation.bytes, 'qu="content-bytes";w=86400', Admission.QUOTA_EXCEEDED),
    }
    policies: list[str] = []
    rests: list[str] = []
    for name, (allowance, terms, refusal) in limits.items():
        if allowance is not None:
            wait_s = reservation.wait_s if reservation.admission is refusal else allowance.more_s
            policies.append(f'"{name}";q={_integer(allowance.limit)};{terms}')
            rests.append(f'"{name}";r={_integer(_left(allowance))};t={math.ceil(wait_s)}')
    return {POLICY.lower(): ", ".join(policies), LEFT.lower(): ", ".join(rests)} if policies else {}


def _left(allowance: Allowance) -> int:
    return min(allowance.left, allowance.limit)


def _integer(value: int) -> int:
    return min(value, _MAX_INTEGER)
