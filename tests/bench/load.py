"""Clients that upload an image and wait for what comes of it, as many at once as asked for."""

import asyncio
from dataclasses import dataclass
from time import perf_counter

import aiohttp

POLL_S = {1: 0.003}
POLL_BUSY_S = 0.02


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload, in seconds as its client saw it."""

    result_url: str
    accepted: float
    done: float


async def one(session: aiohttp.ClientSession, image: bytes, poll_s: float) -> Upload:
    begin = perf_counter()
    form = aiohttp.FormData()
    form.add_field("file", image, filename="photo.jpg", content_type="image/jpeg")
    async with session.post("/upload", data=form) as answer:
        document = await answer.json()
        assert answer.status == 202, document
    accepted = perf_counter() - begin
    while True:
        async with session.get(document["status_url"]) as answer:
            status = (await answer.json())["status"]
        if status == "SUCCESS":
            return Upload(document["result_url"], accepted, perf_counter() - begin)
        assert status in {"PENDING", "PROGRESS"}, status
        await asyncio.sleep(poll_s)


async def load(url: str, image: bytes, count: int, in_flight: int) -> list[Upload]:
    uploads: list[Upload] = []
    left = iter(range(count))

    async def client() -> None:
        for _ in left:
            uploads.append(await one(session, image, POLL_S.get(in_flight, POLL_BUSY_S)))

    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client() for _ in range(in_flight)))
    return uploads
