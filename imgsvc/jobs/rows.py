"""Rows as Redis has them: fields and values in turn, all text; times are in milliseconds since the epoch."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

V = TypeVar("V")


def flat(fields: Mapping[str, V]) -> list[str | V]:
    """Returns fields and values in turn, as the arguments of a script."""
    return [part for pair in fields.items() for part in pair]


def row(parts: Sequence[bytes]) -> dict[str, str]:
    """Returns the fields of a hash that a script has read."""
    texts = [part.decode() for part in parts]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def owner_in(row: Mapping[str, str]) -> str:
    """Returns the owner of a record. Versions before 0.1.0 have it in `belongs_to`, and in `owner` a token with a colon
    (common.lua).
    """
    owner = row.get("owner", ":")
    return row.get("belongs_to", "") if ":" in owner else owner


def timestamp(ms: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def optional_timestamp(ms: int | None) -> str | None:
    return None if ms is None else timestamp(ms)


def integer(value: str | None) -> int | None:
    return None if value is None else int(value)
