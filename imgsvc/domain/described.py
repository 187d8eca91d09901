"""How a field of a document is described where its schema is shown."""

from collections.abc import Callable
from typing import Any


class Described:
    """What the schema of a field has beside its type: a description, an example, and keywords of JSON Schema."""

    def __init__(self, description: str = "", example: object = ..., **keywords: object) -> None:
        self.example = example
        self._schema = ({"description": description} if description else {}) | keywords

    def __get_pydantic_json_schema__(self, core: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """What pydantic calls; this module does without it, and so do those that only read documents."""
        return handler(core) | self._schema
