"""Uploads by token while the API dies or stands still (row U4)."""

import asyncio
from collections.abc import AsyncGenerator

import httpx

from tests.support import images
from tests.support.callers import JPEG, SHOP, refusal, with_keys
from tests.support.service import Servers, Service, freeze, leftovers, thaw, until
from tests.support.tokens import issued, send

FIRST, SECOND = images.photo(320, 240), images.photo(64, 48)


class Halting:
    """A body whose last byte comes when it is let go."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.halted = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        yield self._data[:-1]
        self.halted.set()
        await self.go_on.wait()
        yield self._data[-1:]


async def halfway(service: Service, url: str, data: bytes) -> tuple[asyncio.Task[httpx.Response], Halting]:
    """An upload that lacks its last byte, and is reserved."""
    body = Halting(data)
    sending = asyncio.create_task(service.client.post(url, content=body, headers=JPEG | {"authorization": ""}))
    upload_id = url_id(service)

    await asyncio.gather(body.halted.wait(), until(upload_id))
    return sending, body


def url_id(service: Service):
    async def reserved() -> bool:
        return any(key.startswith("imgsvc:upload:") for key in leftovers(service.environment)["keys"])

    return reserved


async def accepted(service: Service, url: str, data: bytes) -> httpx.Response:
    """The answer to an upload that is sent until it is accepted."""
    answers: list[httpx.Response] = []

    async def there() -> bool:
        answers.append(await send(service, url, data))
        if answers[-1].status_code != 202:
            assert refusal(answers[-1]) == (409, "idempotency_in_flight")
        return answers[-1].status_code == 202

    await until(there)
    return answers[-1]


async def test_u4_an_upload_by_token_that_a_killed_api_has_begun_can_be_sent_again(servers: Servers) -> None:
    async with with_keys(servers, reservation_ttl_s=2, sweep_interval_s=0.2) as service:
        document = await issued(service)
        sending, _ = await halfway(service, document["upload_url"], FIRST)
        assert refusal(await send(service, document["upload_url"], FIRST)) == (409, "idempotency_in_flight")
        await service.api.kill()
        sending.cancel()
        await service.start_api()
        await service.until_ready(1)
        await accepted(service, document["upload_url"], FIRST)
        assert (await service.result(document["id"]))["original"]["bytes"] == len(FIRST)


async def test_u4_a_frozen_api_that_wakes_writes_over_nothing(servers: Servers) -> None:
    """The first try stands still for longer than its reservation; meanwhile another file is accepted by another API."""
    async with with_keys(servers, reservation_ttl_s=1, sweep_interval_s=0.2) as service:
        other = Service(service.environment)
        await other.start_api()
        try:
            await other.until_ready(1)
            other.client.headers["authorization"] = f"Bearer {SHOP}"
            document = await issued(service)
            sending, body = await halfway(service, document["upload_url"], FIRST)
            freeze(service.api)
            body.go_on.set()
            await accepted(other, document["upload_url"], SECOND)
            result = await other.result(document["id"])
            thaw(service.api)
            answer = await sending
            assert answer.status_code in {409, 503}, answer.text
            assert (
                await other.client.post(f"/upload/{document['id']}/variants", json={"preset": "default"})
            ).status_code == 202
            await other.client.get(f"/upload/{document['id']}/status?wait=30")
            again = await other.result(document["id"])
            assert again["original"] == result["original"]
            assert again["original"]["bytes"] == len(SECOND)
            derivation = (await other.status(document["id"]))["derivation"]
            assert derivation["status"] == "SUCCESS", "its original is still the one of its record"

            async def one_original() -> bool:
                objects = leftovers(service.environment)["objects"]
                return len([key for key in objects if key.startswith("originals/")]) == 1

            await until(one_original)
        finally:
            thaw(service.api)
            await other.client.aclose()
            await other.api.stop(10)
