"""Uploads that resume, while API processes are killed and frozen and their servers are cut off (rows T12 to T16)."""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from time import monotonic
from typing import Any

import httpx
import pytest

from imgsvc.local.process import Child
from tests.support.balancer import Balancer
from tests.support.fault_proxy import NONE, Fault, Proxy
from tests.support.service import DEADLINE_S, Servers, Service, freeze, leftovers, s3_client, thaw, until
from tests.support.tus import PART, Tus, assert_stored, id_of, large_photo

PHOTO = large_photo(2 * PART + 100_000)
SETTINGS: dict[str, Any] = {"lease_s": 2, "sweep_interval_s": 0.3}
"""Half a minute or so until all that may have been stored late is swept."""

AT_ONCE = 8
RESUMED_S = 1.0


@dataclass
class Pair:
    """Two API processes behind a balancer, which leads to one of them."""

    balancer: Balancer
    services: tuple[Service, Service]
    tus: Tus
    serving: int = 0
    statuses: Counter[int] = field(default_factory=Counter[int])

    @classmethod
    @asynccontextmanager
    async def start(cls, environment: dict[str, str], **settings: Any) -> AsyncGenerator["Pair"]:
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(Service.start(environment, **SETTINGS | settings))
            second = await stack.enter_async_context(Service.start(environment, workers=0, **SETTINGS | settings))
            balancer = await stack.enter_async_context(Balancer.to(first.port))
            # no connection is kept: a balancer chooses anew for each request
            limits = httpx.Limits(max_keepalive_connections=0)
            client = httpx.AsyncClient(base_url=balancer.url, timeout=DEADLINE_S, limits=limits)
            pair = cls(balancer, (first, second), Tus(await stack.enter_async_context(client)))

            async def count(answer: httpx.Response) -> None:
                pair.statuses[answer.status_code] += 1

            client.event_hooks["response"].append(count)
            yield pair

    @property
    def api(self) -> Child:
        """The process that new connections are led to."""
        return self.services[self.serving].api

    def switch(self) -> None:
        """New connections are led to the other one."""
        self.serving = 1 - self.serving
        self.balancer.leads_to = self.services[self.serving].port

    async def restart_other(self) -> None:
        other = self.services[1 - self.serving]
        await other.start_api()
        await other.until_ready(0)

    async def until_clean(self) -> None:
        """No part, no piece of a tail, no upload in parts is left."""
        strays: list[str] = []

        async def clean() -> bool:
            nonlocal strays
            left = await asyncio.to_thread(leftovers, self.services[0].environment)
            strays = left["uploads"] + [key for key in left["objects"] if ".piece." in key]
            return not strays

        try:
            await until(clean, 60)
        except AssertionError as error:
            raise AssertionError(f"left behind: {strays}") from error


@dataclass
class Moment:
    """What befalls all who send once each has sent as much as it shall."""

    there: asyncio.Barrier
    passed: asyncio.Event = field(default_factory=asyncio.Event)


async def sent_until(data: bytes, end: int, moment: Moment) -> AsyncIterator[bytes]:
    """Sends up to a byte, and the rest after the moment. Where that is the last byte, its answer is under way then."""
    for at in range(0, end, 100_000):
        yield data[at : min(at + 100_000, end)]
    await moment.there.wait()
    if end < len(data):
        await moment.passed.wait()
        yield data[end:]


async def cut_off(pair: Pair, path: str, data: bytes, end: int, moment: Moment) -> None:
    """Sends until the connection breaks, or all is sent and answered before."""
    try:
        answer = await pair.tus.patch(path, 0, sent_until(data, end, moment), content_length=str(len(data)))
        assert answer.status_code == 204, answer.text
    except httpx.TransportError:
        pass


async def resumed(pair: Pair, path: str, data: bytes) -> float:
    """Completes the upload. Returns the seconds until it was told where to go on."""
    begin = monotonic()
    offset = await pair.tus.offset(path)
    seconds = monotonic() - begin
    if offset < len(data):
        assert await pair.tus.added(path, offset, data[offset:]) == len(data)
    return seconds


