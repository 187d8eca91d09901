"""Who calls: with a key or without, in ways that a client has or that none has."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter

import httpx

from tests.support import images
from tests.support.service import Servers, Service, leftovers

PHOTO = images.photo(320, 240)
JPEG = {"content-type": "image/jpeg"}
SHOP, SHOP_NEXT, BLOG = "shop-key-0123456789", "shop-key-next-012345", "blog-key-0123456789"
KEYS = f"shop:{SHOP}, blog:{BLOG}, shop:{SHOP_NEXT}"
ENVIRONMENT = {"IMGSVC_API_KEYS": KEYS, "IMGSVC_SIGNING_SECRET": "a secret of 32 characters or more"}
APP = "https://app.example.com"


@asynccontextmanager
async def with_keys(
    servers: Servers, *, workers: int = 1, lasting: bool = False, **settings: object
) -> AsyncGenerator[Service]:
    environment = servers.environment(lasting=lasting) | ENVIRONMENT
    async with Service.start(environment, workers=workers, **settings) as started:
        started.client.headers["authorization"] = f"Bearer {SHOP}"
        yield started


def by(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def post(service: Service, **headers: str) -> httpx.Response:
    return await service.client.post("/upload", content=PHOTO, headers=JPEG | headers)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def assert_nothing_new(service: Service, before: dict[str, list[str]]) -> None:
    """No job, no object, no key was added; the sweeper may have cleared what other tests left."""
    for kind, names in leftovers(service.environment).items():
        assert set(names) <= set(before[kind])


async def raw(service: Service, request: str) -> str:
    """The answer to a request that no client would write."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        writer.write(request.replace("\n", "\r\n").encode())
        return (await asyncio.wait_for(reader.read(), 10)).decode()
    finally:
        writer.close()


async def measured(call: Callable[[], Awaitable[httpx.Response]], count: int, status: int) -> list[float]:
    """Seconds of each of `count` calls, one after the other."""
    seconds: list[float] = []
    for _ in range(count):
        begin = perf_counter()
        assert (await call()).status_code == status
        seconds.append(perf_counter() - begin)
    return seconds


async def answered(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next answer on a connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    body = await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    return int(head.split()[1]), body
