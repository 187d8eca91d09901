"""Strict parsing of clients' JSON: no duplicate members, and no value that could not be written again."""

import json
import re
from typing import Any

import orjson

MAX_DEPTH = 32
"""Levels of arrays and objects. Valid input has at most four."""

_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKETS = re.compile(r"[\[{]|[\]}]")


def parse(text: str | bytes) -> Any:
    """Returns the value of a JSON text.

    Raises:
        ValueError: it is not JSON (RFC 8259) in UTF-8, has a member twice, or is nested too deeply.
    """
    orjson.loads(text)  # no NaN, no infinity, no half of a surrogate pair, nothing but UTF-8
    text = text if isinstance(text, str) else text.decode()
    _check_depth(text)
    # orjson rounds numbers of more than 64 bits, and keeps one of repeated members
    value = json.loads(text, object_pairs_hook=_object)
    try:
        orjson.dumps(value)
    except TypeError as error:
        raise ValueError(str(error)) from None
    return value


def _check_depth(text: str) -> None:
    depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        names = [name for name, _ in members]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:80]!r} is there twice")
    return found
