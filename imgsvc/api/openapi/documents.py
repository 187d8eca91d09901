"""The documents that the service answers, described for OpenAPI by their types in domain/documents.py."""

from typing import Any, cast

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import core_schema
from typing_extensions import is_typeddict

from imgsvc.api.openapi import examples
from imgsvc.api.openapi.parts import Json, schema
from imgsvc.domain import admin_documents as admin_types
from imgsvc.domain import documents as types
from imgsvc.domain import token_document

_STREAM_EVENT = {
    "type": "object",
    "description": "One of the events that a stream consists of, field by field.",
    "properties": {
        "id": {
            "type": "string",
            "description": "Stands for just this state; an EventSource that comes again sends it back.",
        },
        "event": {"const": "status"},
        "data": {
            "type": "string",
            "description": "A status document.",
            "contentMediaType": "application/json",
            "contentSchema": schema("JobStatus"),
        },
    },
    "required": ["id", "event", "data"],
    "examples": [examples.STREAM_EVENT],
}


_EXAMPLES = {
    "JobStatus": [examples.PROGRESS, examples.FAILED],
    "Upload": [examples.UPLOAD],
    "Event": [examples.EVENT],
}
"""Those of documents whose fields do not stand for themselves."""


def documents() -> Json:
    """Schemas of all that the service answers, made by pydantic of their types."""
    named = vars(types) | vars(token_document) | vars(admin_types)
    found = {name: kind for name, kind in named.items() if is_typeddict(kind)}
    adapters: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        (name, "serialization", TypeAdapter(kind)) for name, kind in found.items()
    ]
    _, derived = TypeAdapter.json_schemas(adapters, ref_template=schema("{model}")["$ref"], schema_generator=_Generator)
    described: Json = _untitled(derived["$defs"])
    for name, kind in found.items():
        described[name]["examples"] = _EXAMPLES.get(name) or [examples.example_of(kind)]
    described["Id"]["examples"] = [types.UPLOAD_ID]
    return described | {"StreamEvent": _STREAM_EVENT}


class _Generator(GenerateJsonSchema):
    """Alternatives exclude each other, and what may be null has two types."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> Json:
        inner, null = self.generate_inner(schema["schema"]), {"type": "null"}
        if isinstance(inner.get("type"), str):
            return inner | {"type": [inner["type"], "null"]}
        return {"oneOf": [*inner.get("oneOf", [inner]), null]}

    def union_schema(self, schema: core_schema.UnionSchema) -> Json:
        found = super().union_schema(schema)
        return {"oneOf": found["anyOf"]} if "anyOf" in found else found


def _untitled(node: Any) -> Any:
    """Without the titles that pydantic makes of names."""
    if isinstance(node, list):
        return [_untitled(item) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    members = cast("Json", node).items()
    return {name: _untitled(item) for name, item in members if name != "title" or not isinstance(item, str)}
