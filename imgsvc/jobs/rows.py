"""Values as the row of a record has them: text, and times in milliseconds since the epoch."""

from datetime import UTC, datetime


def timestamp(ms: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def optional_timestamp(ms: int | None) -> str | None:
    return None if ms is None else timestamp(ms)


def integer(value: str | None) -> int | None:
    return None if value is None else int(value)
