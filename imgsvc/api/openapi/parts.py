"""What descriptions are put together from: references, bodies, answers."""

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

JSON = "application/json"
_ALWAYS = ("X-Request-Id", "Cache-Control", "Referrer-Policy")


def schema(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def header(name: str) -> Json:
    return {"$ref": f"#/components/headers/{name}"}


def parameter(name: str) -> Json:
    return {"$ref": f"#/components/parameters/{name}"}


def json(name: str) -> Json:
    """A JSON body; its examples are those of its schema."""
    return {JSON: {"schema": schema(name)}}


def text(media_type: str, description: str, example: str | None = None) -> Json:
    """A body that is text of another kind."""
    body: Json = {"schema": {"type": "string", "description": description}}
    return {media_type: body if example is None else body | {"example": example}}


def binary(*media_types: str, max_bytes: int | None = None) -> Json:
    """A body of bytes: OpenAPI 3.1 gives them no type."""
    body: Json = {"schema": {} if max_bytes is None else {"maxLength": max_bytes}}
    return dict.fromkeys(media_types, body)


def answer(
    description: str, content: Json | None = None, headers: Sequence[str] = (), links: Json | None = None
) -> Json:
    """What stands in an operation under a status."""
    described = {"description": description, "headers": {name: header(name) for name in (*_ALWAYS, *headers)}}
    return described | ({"content": content} if content else {}) | ({"links": links} if links else {})
