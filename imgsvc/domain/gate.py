"""What a gate decides about an image before anything made of it can be seen."""

from dataclasses import dataclass
from typing import Literal, cast, get_args

from imgsvc.domain.json_input import parse

Decision = Literal["allow", "reject", "hold"]

MAX_ANSWER_BYTES = 16 * 1024
_MAX_REASON = 500


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is for the upload's owner; "" if the gate gives none."""

    decision: Decision
    reason: str = ""


def read_verdict(body: bytes) -> Verdict:
    """Reads `{"decision": "allow"}`; a `reason` may be given, and other members are ignored.

    Raises:
        ValueError: it is something else.
    """
    document = parse(body.decode())
    members = cast("dict[str, object]", document) if isinstance(document, dict) else {}
    decision, reason = members.get("decision"), members.get("reason")
    if decision not in get_args(Decision):
        raise ValueError(f"'decision' must be one of {', '.join(get_args(Decision))}")
    return Verdict(cast("Decision", decision), _line(reason) if isinstance(reason, str) else "")


def _line(text: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in text[: 2 * _MAX_REASON])
    return " ".join(printable.split())[:_MAX_REASON]
