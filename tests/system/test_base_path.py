"""A service that is published below a path of somebody else's site: all of it is found there, through a real proxy."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest
import pytest_asyncio
from playwright.async_api import expect

from imgsvc.api.app import ROUTES, create_app
from imgsvc.domain.presets import BUILT_IN
from imgsvc.runtime.local_settings import SettingsError
from tests.support import images
from tests.support.browser import add, chromium, file, thumbnail, visit
from tests.support.callers import ENVIRONMENT, SHOP, by
from tests.support.command import imgsvc
from tests.support.peers import OK, Receiver
from tests.support.proxies import nginx
from tests.support.service import Servers, Service, settings_of

PHOTO = images.photo(320, 240)
BASE = "/media/images"
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"


@pytest_asyncio.fixture(scope="module")
async def below(servers: Servers) -> AsyncGenerator[Service]:
    settings: dict[str, Any] = {"base_path": BASE, "webhook_secret": SECRET, "outbound_allow": "127.0.0.1"}
    async with Service.start(servers.environment(), **settings) as started:
        yield started


@pytest_asyncio.fixture(scope="module", params=["passed on", "stripped"])
async def site(
    request: pytest.FixtureRequest, below: Service, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[str]:
    """The service as its users reach it: the proxy passes the base path on, or strips it."""
    target = below.url if request.param == "passed on" else f"{below.url}/"
    locations = f"location {BASE}/ {{ proxy_pass {target}; }} location / {{ return 418; }}"
    async with nginx(tmp_path_factory.mktemp("nginx") / "files", locations) as url:
        yield url


def paths(node: Any) -> list[str]:
    """Everything in a document that is a path."""
    if isinstance(node, dict):
        return [path for value in node.values() for path in paths(value)]
    if isinstance(node, list):
        return [path for value in node for path in paths(value)]
    return [node] if isinstance(node, str) and node.startswith("/") else []


async def test_h45_every_link_of_every_document_leads_back_below_the_base_path(below: Service, site: str) -> None:
    async with httpx.AsyncClient(base_url=site, timeout=30) as client:
        accepted = await client.post(f"{BASE}/upload", files={"file": ("a b.jpg", PHOTO)})
        assert accepted.status_code == 202, accepted.text
        upload_id = accepted.json()["id"]
        assert accepted.headers["location"] == accepted.json()["status_url"] == f"{BASE}/upload/{upload_id}/status"
        await below.ended(upload_id)
        upload = (await client.get(accepted.json()["url"])).json()
        links = [*paths(accepted.json()), *paths(upload)]
        assert len(links) == 4 + 4 + 4
        for link in links:
            assert link.startswith(f"{BASE}/")
            assert (await client.get(link)).status_code == 200, link
        missing = await client.get(f"{BASE}/nowhere")
        assert (missing.status_code, missing.json()["instance"]) == (404, f"{BASE}/nowhere")
        described = orjson.loads((await client.get(f"{BASE}/openapi.json")).content)
        assert described["servers"] == [{"url": BASE}]
        assert (await client.get("/upload")).status_code == 418, "is the proxy's own"


async def test_h45_the_page_and_the_docs_work_there(site: str) -> None:
    async with chromium() as browser:
        async with visit(browser, f"{site}{BASE}/") as page:
            name = f"{urlsplit(site).port}.jpg"
            await add(page, file(name, PHOTO))
            image = await thumbnail(page, name)
            source = await image.get_attribute("src")
            assert source
            assert urlsplit(source).path.startswith(f"{BASE}/files/")
        async with visit(browser, f"{site}{BASE}/docs") as page:
            call = page.locator("article#get_presets")
            await call.get_by_text("Try it", exact=True).click()
            await expect(call.locator("form .command")).to_contain_text(f"{site}{BASE}/presets")
            await call.get_by_role("button", name="Send").click()
            await expect(call.locator(".response")).to_contain_text("200 OK")


async def test_h45_the_command_line_takes_it_for_a_server(site: str, folder: Path) -> None:
    ended = await imgsvc(
        "upload", "photo.jpg", "--save", "out", "--json", cwd=folder, env={"IMGSVC_SERVER": f"{site}{BASE}/"}
    )
    assert (ended.code, ended.err) == (0, "")
    (told,) = ended.objects
    assert sorted(path.name for path in (folder / "out").iterdir()) == sorted(
        Path(path).name for path in told["saved"].values()
    )
    without_waiting = await imgsvc("upload", "photo.jpg", cwd=folder, env={"IMGSVC_SERVER": f"{site}{BASE}"})
    assert f"{site}{BASE}/upload/" in without_waiting.out
    assert f"{BASE}{BASE}" not in without_waiting.out


async def test_h45_a_webhook_tells_links_below_the_base_path(below: Service) -> None:
    async with Receiver.start(OK) as receiver:
        await below.upload(PHOTO, webhook_url=receiver.url)
        told = paths((await receiver.until_told()).event["data"])
    assert len(told) == 4 + 4
    assert all(path.startswith(f"{BASE}/") for path in told)


async def test_h45_signatures_hold_below_the_base_path_and_keys_guard_all_of_it(
    servers: Servers, tmp_path: Path
) -> None:
    environment = servers.environment() | ENVIRONMENT | {"IMGSVC_BASE_PATH": "/images"}
    async with (
        Service.start(environment) as service,
        nginx(tmp_path / "nginx", f"location /images/ {{ proxy_pass {service.url}; }}") as site,
        httpx.AsyncClient(base_url=site, timeout=30) as client,
    ):
        service.client.headers.update(by(SHOP))
        signed = (await service.result(await service.upload(PHOTO)))["result"]["thumbnail"]
        assert (await client.get(signed)).status_code == 200
        assert (await client.get(signed.replace("thumbnail", "resized_compressed"))).status_code == 403
        for path in ("/images/uploads", "/images/presets", "/images//uploads", "/images/images/uploads"):
            assert (await client.get(path)).status_code == 401, path
            assert (await service.client.get(path, headers={"authorization": ""})).status_code == 401, path
        for path in ("/images/healthz", "/images/", "/images/docs"):
            assert (await client.get(path)).status_code == 200, path


async def test_h45_the_bare_base_path_leads_to_the_page(below: Service) -> None:
    """Whose links are relative to the directory that it is in."""
    answer = await below.client.get(BASE, headers={"host": "localhost"})
    assert (answer.status_code, answer.headers["location"]) == (308, f"{BASE}/")
    for path in (f"{BASE}x/healthz", f"{BASE}{BASE}/healthz", "/media/healthz", "/media"):
        assert (await below.client.get(path)).status_code == 404, path
    assert (await below.client.get("/healthz")).status_code == 200, "as those ask who come around the proxy"


@pytest.mark.parametrize("first", sorted({route.path.split("/")[1] for route in ROUTES} - {""}))
def test_h45_no_base_path_hides_a_call(servers: Servers, first: str) -> None:
    environment = servers.environment() | {"IMGSVC_BASE_PATH": f"/{first}/x"}
    with pytest.raises(SettingsError, match=f"IMGSVC_BASE_PATH=/{first}/x"):
        create_app(settings_of(environment), BUILT_IN)


@pytest.mark.parametrize(
    "wrong", ["images", "/", "/images/", "//images", "/a/../b", "/a b", "/a?b", "/ä", "/%41", "/."]
)
def test_h45_a_base_path_is_plain(servers: Servers, wrong: str) -> None:
    with pytest.raises(ValueError, match="must look like /images"):
        settings_of(servers.environment() | {"IMGSVC_BASE_PATH": wrong})
