"""For how long a job waits for what it lacks, and how long until it is tried again."""

import random
from time import time

from imgsvc.jobs.record import Failure, Postponed, Record

DEADLINE_S = 24 * 3600
"""Seconds that a job waits for what its worker lacks, such as unavailable storage."""

BACKOFF_S = (1.0, 30.0)
"""The shortest and the longest pause, in seconds."""


def postponed(
    record: Record, failure: Failure, deadline_s: float = DEADLINE_S, *, alone: bool = False
) -> Failure | Postponed:
    """Postpones a job, longer each time; `failure` is its outcome once it has waited for `deadline_s` seconds."""
    if time() - (record.started_at or record.created_at) / 1000 > deadline_s:
        return failure
    least, most = BACKOFF_S
    # after hours of waiting a job has thousands of attempts: 2 to that power fits no float
    delay_s = random.uniform(0.5, 1) * min(most, least * 2 ** min(record.attempt, 10))  # noqa: S311 (jitter, no secret)
    return Postponed(delay_s, alone)
