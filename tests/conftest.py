"""The real servers, started once for all tests that do not kill them."""

import signal
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from tests.service import Servers, Service

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
