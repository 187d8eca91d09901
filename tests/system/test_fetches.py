"""Owners who share a service that fetches their images from URLs."""

import os
import sys
from pathlib import Path
from time import monotonic

import pytest

from imgsvc.local.process import Child
from imgsvc.runtime.settings import MIB
from tests.support import callers
from tests.support.callers import BLOG, SHOP
from tests.support.hosts import ANYWHERE, PHOTO, asked, drip, fetched_by, listeners, whole
from tests.support.peers import Listener
from tests.support.service import Servers, Service, until

HEAP = 200
IN_TIME_S = 2.0


async def guest_waits_s(service: Service, host: Listener, key: str) -> float:
    """How long another owner's image takes until its host is asked."""
    begin = monotonic()
    upload_id = await fetched_by(service, key, host)
    await until(lambda: host.connections > 0)
    waited_s = monotonic() - begin
    document = (await service.client.get(f"/upload/{upload_id}/status?wait=20", headers=callers.by(key))).json()
    assert document["status"] == "SUCCESS"
    return waited_s


@pytest.mark.parametrize("hosts", [HEAP, 1])
async def test_x1_an_image_is_fetched_in_time_beside_200_of_one_owner_that_drip(servers: Servers, hosts: int) -> None:
    async with (
        callers.with_keys(servers, **ANYWHERE) as service,
        listeners(hosts, drip) as heap,
        Listener.start(whole(PHOTO)) as fast,
    ):
        for number in range(HEAP):
            await fetched_by(service, SHOP, heap[number % hosts])
        await until(lambda: asked(heap)() >= 40)
        assert await guest_waits_s(service, fast, BLOG) < IN_TIME_S


async def test_x1_an_image_is_fetched_in_time_beside_those_of_six_owners_that_drip(servers: Servers) -> None:
    keys = {f"owner{number}": f"key-of-owner-{number}-0123456789" for number in range(7)}
    *heaps, guest = keys.values()
    environment = callers.ENVIRONMENT | {"IMGSVC_API_KEYS": ", ".join(f"{name}:{key}" for name, key in keys.items())}
    async with (
        Service.start(servers.environment() | environment, **ANYWHERE) as service,
        listeners(30, drip) as hosts,
        Listener.start(b"HTTP/1.1 200 OK\r\n\r\n" + PHOTO + bytes(2 * MIB)) as fast,  # of unknown size
    ):
        for host in hosts:
            for key in heaps:
                await fetched_by(service, key, host)
        await until(lambda: asked(hosts)() >= 50)
        assert await guest_waits_s(service, fast, guest) < IN_TIME_S


async def test_x3_a_fetch_that_waits_costs_no_turn_no_attempt_and_no_line_in_the_log(
    servers: Servers, tmp_path: Path
) -> None:
    log_file = tmp_path / "worker.log"
    async with (
        callers.with_keys(servers, workers=0, fetches=2, **ANYWHERE) as service,
        Listener.start(drip) as host,
    ):
        arguments = [sys.executable, "-m", "imgsvc.worker"]
        service.workers.append(await Child.start("worker", arguments, os.environ | service.environment, log_file))
        await service.until_ready(1)
        await fetched_by(service, SHOP, host)
        await until(lambda: host.connections == 1)
        waiting = [await fetched_by(service, SHOP, host) for _ in range(20)]
        for _ in range(3):
            await service.ended(await service.upload(PHOTO))
        documents = [await service.status(upload_id) for upload_id in waiting]
        assert {(document["status"], document["step"], document["attempt"]) for document in documents} == {
            ("PENDING", None, 0)
        }
        metrics = (await service.client.get("/metrics")).text
        assert 'imgsvc_fetches{state="waiting"} 20.0' in metrics
        assert 'imgsvc_fetches{state="under_way"} 1.0' in metrics
        assert 'imgsvc_queue_jobs{state="waiting"} 0.0' in metrics
        lines = log_file.read_text()
        assert not [upload_id for upload_id in waiting if upload_id in lines]
