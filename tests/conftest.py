"""The real servers, started once for all tests that do not kill them; and what several files of tests begin with."""

import signal
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from imgsvc.local.servers import Valkey
from tests.support import callers, images
from tests.support.service import Servers, Service

# a shell's background jobs ignore Ctrl-C, and hand that down to each process that a test starts
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest_asyncio.fixture(scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Servers]:
    async with Servers.start(tmp_path_factory.mktemp("servers")) as started:
        yield started


@pytest_asyncio.fixture(scope="session")
async def service(servers: Servers) -> AsyncGenerator[Service]:
    """One API and one worker, for tests that leave them as they are."""
    async with Service.start(servers.environment(lasting=True)) as started:
        yield started


@pytest_asyncio.fixture(scope="module")
async def keyed(servers: Servers) -> AsyncGenerator[Service]:
    """A service with keys and public files, called by the shop unless a test says otherwise."""
    async with callers.with_keys(servers, files="public", cors_origins=callers.APP) as started:
        yield started


@pytest_asyncio.fixture(scope="module")
async def valkey(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Valkey]:
    """One that may be killed."""
    server = Valkey(tmp_path_factory.mktemp("valkey") / "valkey")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One with a photo in it, and a file that is no image."""
    (tmp_path / "photo.jpg").write_bytes(images.photo())
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path
