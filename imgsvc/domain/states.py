"""The states of a job. A test holds the lists of the Lua scripts and of the web page equal to this one."""

from enum import StrEnum
from typing import Literal, get_args


class Status(StrEnum):
    """`PENDING`, then `PROGRESS`, then one of the others; never backwards, except by the client's own retry."""

    PENDING = "PENDING"
    PROGRESS = "PROGRESS"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    CANCELLED = "CANCELLED"


Unfinished = Literal[Status.PENDING, Status.PROGRESS]
Unsuccessful = Literal[Status.FAILURE, Status.CANCELLED]
"""Ends of a job that made nothing. A client may retry it."""

RETRYABLE = frozenset[Status](get_args(Unsuccessful))
TERMINAL = RETRYABLE | {Status.SUCCESS}
