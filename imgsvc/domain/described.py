"""How a field of a document is described where its schema is shown."""

from collections.abc import Callable
from typing import Any

UPLOAD_ID = "3f0c4e52-6a3b-4b0e-9d53-0a2c1f7be001"
"""The upload of all examples."""


class Described:
    """What the schema of a field has beside its type: a description, an example, and keywords of JSON Schema."""

    def __init__(self, description: str = "", example: object = ..., **keywords: object) -> None:
        self.example = example
        self._schema = ({"description": description} if description else {}) | keywords

    def __get_pydantic_json_schema__(self, core: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """What pydantic calls; this module does without it, and so do those that only read documents."""
        return handler(core) | self._schema


def moment(what: str, example: str | None) -> Described:
    return Described(f"{what} (RFC 3339, UTC, milliseconds).", example, format="date-time")


def number(what: str, example: int | None, minimum: int = 0, **keywords: int) -> Described:
    return Described(what, example, minimum=minimum, **keywords)
