"""Limits: rate and quota hold for their own owner alone, and are told before a body is read (row H18)."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from statistics import median
from time import monotonic

import httpx

from tests.support.callers import (
    BLOG,
    JPEG,
    PHOTO,
    SHOP,
    answered,
    by,
    measured,
    post,
    raw,
    refusal,
    with_keys,
)
from tests.support.service import Servers, Service, until


async def test_h18_a_burst_over_the_rate_is_turned_away_and_slows_nobody_else(servers: Servers) -> None:
    async with with_keys(servers, workers=0, rate_limit=200) as service:

        async def upload() -> httpx.Response:
            return await post(service, **by(BLOG))

        await measured(upload, 10, 202)
        alone = await measured(upload, 80, 202)
        statuses: list[int] = []
        bursting = asyncio.create_task(burst(service, statuses))

        async def over_the_limit() -> bool:
            return 429 in statuses

        await until(over_the_limit)
        during = await measured(upload, 80, 202)
        bursting.cancel()
        seen = Counter(statuses)
        # the median, since any other process on the machine slows some uploads down
        ms = [median(seconds) * 1000 for seconds in (alone, during)]
        print(f"another owner's upload took {ms[0]:.1f} ms before, {ms[1]:.1f} during; burst: {dict(seen)}")
        assert seen.keys() == {202, 429}
        assert seen[429] > 80, "more than one beside each of another's"
        assert ms[1] <= 4 * ms[0] + 50


async def burst(service: Service, statuses: list[int]) -> None:
    """Uploads by the shop, one after the other on one connection; notes the status of each."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    head = f"POST /upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SHOP}\r\nContent-Type: image/jpeg\r\n"
    try:
        while True:
            writer.write(head.encode() + f"Content-Length: {len(PHOTO)}\r\n\r\n".encode() + PHOTO)
            statuses.append((await answered(reader))[0])
    finally:
        writer.close()


async def test_h18_who_waits_for_as_long_as_told_is_let_in(servers: Servers) -> None:
    async with with_keys(servers, workers=0, rate_limit=30) as service:
        begin = monotonic()
        answers = await asyncio.gather(*(post(service) for _ in range(40)))
        refused = [answer for answer in answers if answer.status_code != 202]
        free_again = (monotonic() - begin) * 30 / 60
        assert 10 - free_again - 1 <= len(refused) <= 10
        for answer in refused:
            assert refusal(answer) == (429, "rate_limited")
            assert 1 <= int(answer.headers["retry-after"]) <= 2, "60 s / 30"
        assert (await post(service, **by(BLOG))).status_code == 202, "each owner has a limit of its own"
        while (answer := await post(service)).status_code == 202:  # what has become free meanwhile
            pass
        await asyncio.sleep(int(answer.headers["retry-after"]))
        assert (await post(service)).status_code == 202


async def test_h18_an_upload_over_the_rate_is_refused_before_its_body(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=0, rate_limit=1) as service:
        assert (await post(service)).status_code == 202, "an open service has one limit for all"
        lines = "POST /upload HTTP/1.1\nHost: localhost\nContent-Type: image/jpeg\nContent-Length: 99999\n\n"
        assert (await raw(service, lines)).startswith("HTTP/1.1 429")


async def test_h18_a_quota_is_of_bytes_and_refused_uploads_count_for_nothing(servers: Servers) -> None:
    size = len(PHOTO)
    quota = 4 * size + size // 2
    async with with_keys(servers, workers=0, max_upload_bytes=size, quota_bytes=quota) as service:
        for _ in range(10):
            answer = await service.client.post("/upload", content=b"no image", headers=JPEG)
            assert refusal(answer) == (415, "unsupported_media_type")

        async def unannounced() -> AsyncGenerator[bytes]:
            yield PHOTO[: size // 2]

        half = await service.client.post("/upload", content=unannounced(), headers=JPEG)
        assert half.status_code == 202, "it announces no length, and counts as what it has"
        answers = [await post(service) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [202] * 4 + [429]
        assert refusal(answers[4]) == (429, "quota_exceeded")
        wait_s = int(answers[4].headers["retry-after"])
        assert -30 < wait_s - 86_400 * size / quota < 1, "until as much has leaked as it would be too much"
        assert (await post(service, **by(BLOG))).status_code == 202, "each owner has a quota of its own"
