"""What a check finds, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """`about` names what was checked; `advice` is what to do, where something is to be done."""

    about: str
    level: Level
    detail: str
    advice: str = ""


def ok(about: str, detail: str) -> Finding:
    return Finding(about, Level.OK, detail)


def warn(about: str, detail: str, advice: str) -> Finding:
    return Finding(about, Level.WARN, detail, advice)


def fail(about: str, detail: str, advice: str) -> Finding:
    return Finding(about, Level.FAIL, detail, advice)


def root(error: BaseException) -> str:
    """What went wrong in the first place: the one who reads it runs the service, and may know it all."""
    while error.__cause__ is not None:
        error = error.__cause__
    return "no answer in time" if isinstance(error, TimeoutError) else str(error) or repr(error)
