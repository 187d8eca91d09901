"""`/openapi.json`: what it says is what the service does, and all of it."""

import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Match, Route

from imgsvc.api.app import ROUTES
from imgsvc.api.openapi import document
from imgsvc.api.openapi.problems import MEANINGS
from imgsvc.domain.presets import PRESETS, PresetError, read
from imgsvc.domain.problems import HTTP_PROBLEMS, JOB_FAILURES
from tests.support.contract import METHODS, Json, resolve, split, validator
from tests.support.service import Service

MAX_BYTES = 256 * 1024
DOCUMENT: Json = orjson.loads(orjson.dumps(document(MAX_BYTES, PRESETS)))
COMPONENTS = DOCUMENT["components"]
CALLS = [(path, method) for path, item in DOCUMENT["paths"].items() for method in item if method in METHODS]


def test_the_document_is_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_every_route_is_described_and_every_described_call_is_routed() -> None:
    routes = [route for route in ROUTES if route.include_in_schema]
    met: dict[str, set[str]] = {route.path: set() for route in routes}
    lost = set[str]()
    for path, method in CALLS:
        scope = {"type": "http", "method": method.upper(), "path": "".join(map(_filled, split(path)))}
        route = next((route for route in routes if route.matches(scope)[0] is Match.FULL), None)
        if route is None or not _answers_to(route, method):
            lost.add(path)
        else:
            met[route.path].add(method.upper())
    assert lost == set()
    assert {path: _methods(path, routes) - {"HEAD"} for path in met} == {
        path: methods - {"HEAD"} for path, methods in met.items()
    }


def _filled(part: str) -> str:
    return "x" if part.startswith("{") else part


def _answers_to(route: Route, method: str) -> bool:
    """A class that answers has no list of methods: it has them as functions."""
    return method.upper() in route.methods if route.methods else hasattr(route.endpoint, method)


def _methods(path: str, routes: list[Route]) -> set[str]:
    (route,) = [route for route in routes if route.path == path]
    return {method.upper() for method in METHODS if _answers_to(route, method)}


def test_every_code_of_the_catalogue_is_described() -> None:
    assert MEANINGS.keys() == HTTP_PROBLEMS.keys()
    described = {
        (code, status)
        for path, method in CALLS
        for status, response in DOCUMENT["paths"][path][method]["responses"].items()
        for code in _codes(resolve(response, COMPONENTS))
    }
    every = {(code, str(int(status))) for code, status in HTTP_PROBLEMS.items()}
    assert every - described == {("method_not_allowed", "405")}, "which no call that there is ever answers"
    assert described <= every
    assert COMPONENTS["schemas"]["JobError"]["properties"]["code"]["enum"] == list(JOB_FAILURES)


def _codes(response: Json) -> list[str]:
    content = response.get("content", {}).get("application/problem+json")
    return content["schema"]["properties"]["code"]["enum"] if content else []


def test_every_example_is_one() -> None:
    wrong = [
        f"{where}: {error.json_path}: {error.message}"
        for where, schema, example in _examples(DOCUMENT, "#")
        for error in validator(schema, COMPONENTS).iter_errors(example)
    ]
    assert wrong == []


def _examples(node: Any, where: str) -> Iterator[tuple[str, Json, Any]]:
    """Each example with its schema: those of schemas, of media types, and of headers and parameters."""
    if isinstance(node, list):
        for at, item in enumerate(node):
            yield from _examples(item, f"{where}/{at}")
    if not isinstance(node, dict):
        return
    if isinstance(node.get("examples"), list):
        yield from ((where, node, example) for example in node["examples"])
    if "schema" in node:
        if "example" in node:
            yield where, node["schema"], node["example"]
        for example in node.get("examples", {}).values():
            yield where, node["schema"], resolve(example, COMPONENTS)["value"]
    for name, item in node.items():
        if name not in {"example", "examples"}:
            yield from _examples(item, f"{where}/{name}")


def test_every_document_has_an_example() -> None:
    without = {
        name
        for name, schema in COMPONENTS["schemas"].items()
        if schema["type"] == "object" and not schema.get("examples") and name != "UploadForm"
    }
    assert without == set(), "but a form, whose file is bytes"


@pytest.mark.parametrize(
    "variant",
    [
        {"width": 1},
        {"height": 8192, "quality": None, "width": None},
        {"width": 0},
        {"width": 8193},
        {"width": True},
        {"width": "640"},
        {},
        {"width": None},
        {"width": 10, "fit": "cover"},
        {"width": 10, "height": 10, "fit": "cover", "gravity": "entropy"},
        {"width": 10, "height": None, "fit": "fill"},
        {"width": 10, "fit": None},
        {"width": 10, "fit": "around"},
        {"width": 10, "frames": "all"},
        {"width": 10, "frames": "all", "format": "webp"},
        {"width": 10, "frames": "all", "format": "png"},
        {"widths": [320, 640], "formats": ["avif", "keep"]},
        {"widths": [320, 640], "width": 16, "height": 9, "fit": "cover"},
        {"widths": [320], "width": None, "height": None, "formats": None},
        {"widths": [320], "width": 16},
        {"widths": [320], "height": 9},
        {"widths": [320], "fit": "cover"},
        {"widths": [320, 320]},
        {"widths": []},
        {"widths": list(range(1, 42))},
        {"widths": None},
        {"formats": ["webp"]},
        {"width": 10, "formats": ["webp", "webp"]},
        {"width": 10, "formats": ["heic"]},
        {"width": 10, "frames": "all", "formats": ["webp", "gif"]},
        {"width": 10, "frames": "all", "format": "webp", "formats": ["webp", "png"]},
        {"width": 10, "progressive": True, "formats": ["webp", "png"]},
        {"width": 10, "progressive": True, "formats": ["webp", "jpeg"]},
        {"width": 10, "background": "#AbC"},
        {"width": 10, "background": "teal"},
        {"width": 10, "background": "#abcd"},
        {"width": 10, "blur": 0.5},
        {"width": 10, "blur": 101},
        {"width": 10, "strip": 1},
        {"width": 10, "colour": "red"},
    ],
)
@pytest.mark.parametrize("name", ["card", "Card"])
def test_the_schema_of_variants_takes_what_the_service_takes(variant: dict[str, Any], name: str) -> None:
    written = {name: variant}
    try:
        read("variants", written)
        taken = True
    except PresetError:
        taken = False
    assert validator(COMPONENTS["schemas"]["Variants"], COMPONENTS).is_valid(written) == taken


def test_limits_and_presets_are_those_of_the_service() -> None:
    described = document(12_345, ["default", "shop"])
    body = described["paths"]["/upload"]["post"]["requestBody"]["content"]["image/jpeg"]
    assert body["schema"]["maxLength"] == 12_345
    assert described["components"]["schemas"]["Preset"]["enum"] == ["default", "shop"]


async def test_the_document_and_its_page_are_served_with_what_the_page_may_load(service: Service) -> None:
    served = await service.client.get("/openapi.json")
    assert json.loads(served.content)["openapi"].startswith("3.1")
    page = await service.client.get("/docs")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    size = len(page.content)
    for name in ("shared/base.css", "docs/docs.css", "docs/docs.js", "shared/icon.svg"):
        asset = await service.client.get(f"/static/{name}")
        assert asset.status_code == 200
        size += len(asset.content)
    assert size < 60_000
    assert (await service.client.get("/static/docs/..%2f..%2fapp.py")).status_code == 404
