"""tus by clients that others have written, each behind a proxy that cuts every connection it has (row T15)."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp
import aiotus
import pytest
import pytest_asyncio
from aiotus import core, creation
from playwright.async_api import expect
from tusclient.client import TusClient
from yarl import URL

from tests.support import callers, images
from tests.support.browser import chromium, visit
from tests.support.callers import SHOP, by
from tests.support.fault_proxy import NONE, Fault, Proxy
from tests.support.peers import Listener
from tests.support.programs import bundled, node_modules, program, ran
from tests.support.service import UNHURRIED, Servers, Service
from tests.support.tus import PART, assert_stored, large_photo

LARGE = large_photo(2 * PART + 12_345)
CUTS = Fault(cut_after=1_300_000)
NAME = "näh am Meer 写真.jpg"


@pytest_asyncio.fixture(scope="module")
async def service(servers: Servers) -> AsyncGenerator[Service]:
    async with callers.with_keys(servers, files="public", **UNHURRIED) as started:
        yield started


@pytest_asyncio.fixture
async def cutting(service: Service) -> AsyncGenerator[Proxy]:
    async with Proxy.to("127.0.0.1", service.port) as proxy:
        proxy.fault = CUTS
        yield proxy


@pytest_asyncio.fixture(scope="module")
async def modules(request: pytest.FixtureRequest) -> Path:
    cache = request.config.cache
    assert cache is not None
    return await node_modules(cache)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.jpg"
    path.write_bytes(LARGE)
    return path


async def assert_complete(service: Service, url: str) -> None:
    assert (await assert_stored(service, URL(url).path, LARGE))["filename"] == NAME


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunkSize": 700_000},
        {"uploadDataDuringCreation": True, "chunkSize": 700_000},
        {"uploadLengthDeferred": True, "chunkSize": PART},
    ],
    ids=["one-piece", "pieces", "with-creation", "deferred"],
)
async def test_t15_tus_js_client(
    service: Service, cutting: Proxy, modules: Path, large: Path, options: dict[str, Any]
) -> None:
    order = {
        "endpoint": f"http://127.0.0.1:{cutting.port}/tus",
        "file": str(large),
        "options": {"headers": {"Authorization": f"Bearer {SHOP}"}, "metadata": {"filename": NAME}} | options,
    }
    out = await ran(program("node", "nodejs"), str(modules / "tus.mjs"), json.dumps(order))
    done = json.loads(out)
    print(f"T15: {done['statuses']}")
    await assert_complete(service, done["url"])
    assert "423" not in done["statuses"]
    assert done["statuses"].get("200"), "it had to ask where to go on"


@pytest.mark.parametrize("with_checksums", [False, True])
async def test_t15_tuspy(service: Service, cutting: Proxy, large: Path, with_checksums: bool) -> None:
    client = TusClient(f"http://127.0.0.1:{cutting.port}/tus", headers=by(SHOP))
    if with_checksums:
        cutting.fault = Fault(cut_after=2_500_000)  # a piece that is cut off is none

    def upload() -> str:
        with large.open("rb") as file:
            uploader = client.uploader(
                file_stream=file,
                chunk_size=900_000 if with_checksums else 3 * PART,
                metadata={"filename": NAME},
                retries=50,
                retry_delay=0,
                upload_checksum=with_checksums,
            )
            uploader.upload()
        assert uploader.url
        return uploader.url

    await assert_complete(service, await asyncio.to_thread(upload))


async def test_t15_aiotus(service: Service, cutting: Proxy, large: Path) -> None:
    """Its parts: on the whole it takes a `Location` without a host for one below the endpoint."""
    endpoint = URL(f"http://127.0.0.1:{cutting.port}/tus")
    metadata = {"filename": NAME.encode()}
    async with aiohttp.ClientSession() as session:
        with large.open("rb") as file:
            location = await creation.create(session, endpoint, file, metadata, headers=by(SHOP))
            where = endpoint.join(location)
            tries = 0
            while tries < 50:
                tries += 1
                try:
                    await core.upload_buffer(session, where, file, chunksize=700_000, headers=by(SHOP))
                    break
                except aiohttp.ClientError:
                    continue
        assert 1 < tries < 50
        cutting.fault = NONE
        assert await aiotus.metadata(str(where), session, headers=by(SHOP)) == metadata
        told = await core.configuration(session, endpoint, headers=by(SHOP))
        assert told.protocol_versions == ["1.0.0"]
    await assert_complete(service, str(where))


async def test_t15_uppy_in_a_browser_from_another_origin(servers: Servers, modules: Path) -> None:
    photo, size = images.photo(320, 240), 2 * PART
    async with Listener.start(await bundled(modules, "uppy-tus")) as site, chromium() as browser:
        origin = f"http://localhost:{site.port}"
        async with (
            Service.start(servers.environment(), cors_origins=origin, **UNHURRIED) as service,
            Proxy.to("127.0.0.1", service.port) as cutting,
            visit(browser, f"{origin}/") as visited,
        ):
            await expect(visited).to_have_title("Uppy")
            cutting.fault = CUTS
            order = [f"http://127.0.0.1:{cutting.port}/tus", NAME, list(photo), size]
            done = await visited.evaluate("order => upload(...order)", order)
            assert done["errors"] == []
            (url,) = done["urls"]
            status = await assert_stored(service, URL(url).path, photo + bytes(size - len(photo)))
            assert status["filename"] == NAME
