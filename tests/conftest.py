"""The real servers, started once for all tests that do not kill them; and what several files of tests begin with.

A fixture imports what it needs when it is asked for: a file whose tests need no service starts within a second.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from imgsvc.local.servers import Valkey
    from tests.support.service import Servers, Service
    from tests.support.world import World

# a shell's background jobs ignore Ctrl-C, and hand that down to each process that a test starts
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full-length", action="store_true", help="rows of the chaos lane last as long as the plan says")


@pytest.fixture(scope="session")
def full_length(pytestconfig: pytest.Config) -> bool:
    """Whether outages last half a minute, uploads come by the thousand, and so on."""
    return bool(pytestconfig.getoption("--full-length"))


@pytest_asyncio.fixture(scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Servers]:
    from tests.support.service import Servers

    async with Servers.start(tmp_path_factory.mktemp("servers")) as started:
        yield started


@pytest_asyncio.fixture(scope="session")
async def service(servers: Servers) -> AsyncGenerator[Service]:
    """One API and one worker, for tests that leave them as they are."""
    from tests.support.service import UNHURRIED, Service

    async with Service.start(servers.environment(lasting=True), **UNHURRIED) as started:
        yield started


@pytest_asyncio.fixture(scope="session")
async def keyed(servers: Servers) -> AsyncGenerator[Service]:
    """A service with keys and public files, called by the shop unless a test says otherwise."""
    from tests.support import callers
    from tests.support.service import UNHURRIED

    public = callers.with_keys(servers, lasting=True, files="public", cors_origins=callers.APP, **UNHURRIED)
    async with public as started:
        yield started


@pytest_asyncio.fixture(scope="module")
async def valkey(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Valkey]:
    """One that may be killed."""
    from imgsvc.local.servers import Valkey

    server = Valkey(tmp_path_factory.mktemp("valkey") / "valkey")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One with a photo in it, and a file that is no image."""
    from tests.support import images

    (tmp_path / "photo.jpg").write_bytes(images.photo())
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


@pytest_asyncio.fixture
async def world(servers: Servers) -> AsyncGenerator[World]:
    """A queue whose leases outlast any test."""
    from tests.support.world import World

    async with World.open(servers, lease_s=60) as opened:
        yield opened


@pytest_asyncio.fixture
async def fleeting(servers: Servers) -> AsyncGenerator[World]:
    """A queue whose leases lapse soon."""
    from tests.support.world import SHORT_S, World

    async with World.open(servers, lease_s=SHORT_S) as opened:
        yield opened
