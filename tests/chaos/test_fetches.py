"""What the service promises of images that it fetches from URLs while workers, hosts or S3 fail."""

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from imgsvc.runtime.settings import MIB
from tests.support import callers
from tests.support.callers import BLOG, SHOP
from tests.support.chaos_s3 import BIG, SWEEP_S, behind_proxy
from tests.support.hosts import ANYWHERE, PHOTO, fetched_by, stopping, whole
from tests.support.ledger import sha256
from tests.support.memory import memory_peak
from tests.support.peers import Listener
from tests.support.service import Servers, Service, freeze, leftovers, thaw, until

HASTE: dict[str, Any] = {"lease_s": 1, "sweep_interval_s": SWEEP_S, **ANYWHERE}
MIDDLE = len(BIG) // 2


@asynccontextmanager
async def in_the_middle(
    service: Service, environment: Mapping[str, str] | None = None, **fields: object
) -> AsyncGenerator[tuple[str, Listener, asyncio.Event]]:
    """An image of several parts of which some are stored; its host goes on when it may."""
    go_on = asyncio.Event()
    async with Listener.start(stopping(BIG, MIDDLE, go_on)) as host:
        upload_id = await fetched_by(service, "", host, **fields)
        await until(lambda: bool(leftovers(environment or service.environment)["uploads"]))
        yield upload_id, host, go_on


async def assert_done(service: Service, upload_id: str) -> None:
    assert (await service.ended(upload_id))["attempt"] >= 2
    assert (await service.result(upload_id))["original"]["sha256"] == sha256(BIG)
    await until(lambda: not leftovers(service.environment)["uploads"])


async def test_x4_a_worker_killed_in_the_middle_of_a_fetch_is_followed_by_another(servers: Servers) -> None:
    async with (
        Service.start(servers.environment(), **HASTE) as service,
        in_the_middle(service) as (upload_id, host, go),
    ):
        await service.workers[0].kill()
        await service.start_worker()
        await until(lambda: host.connections == 2)
        go.set()
        await assert_done(service, upload_id)


async def test_x4_a_worker_frozen_in_the_middle_of_a_fetch_stores_nothing_when_it_wakes(servers: Servers) -> None:
    async with (
        Service.start(servers.environment(), **HASTE) as service,
        in_the_middle(service) as (upload_id, host, go),
    ):
        freeze(service.workers[0])
        await service.start_worker()
        await until(lambda: host.connections == 2)
        go.set()
        await assert_done(service, upload_id)
        thaw(service.workers[0])
        await service.ended(await service.upload(PHOTO))
        await assert_done(service, upload_id)


@pytest.mark.parametrize("end", ["cancel", "delete", "expire"])
async def test_x5_nothing_is_left_of_a_fetch_that_is_ended_in_the_middle(servers: Servers, end: str) -> None:
    async with (
        Service.start(servers.environment(), **HASTE) as service,
        in_the_middle(service, expires_in=8 if end == "expire" else 3600) as (upload_id, _, _),
    ):
        if end == "cancel":
            assert (await service.client.post(f"/upload/{upload_id}/cancel")).json()["status"] == "CANCELLED"
        elif end == "delete":
            assert (await service.client.delete(f"/upload/{upload_id}")).status_code == 204
        await until(lambda: leftovers(service.environment)["uploads"] == [])
        await until(lambda: leftovers(service.environment)["objects"] == [])


async def test_x5_a_cancelled_fetch_can_be_retried(servers: Servers) -> None:
    async with (
        Service.start(servers.environment(), **HASTE) as service,
        in_the_middle(service) as (upload_id, host, go),
    ):
        await service.client.post(f"/upload/{upload_id}/cancel")
        go.set()

        async def retried() -> bool:
            return (await service.client.post(f"/upload/{upload_id}/retry")).status_code == 202

        await until(retried)
        await assert_done(service, upload_id)
        assert host.connections == 2


async def test_x7_a_fetch_waits_for_s3_and_is_made_again(servers: Servers) -> None:
    async with behind_proxy(servers, **HASTE) as (ledger, s3):
        service = ledger.service
        direct = service.environment | {"IMGSVC_S3_ENDPOINT_URL": servers.seaweed.url}
        async with in_the_middle(service, direct) as (upload_id, host, go):
            s3.refuse()
            go.set()

            async def put_off() -> bool:
                return 'imgsvc_fetches{state="delayed"} 1.0' in (await service.client.get("/metrics")).text

            await until(put_off)
            await s3.accept()
            assert (await service.ended(upload_id))["attempt"] >= 2
            assert (await service.result(upload_id))["original"]["sha256"] == sha256(BIG)
            assert host.connections >= 2
            await until(lambda: not leftovers(direct)["uploads"])


@pytest.mark.parametrize("length", [True, False])
async def test_x8_many_large_images_at_once_stay_within_the_memory_for_fetches(servers: Servers, length: bool) -> None:
    count, memory = 24, 48 * MIB
    large = PHOTO + random.Random(1).randbytes(12 * MIB)
    go_on = asyncio.Event()
    async with (
        callers.with_keys(servers, fetches=200, fetch_memory_bytes=memory, **HASTE) as service,
        Listener.start(stopping(large, 9 * MIB, go_on, length=length)) as slow,
        Listener.start(whole(PHOTO)) as fast,
    ):
        before = memory_peak(service.workers[0].pid)
        ids = [await fetched_by(service, SHOP, slow) for _ in range(count)]
        await until(lambda: slow.connections >= count)
        guest = await fetched_by(service, BLOG, fast)
        document = (await service.client.get(f"/upload/{guest}/status?wait=20", headers=callers.by(BLOG))).json()
        assert document["status"] == "SUCCESS"
        go_on.set()
        for upload_id in ids:
            assert (await service.ended(upload_id))["status"] == "SUCCESS"
        grown = memory_peak(service.workers[0].pid) - before
        print(f"X8: {grown / MIB:.0f} MiB more, for {count} images of {len(large) / MIB:.0f} MiB")
        jobs = 5 * len(large)  # what jobs read meanwhile
        assert grown < memory + count * MIB + jobs, "without a bound each would have two parts of 8 MiB"
