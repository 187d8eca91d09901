"""The OpenAPI document, held against what the service answers."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
from jsonschema import Draft202012Validator

Json = dict[str, Any]

METHODS = {"get", "head", "post", "put", "patch", "delete"}
_OF_HTTP_ITSELF = {"connection", "content-length", "content-type", "date", "keep-alive", "transfer-encoding"}
"""Headers that any answer may have."""

_ELSEWHERE = {"404": "not_found", "405": "method_not_allowed"}
"""What is answered to calls that there are none of."""


class Contract:
    """Keeps what was answered to which call, and every answer that is not as it is described."""

    def __init__(self, document: Json) -> None:
        self.faults: list[str] = []
        self.answered: set[tuple[str, str, str]] = set()
        self.codes: set[str] = set()
        self._components = strict(document["components"])
        # a path without parameters goes before one that could stand for it
        paths = sorted(document["paths"].items(), key=lambda item: item[0].count("{"))
        self._paths = [(pattern_of(path), path, item) for path, item in paths]

    async def check(self, answer: httpx.Response) -> None:
        """For `event_hooks` of an httpx client."""
        await answer.aread()
        called = f"{answer.request.method} {answer.request.url.path} {answer.status_code}"
        self.faults += [f"{called}: {fault}" for fault in self._faults(answer)]

    def _faults(self, answer: httpx.Response) -> Iterator[str]:
        described = self._described(answer)
        if described is None:
            yield "this status is not described"
            return
        kind = answer.headers.get("content-type", "").partition(";")[0]
        if kind == "application/problem+json" and answer.content:
            self.codes.add(answer.json()["code"])
        yield from self._header_faults(answer, described.get("headers", {}))
        yield from self._body_faults(answer, kind, described.get("content", {}))

    def _described(self, answer: httpx.Response) -> Json | None:
        status, method = str(answer.status_code), answer.request.method
        for pattern, path, item in self._paths:
            if pattern.fullmatch(answer.request.url.path):
                if method.lower() not in item:
                    break
                self.answered.add((method, path, status))
                response = item[method.lower()]["responses"].get(status)
                return response and self._resolve(response)
        return self._components["responses"].get(_ELSEWHERE.get(status))

    def _header_faults(self, answer: httpx.Response, described: Json) -> Iterator[str]:
        headers = {name.lower(): self._resolve(header) for name, header in described.items()}
        for name in answer.headers.keys() - headers.keys() - _OF_HTTP_ITSELF:
            yield f"header {name} is not described"
        for name, header in headers.items():
            text = answer.headers.get(name)
            if text is not None:
                is_number = header["schema"].get("type") == "integer" and text.isdecimal()
                yield from self._mismatches(header["schema"], int(text) if is_number else text, f"header {name}")
            elif header["required"]:
                yield f"header {name} is missing"

    def _body_faults(self, answer: httpx.Response, kind: str, content: Json) -> Iterator[str]:
        if not content or answer.request.method == "HEAD":
            if answer.content:
                yield f"a body of {len(answer.content)} bytes is not described"
        elif kind not in content:
            yield f"media type {kind!r} is not described"
        elif kind.endswith("json"):
            yield from self._mismatches(content[kind]["schema"], answer.json(), "body")

    def _mismatches(self, schema: Json, value: Any, what: str) -> Iterator[str]:
        for error in validator(schema, self._components).iter_errors(value):
            yield f"{what}: {error.json_path}: {error.message[:300]}"

    def _resolve(self, value: Json) -> Json:
        return resolve(value, self._components)


def validator(schema: Json, components: Json) -> Draft202012Validator:
    """For a schema of the document: its references lead into `components`."""
    return Draft202012Validator(schema | {"components": components}, format_checker=Draft202012Validator.FORMAT_CHECKER)


def resolve(value: Json, components: Json) -> Json:
    """What a reference points to."""
    if "$ref" not in value:
        return value
    _, kind, name = value["$ref"].removeprefix("#/").split("/")
    return resolve(components[kind][name], components)


def pattern_of(path: str) -> re.Pattern[str]:
    return re.compile("".join("[^/]+" if part.startswith("{") else re.escape(part) for part in split(path)))


def split(path: str) -> list[str]:
    """A templated path in pieces, each either plain or a parameter."""
    return re.split(r"(\{\w+\})", path)


def strict(node: Any) -> Any:
    """The same, but no object has members that are not described."""
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {name: strict(item) for name, item in node.items()}
    is_object = kept.get("type") == "object" and "properties" in kept
    return {"unevaluatedProperties": False} | kept if is_object else kept