async def test_t12_killed_at_random_bytes_uploads_go_on_at_another_process_and_are_the_same(
    servers: Servers, full_length: bool
) -> None:
    count, chance = 200 if full_length else 40, random.Random(12)
    seconds = list[float]()
    async with Pair.start(servers.environment()) as pair:
        for _ in range(0, count, AT_ONCE):
            sizes = [chance.choice((3_000, PART - 1, PART, 2 * PART, len(PHOTO))) + at for at in range(AT_ONCE)]
            files = [PHOTO[:size] for size in sizes]
            paths = [await pair.tus.begun(len(data)) for data in files]
            moment = Moment(asyncio.Barrier(AT_ONCE + 1))
            ends = [chance.choice((chance.randint(1, len(data)), len(data))) for data in files]
            sending = [
                asyncio.create_task(cut_off(pair, path, data, end, moment))
                for path, data, end in zip(paths, files, ends, strict=True)
            ]
            await asyncio.wait_for(moment.there.wait(), DEADLINE_S)
            await asyncio.sleep(chance.choice((0, 0, 0.01, 0.03, 0.1)))
            await pair.api.kill()
            pair.switch()
            moment.passed.set()
            await asyncio.gather(*sending)
            seconds += await asyncio.gather(*(resumed(pair, *one) for one in zip(paths, files, strict=True)))
            await pair.restart_other()
            for path, data in zip(paths, files, strict=True):
                await assert_stored(pair.services[pair.serving], path, data)
                await assert_original(pair, path, data)
        await pair.until_clean()
        took = f"{median(seconds):.2f} s, {max(seconds):.2f} at most"
        print(f"T12: {count} uploads, {dict(pair.statuses)}; resumed after {took}")
        assert pair.statuses[423] == 0
        assert median(seconds) < RESUMED_S
        assert max(seconds) < 3 * RESUMED_S, "on a machine that is busy, and where the last byte had come"


async def assert_original(pair: Pair, path: str, data: bytes) -> None:
    """What is stored is what was sent."""
    with_bytes = await asyncio.to_thread(stored, pair.services[0].environment, path)
    assert hashlib.sha256(with_bytes).hexdigest() == hashlib.sha256(data).hexdigest()


def stored(environment: Mapping[str, str], path: str) -> bytes:
    with s3_client(environment) as s3:
        answer = s3.get_object(Bucket=environment["IMGSVC_S3_BUCKET"], Key=f"originals/{id_of(path)}")
        return answer["Body"].read()


async def test_t13_a_writer_that_is_frozen_and_wakes_changes_nothing(servers: Servers) -> None:
    chance = random.Random(13)
    async with Pair.start(servers.environment()) as pair:
        for at in range(4):
            path, moment = await pair.tus.begun(len(PHOTO)), Moment(asyncio.Barrier(2))
            end = chance.randint(PART, len(PHOTO) - 1)
            sending = asyncio.create_task(cut_off(pair, path, PHOTO, end, moment))
            await moment.there.wait()
            await asyncio.sleep((0, 0.005, 0.02, 0.1)[at])
            frozen = pair.api
            freeze(frozen)
            pair.switch()
            seconds = await resumed(pair, path, PHOTO)
            thaw(frozen)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await assert_stored(pair.services[0], path, PHOTO)
            await assert_original(pair, path, PHOTO)
            print(f"T13: resumed after {seconds:.2f} s")
            assert seconds < 3 * RESUMED_S
        await pair.until_clean()
        assert pair.statuses[423] == 0


@pytest.mark.parametrize("server", ["redis", "s3"])
@pytest.mark.parametrize("fault", [Fault(silent=True), Fault(cut_after=400_000), Fault(share=0.3, drop_reply=True)])
async def test_t14_redis_or_s3_is_cut_off_in_the_middle_and_the_upload_goes_on(
    servers: Servers, server: str, fault: Fault
) -> None:
    given, name = servers.environment(), {"redis": "IMGSVC_REDIS_URL", "s3": "IMGSVC_S3_ENDPOINT_URL"}[server]
    port = int(given[name].rpartition(":")[2].partition("/")[0])
    async with (
        Proxy.to("127.0.0.1", port) as proxy,
        Service.start(given | {name: proxy.url(given[name])}, **SETTINGS) as service,
    ):
        tus, statuses = Tus(service.client), Counter[int]()
        path = await tus.begun(len(PHOTO))

        async def slowly() -> AsyncIterator[bytes]:
            for at in range(0, len(PHOTO), 500_000):
                yield PHOTO[at : at + 500_000]
                if at == 3_000_000:
                    proxy.fault = fault
                await asyncio.sleep(0.01)

        async def lifted() -> None:
            await asyncio.sleep(3)
            proxy.fault = NONE

        lifting = asyncio.create_task(lifted())
        content: bytes | AsyncIterator[bytes] = slowly()
        offset = 0
        deadline = monotonic() + 60
        while offset < len(PHOTO):
            assert monotonic() < deadline
            answer = await tus.patch(path, offset, content)
            statuses[answer.status_code] += 1
            told = await tus.call("HEAD", path)
            if told.status_code == 200:
                offset = int(told.headers["upload-offset"])
            content = PHOTO[offset:]
            await asyncio.sleep(0.1)
        await lifting
        await assert_stored(service, path, PHOTO)
        print(f"T14: {dict(statuses)}")
        assert set(statuses) <= {204, 409, 503}
