"""`/openapi.json`: what it says is what the service does, and all of it."""

import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
import pytest_asyncio
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Match, Route

from imgsvc.api.app import ROUTES
from imgsvc.api.openapi import document
from imgsvc.api.openapi.problems import MEANINGS
from imgsvc.embedded import free_port
from imgsvc.presets import PRESETS, PresetError, read
from imgsvc.problems import HTTP_PROBLEMS, JOB_FAILURES
from tests import images
from tests.contract import METHODS, Contract, Json, resolve, split, validator
from tests.peers import Listener
from tests.service import Servers, Service, begun, until

NOT_ROUTED_YET = {"/", "/metrics", "/upload/{id}/events", "/uploads"}
"""Paths that are described before they are there."""

NOT_WALKED = {
    "forbidden",
    "headers_too_large",
    "idempotency_in_flight",
    "internal_error",
    "overloaded",
    "precondition_failed",
    "quota_exceeded",
    "rate_limited",
    "request_timeout",
    "signature_expired",
    "signature_invalid",
    "unauthorized",
    "uri_too_long",
}
"""Codes that only other settings, or a client of its own kind, bring about: other tests have them."""

MAX_BYTES = 256 * 1024
PHOTO = images.photo()
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
    assert lost == NOT_ROUTED_YET
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


@pytest_asyncio.fixture(scope="module")
async def contract(servers: Servers) -> AsyncGenerator[Contract]:
    """What a walk through all calls was answered."""
    contract = Contract(DOCUMENT)
    settings: dict[str, Any] = {
        "max_upload_bytes": MAX_BYTES,
        "outbound_allow": "127.0.0.1",
        "webhook_secret": "whsec_" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3",
    }
    async with Service.start(servers.environment(), decoders=1, **settings) as service:
        service.client.event_hooks["response"].append(contract.check)
        await walk_uploads(service)
        await walk_urls(service)
        await walk_jobs(service)
        await walk_files(service)
        await walk_the_rest(service)
    await walk_outage(contract)
    yield contract


