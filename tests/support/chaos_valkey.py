"""A Valkey that a test can break, and a service that uploads go on to."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from time import monotonic
from typing import Any

from redis import Redis

from imgsvc.local.servers import Valkey
from tests.support import images
from tests.support.fault_proxy import Proxy
from tests.support.ledger import Entry, Ledger
from tests.support.service import (
    Servers,
    until,
)

PHOTO = images.photo()
SMALL = images.photo(64, 48)
LEASE_S = 2.0
TICK_S = 0.5
AGAIN_S = 3 * (LEASE_S + TICK_S)
"""By when a job that lost its worker, or its worker's word, must have been done: a lease and a tick, with slack."""
SWEEPING: dict[str, Any] = {"reservation_ttl_s": 1, "sweep_interval_s": 0.2}
Condition = Callable[[], Awaitable[bool]]


def environment_of(servers: Servers, valkey: Valkey) -> dict[str, str]:
    """Settings for one more service, in a database of its own of the Valkey that may be killed."""
    given = servers.environment()
    database = given["IMGSVC_REDIS_URL"].rpartition("/")[2]
    return given | {"IMGSVC_REDIS_URL": f"{valkey.url.rpartition('/')[0]}/{database}"}


def redis_of(environment: Mapping[str, str]) -> closing[Redis]:
    return closing(Redis.from_url(environment["IMGSVC_REDIS_URL"]))


@asynccontextmanager
async def killed(valkey: Valkey) -> AsyncGenerator[None]:
    """Gone as by `kill -9`; it is up again when the block is left."""
    await valkey.kill()
    try:
        yield
    finally:
        await valkey.start()


@contextmanager
def configured(redis: Redis, name: str, value: object) -> Generator[None]:
    before: Any = redis.config_get(name)
    redis.config_set(name, value)  # pyright: ignore[reportArgumentType]
    try:
        yield
    finally:
        redis.config_set(name, before[name])


def disconnect_all(redis: Redis) -> None:
    for kind in ("normal", "pubsub"):
        redis.client_kill_filter(_type=kind, skipme=True)


async def post(ledger: Ledger, data: bytes) -> Entry:
    """Uploads and books it. A body as small as ours is sent before the answer is awaited, so that none is missed."""
    answer, seconds = await timed(ledger.service.post(data))
    entry = Entry(data, answer.status_code, answer.json(), seconds)
    ledger.entries.append(entry)
    return entry


def has_struck(proxy: Proxy, count: int) -> Condition:
    async def condition() -> bool:
        return proxy.struck >= count

    return condition


@asynccontextmanager
async def load(ledger: Ledger, clients: int = 3) -> AsyncGenerator[list[Entry]]:
    """Uploads one after the other, until the block is left; hands out what becomes of them."""
    entries: list[Entry] = []
    going = True

    async def client() -> None:
        while going:
            entries.append(await post(ledger, SMALL))
            if entries[-1].status != 202:
                await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
        try:
            yield entries
        finally:
            going = False


async def until_accepted(entries: list[Entry], count: int) -> None:
    async def accepted() -> bool:
        return sum(entry.status == 202 for entry in entries) >= count

    await until(accepted)


def tally(entries: list[Entry]) -> Counter[str | int | None]:
    return Counter(entry.code or entry.status for entry in entries)


async def timed(call: Awaitable[Any]) -> tuple[Any, float]:
    begin = monotonic()
    return await call, monotonic() - begin
