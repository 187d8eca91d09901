"""The states of a job. A test holds the lists of the Lua scripts and of the web page equal to this one."""

from enum import StrEnum


class Status(StrEnum):
    """`PENDING`, then `PROGRESS`, then one of the others; never backwards, but by the client's own retry."""

    PENDING = "PENDING"
    PROGRESS = "PROGRESS"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    CANCELLED = "CANCELLED"


TERMINAL = frozenset({Status.SUCCESS, Status.FAILURE, Status.CANCELLED})
RETRYABLE = frozenset({Status.FAILURE, Status.CANCELLED})