async def walk_uploads(service: Service) -> None:
    post = service.client.post
    key = {"idempotency-key": str(uuid4())}
    form = {"file": ("sample.jpg", PHOTO)}
    for file in (form, {"file": ("other.jpg", images.photo(64, 48))}):  # accepted, then a mismatch
        await post("/upload", files=file, headers=key)
    raw = {"preset": "default", "metadata": '{"a": "b"}', "expires_in": "3600", "filename": "raw.jpg"}
    await post("/upload", content=PHOTO, headers={"content-type": "image/jpeg"}, params=raw)
    await post("/upload", files=form, data={"variants": '{"card": {"width": 64}}'})
    for refused in (
        {"preset": "none"},
        {"variants": "{}"},
        {"webhook_url": "http://10.0.0.1/"},
        {"expires_in": "soon"},
        {"other": "1"},
    ):
        await post("/upload", files=form, data=refused)
    await post("/upload", content=PHOTO, headers={"idempotency-key": "a b"})
    await post("/upload", content=PHOTO * (MAX_BYTES // len(PHOTO) + 2))
    await post("/upload", content=b"no image")
    await post("/upload", content=b"")
    await post("/upload", content=b"{}", headers={"content-type": "application/json"})
    await post("/upload", content=PHOTO, headers={"content-type": "multipart/form-data"})
    await post("/upload", files=[("file", ("a.jpg", PHOTO)), ("file", ("b.jpg", PHOTO))])
    await post("/upload", files={"preset": (None, "default")})


async def walk_urls(service: Service) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(PHOTO), PHOTO)
    async with Listener.start(answer) as host:
        url = f"http://127.0.0.1:{host.port}/photo.jpg"
        taken = await service.client.post("/upload/url", json={"url": url, "metadata": {"a": "b"}, "webhook_url": url})
        await service.ended(taken.json()["id"])
        await service.client.get(f"/upload/{taken.json()['id']}")
    for refused in ({"url": "http://10.0.0.1/"}, {"url": url, "other": 1}, [], {"url": url, "filename": "x" * 40_000}):
        await service.client.post("/upload/url", json=refused)
    await service.client.post("/upload/url", content=b"{", headers={"content-type": "application/json"})
    await service.client.post("/upload/url", content=b"{}", headers={"content-type": "text/plain"})


async def walk_jobs(service: Service) -> None:
    async def around(upload_id: str) -> None:
        for path in ("", "/status", "/result"):
            await service.client.get(f"/upload/{upload_id}{path}")
        await service.client.post(f"/upload/{upload_id}/retry")

    good = await service.upload(PHOTO)
    bad = await service.upload(PHOTO[: len(PHOTO) // 2])
    for upload_id in (good, bad):
        await service.ended(upload_id)
        await service.client.post(f"/upload/{upload_id}/cancel")
        await around(upload_id)
    await service.ended(bad)
    under_way = await begun(service)
    await around(under_way)
    await service.client.post(f"/upload/{under_way}/cancel")
    await around(under_way)
    passing = await service.upload(PHOTO, expires_in="1")

    async def expired() -> bool:
        return (await service.client.get(f"/upload/{passing}/status")).status_code == 410

    await until(expired)
    await around(passing)
    await service.client.delete(f"/upload/{good}")
    await service.client.delete(f"/upload/{uuid4()}")
    await around(str(uuid4()))


async def walk_files(service: Service) -> None:
    path = (await service.result(await service.upload(PHOTO)))["result"]["thumbnail"]
    etag = (await service.client.get(path, params={"download": "1"})).headers["etag"]
    for headers in ({"range": "bytes=0-9"}, {"range": "bytes=999999-"}, {"if-none-match": etag}):
        await service.client.get(path, headers=headers)
        await service.client.head(path, headers=headers)
    for call in (service.client.get, service.client.head):
        await call(f"/files/processed/{uuid4()}/x.jpeg")


async def walk_the_rest(service: Service) -> None:
    for path in ("/presets", "/healthz", "/readyz", "/openapi.json", "/docs", "/nowhere"):
        etag = (await service.client.get(path)).headers.get("etag")
        await service.client.get(path, headers={"if-none-match": etag or '"other"'})
        await service.client.put(path)


async def walk_outage(contract: Contract) -> None:
    """While Redis and S3 are away."""
    away = free_port()
    environment = {
        "IMGSVC_REDIS_URL": f"redis://127.0.0.1:{away}/0",
        "IMGSVC_S3_ENDPOINT_URL": f"http://127.0.0.1:{away}",
        "IMGSVC_S3_ACCESS_KEY_ID": "key",
        "IMGSVC_S3_SECRET_ACCESS_KEY": "secret",
    }
    service = Service(environment)
    try:
        await service.start_api()
        await until(lambda: is_alive(service))
        service.client.event_hooks["response"].append(contract.check)
        for path in ("/readyz", f"/upload/{uuid4()}/status", f"/files/processed/{uuid4()}/x.jpeg"):
            await service.client.get(path)
        await service.client.post("/upload", content=PHOTO)
    finally:
        await service.stop()


async def is_alive(service: Service) -> bool:
    try:
        return (await service.client.get("/healthz")).status_code == 200
    except httpx.TransportError:
        return False


async def test_every_answer_is_as_it_is_described(contract: Contract) -> None:
    assert contract.faults == []


async def test_every_success_that_is_described_was_answered(contract: Contract) -> None:
    described = {
        (method.upper(), path, status)
        for path, method in CALLS
        for status in DOCUMENT["paths"][path][method]["responses"]
        if status < "400" and path not in NOT_ROUTED_YET
    }
    assert described - contract.answered == set()


async def test_every_refusal_that_a_walk_can_meet_was_met(contract: Contract) -> None:
    assert HTTP_PROBLEMS.keys() - contract.codes == NOT_WALKED


async def test_the_document_and_its_page_are_served_with_what_the_page_may_load(service: Service) -> None:
    served = await service.client.get("/openapi.json")
    assert json.loads(served.content)["openapi"].startswith("3.1")
    page = await service.client.get("/docs")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    size = len(page.content)
    for name in ("docs.css", "docs.js", "icon.svg"):
        asset = await service.client.get(f"/docs/{name}")
        assert asset.status_code == 200
        size += len(asset.content)
    assert size < 60_000
    assert (await service.client.get("/docs/..%2fapp.py")).status_code == 404
