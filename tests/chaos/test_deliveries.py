"""Owners who share the senders of webhooks, while the receivers of one of them hang."""

import asyncio
import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import pytest

from imgsvc.jobs.queue import Queue
from tests.support.peers import Receiver
from tests.support.service import Servers, Service, settings_of, until
from tests.support.submissions import ended
from tests.test_webhooks import NO_CONTENT

SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()
HANGING = 200
WITHIN_S = 2.0
SETTINGS: dict[str, Any] = {"webhook_secret": SECRET, "outbound_allow": "127.0.0.0/8"}


@asynccontextmanager
async def silence() -> AsyncGenerator[tuple[int, list[str]]]:
    """A server at all addresses of loopback that takes requests and never answers: its port, and who was asked."""
    asked: list[str] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer.get_extra_info("sockname")[0])
        try:
            await reader.read()  # to the end
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "0.0.0.0", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


async def told_after(queue: Queue, receiver: Receiver) -> list[float]:
    """Seconds until another owner's webhook arrives: while those of the first one hang, and when they have failed."""
    times: list[float] = []
    for number in range(5):
        begin = monotonic()
        await ended(queue, "guest", receiver.url)
        await receiver.until_told(number + 1)
        times.append(monotonic() - begin)
        await asyncio.sleep(5 - times[-1])
    return times


@pytest.mark.parametrize("hosts", [HANGING, 1], ids=["a-host-each", "one-host"])
async def test_w7_one_webhook_does_not_wait_for_the_hanging_receivers_of_another_owner(
    servers: Servers, hosts: int
) -> None:
    environment = servers.environment()
    async with (
        silence() as (port, asked),
        Receiver.start(NO_CONTENT) as receiver,
        Queue.open(settings_of(environment)) as queue,
        Service.start(environment, workers=0, decoders=1, **SETTINGS) as service,
    ):
        for number in range(HANGING):
            await ended(queue, "heap", f"http://127.0.1.{1 + number % hosts}:{port}/")
        await service.start_worker()
        await until(lambda: len(asked) >= min(48, hosts * 32))
        times = await told_after(queue, receiver)
        print(f"told after {', '.join(f'{seconds:.2f}' for seconds in times)} s; {len(asked)} were asked in vain")
    assert max(times) < WITHIN_S


async def test_w7_one_webhook_does_not_wait_for_the_silent_name_servers_of_another_owner(servers: Servers) -> None:
    environment = servers.environment()
    async with (
        Receiver.start(NO_CONTENT) as receiver,
        Queue.open(settings_of(environment)) as queue,
        Service.start(environment, workers=0, decoders=1, **SETTINGS) as service,
    ):
        for number in range(HANGING):
            await ended(queue, "heap", f"http://host{number}.slow.example/")
        await service.start_worker("tests.support.hooks.slow_names")
        await service.until_ready(1)
        times = await told_after(queue, receiver)
        print(f"told after {', '.join(f'{seconds:.2f}' for seconds in times)} s")
    assert max(times) < WITHIN_S
