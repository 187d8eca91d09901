"""The files that the pages are made of: which are served, with which headers, and how heavy they are."""

import re
from collections.abc import AsyncGenerator
from pathlib import Path
from urllib.parse import urljoin

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Request

import imgsvc.api
from tests.support.browser import chromium, visit
from tests.support.service import Service

STATIC = Path(imgsvc.api.__path__[0]) / "static"
REFERENCE = re.compile(r'(?:href|src)="(?!#)([^"]+)"|from "([^"]+)"|^import "([^"]+)"', re.MULTILINE)
MAX_BYTES = 100_000


@pytest_asyncio.fixture(scope="module")
async def browser() -> AsyncGenerator[Browser]:
    async with chromium() as started:
        yield started


async def test_an_asset_is_cached_by_browsers_and_revalidated_by_its_entity_tag(service: Service) -> None:
    for path in ("/", "/static/page/main.js", "/static/page/page.css", "/static/shared/icon.svg"):
        first = await service.client.get(path)
        assert (first.status_code, first.headers["cache-control"]) == (200, "no-cache")
        again = await service.client.get(path, headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]


async def test_the_pages_load_nothing_but_their_own_files(service: Service) -> None:
    for path in ("/", "/docs", "/static/page/main.js"):
        headers = (await service.client.get(path)).headers
        policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self' blob: data:",
            "connect-src": "'self'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
            "base-uri": "'none'",
        }
        assert headers["x-content-type-options"] == "nosniff"


async def test_every_file_that_a_page_refers_to_is_served_and_no_file_is_left_over(service: Service) -> None:
    queue, reached = ["/", "/admin", "/docs"], set[str]()
    while queue:
        path = queue.pop()
        response = await service.client.get(path)
        assert response.status_code == 200, path
        found = {urljoin(path, "".join(groups)) for groups in REFERENCE.findall(response.text)}
        new = {other for other in found if other.startswith("/static/")} - reached
        reached |= new
        queue += new
    files = {f"/static/{file.relative_to(STATIC)}" for file in STATIC.glob("*/*") if file.suffix != ".html"}
    assert reached == files


@pytest.mark.parametrize(
    "path",
    [
        *(f"page/{name}" for name in ("none.js", "routes.py", "..%2froutes.py", "%2e%2e", "%00", "index.html%00", "")),
        *("none/main.js", "__init__.py/main.js", "%2e%2e/pages.py", "..%2fstatic/main.js"),
        *("", "page", "page/main.js/x"),
    ],
)
async def test_nothing_else_is_served_beside_the_pages(service: Service, path: str) -> None:
    answer = await service.client.get(f"/static/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_the_page_weighs_less_than_a_photo_and_asks_nobody_else(service: Service, browser: Browser) -> None:
    fetched: list[Request] = []
    async with visit(browser, "about:blank") as page:
        page.on("requestfinished", lambda request: fetched.append(request))
        await page.goto(service.url, wait_until="networkidle")
        sizes = [await request.sizes() for request in fetched]
    own_data = tuple(f"{service.url}{path}" for path in ("/files", "/uploads"))  # what was uploaded here before
    weight = sum(
        size["responseHeadersSize"] + size["responseBodySize"]
        for request, size in zip(fetched, sizes, strict=True)
        if not request.url.startswith(own_data)
    )
    print(f"{weight} bytes in {len(fetched)} requests")
    assert all(request.url.startswith(service.url) for request in fetched)
    assert 10_000 < weight <= MAX_BYTES
