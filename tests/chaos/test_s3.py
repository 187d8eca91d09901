"""What the service promises while its S3 refuses, hangs, crawls, fails or restarts (rows S1 to S4, S9 and S10)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest

from imgsvc.runtime.settings import MIB
from imgsvc.storage import PART_BYTES, Storage, StorageError
from tests.support.chaos_s3 import (
    BIG,
    JPEG,
    PHOTO,
    SAID_S,
    SWEEP_S,
    UNAVAILABLE,
    behind_proxy,
    own_seaweed,
    said,
    seconds,
    until_postponed,
)
from tests.support.fault_proxy import NONE, Fault, Proxy
from tests.support.ledger import Entry, Ledger
from tests.support.memory import memory_peak
from tests.support.service import Servers, Service, resume_decoders, settings_of, until


async def test_s1_a_refusing_s3_is_said_within_its_deadline_and_jobs_wait(servers: Servers) -> None:
    async with behind_proxy(servers) as (ledger, s3):
        waiting = await ledger.rendering()
        s3.refuse()
        resume_decoders(ledger.service.workers[0])
        refused = await asyncio.gather(*(ledger.post(data) for data in (PHOTO, BIG)))
        print(f"S1: said after {seconds(refused)}")
        assert [said(entry) for entry in refused] == [UNAVAILABLE] * 2
        assert max(entry.seconds for entry in refused) < 2 * 4.5
        await until_postponed(ledger, waiting)
        await s3.accept()
        await ledger.settle()


async def test_s2_a_silent_s3_hangs_no_upload_job_or_download(servers: Servers) -> None:
    deadline_s = 1.0  # 4 s by default, and twice that until it is said
    async with behind_proxy(servers, s3_timeout_s=deadline_s) as (ledger, s3):
        service = ledger.service
        done = await ledger.post(PHOTO)
        file = (await service.result(done.id))["result"]["thumbnail"]
        s3.fault = Fault(on=b"GET /", silent=True)
        waiting = await ledger.post(PHOTO)
        answer = await service.client.get(file, timeout=SAID_S)
        assert (answer.status_code, answer.json()["code"]) == UNAVAILABLE
        await until_postponed(ledger, waiting)
        s3.fault = Fault(on=b"PUT /", silent=True)  # whole files, and parts
        refused = await asyncio.gather(*(ledger.post(data) for data in (PHOTO, BIG)))
        print(f"S2: said after {seconds(refused)} with a deadline of {deadline_s:g} s")
        assert [said(entry) for entry in refused] == [UNAVAILABLE] * 2
        assert max(entry.seconds for entry in refused) < SAID_S
        s3.fault = NONE
        await ledger.settle()


async def test_s2_no_task_is_left_of_a_call_that_a_silent_s3_never_answered(servers: Servers) -> None:
    environment = servers.environment() | {"IMGSVC_S3_TIMEOUT_S": "2"}
    async with Proxy.to("127.0.0.1", servers.seaweed.ports.s3) as s3:
        settings = settings_of(environment | {"IMGSVC_S3_ENDPOINT_URL": s3.url(servers.seaweed.url)})
        async with Storage.open(settings) as storage:

            async def put() -> None:
                await storage.put("photo", PHOTO, "image/jpeg")

            async def put_stream() -> None:
                async def chunks() -> AsyncIterator[bytes]:
                    yield BIG

                await storage.put_stream("big", chunks(), "image/jpeg", owner="", on_begin=lambda: None)

            async def read() -> None:
                async with storage.read("big") as found:
                    assert found
                    async for _ in found[1]:
                        s3.fault = s3_goes_silent  # in the middle of the body

            await storage.ensure_bucket()
            await put_stream()
            before = tasks()
            for call, on in ((put, b"PUT /"), (put_stream, b"partNumber=2"), (read, b"nothing yet")):
                s3.fault, s3_goes_silent = Fault(on=on, silent=True), Fault(silent=True)
                with pytest.raises(StorageError):
                    await call()
            s3.fault = NONE

            async def no_more() -> bool:
                return tasks() <= before

            await until(no_more)
            await put_stream()
            await storage.clear("")


def tasks() -> set[asyncio.Task[Any]]:
    """Those that are not the proxy's."""
    return {task for task in asyncio.all_tasks() if "_Line" not in repr(task)}


async def test_s3_a_crawling_s3_slows_its_clients_down_and_nobody_else(servers: Servers) -> None:
    body = PHOTO + bytes(60 * MIB)
    async with behind_proxy(servers, s3_timeout_s=60) as (ledger, s3):
        service = ledger.service
        alone = await ledger.post(PHOTO)
        await service.ended(alone.id)
        before = memory_peak(service.api.pid)
        sent = [0, 0, 0]

        async def upload(number: int) -> httpx.Response:
            async def chunks() -> AsyncIterator[bytes]:
                for at in range(0, len(body), MIB):
                    yield body[at : at + MIB]
                    sent[number] += MIB

            return await service.client.post("/upload", content=chunks(), headers=JPEG, timeout=120)

        async def held_back() -> bool:
            sum_before = sum(sent)
            await asyncio.sleep(0.5)
            return 0 < sum_before == sum(sent)

        s3.fault = Fault(on=b"partNumber=", bytes_per_s=20_000)
        uploads = [asyncio.create_task(upload(number)) for number in range(3)]
        await until(held_back)
        print(f"S3: {[size // MIB for size in sent]} of 60 MiB were taken, then the clients were held back")
        assert max(sent) < 48 * MIB
        others = [await ledger.post(PHOTO) for _ in range(5)]
        slowest = max(entry.seconds for entry in others)
        print(f"S3: an upload took {alone.seconds:.3f} s before, and {slowest:.3f} s at most beside them")
        assert slowest < 10, "a part of theirs takes minutes"
        assert [(await service.ended(entry.id))["status"] for entry in others] == ["SUCCESS"] * 5
        s3.fault = NONE
        for upload_ in uploads:
            answer = await upload_
            ledger.entries.append(Entry(body, answer.status_code, answer.json(), 0))
        memory = memory_peak(service.api.pid) - before
        print(f"S3: memory of three uploads: {memory / MIB:.1f} MiB")
        assert memory < 3 * 24 * MIB
        await ledger.settle()
        assert len(ledger.accepted) == 9


async def test_s3_a_part_may_take_longer_than_the_deadline_while_s3_takes_it(servers: Servers) -> None:
    async with behind_proxy(servers, s3_timeout_s=3) as (ledger, s3):
        # what the kernel holds on the way, up to half a part, is gone within the deadline
        s3.fault = Fault(on=b"partNumber=", bytes_per_s=PART_BYTES / 4)
        entry = await ledger.post(BIG[: PART_BYTES + MIB])
        print(f"S3: uploaded in {entry.seconds:.2f} s")
        assert entry.seconds > 3
        assert entry.status == 202
        await ledger.settle()


async def test_s4_uploads_and_jobs_get_through_an_s3_that_fails_three_calls_in_ten(
    servers: Servers, full_length: bool
) -> None:
    count = 1000 if full_length else 60
    async with behind_proxy(servers) as (ledger, s3):
        s3.fault = Fault(share=0.3, statuses=(500, 503))
        room = asyncio.Semaphore(6)

        async def upload() -> None:
            async with room:
                entry = await ledger.post(PHOTO)
                if entry.status == 202:
                    await ledger.service.ended(entry.id)

        await asyncio.gather(*(upload() for _ in range(count)))
        print(f"S4: {len(ledger.accepted)} of {count} accepted, through {s3.struck} errors")
        assert s3.struck > count
        assert len(ledger.accepted) >= 0.999 * count
        s3.fault = NONE
        await ledger.settle()


async def test_s9_bad_credentials_are_said_in_readyz_and_tried_no_more_than_once_a_second(servers: Servers) -> None:
    async with behind_proxy(servers, workers=0) as (ledger, s3):
        waiting = await ledger.post(PHOTO)
        rights = {"IMGSVC_S3_SECRET_ACCESS_KEY": "wrong", "IMGSVC_SWEEP_INTERVAL_S": "60"}
        wrong = Service(ledger.service.environment | rights)
        try:
            await wrong.start_api()
            await wrong.start_worker()

            async def worker_is_there() -> bool:
                try:
                    return (await wrong.client.get("/readyz")).json()["checks"]["workers"]["alive"] == 1
                except httpx.TransportError:
                    return False

            await until(worker_is_there)
            await until_postponed(ledger, waiting)
            answer = await wrong.client.get("/readyz")
            assert (answer.status_code, answer.json()["status"]) == (503, "not_ready")
            assert "credentials" in answer.json()["checks"]["storage"]["error"]
            refused = await wrong.post(PHOTO)
            assert (refused.status_code, refused.json()["code"]) == UNAVAILABLE
            s3.fault, begin = NONE, monotonic()  # counts from here
            await asyncio.sleep(3)
            tries, span_s = s3.struck, monotonic() - begin
            print(f"S9: {tries / span_s / 2:.1f} tries a second by each of two processes")
            assert tries <= 2 * 2 * span_s
        finally:
            await wrong.stop()
        await ledger.service.start_worker()
        await ledger.settle()


async def test_s10_a_restart_of_s3_loses_no_upload_that_was_accepted(servers: Servers, tmp_path: Path) -> None:
    async with (
        own_seaweed(servers, tmp_path / "disk") as (seaweed, environment),
        Service.start(environment, sweep_interval_s=SWEEP_S) as service,
    ):
        ledger = Ledger(service)
        room = asyncio.Semaphore(4)

        async def upload(data: bytes) -> None:
            async with room:
                await ledger.post(data)

        async def some_accepted() -> bool:
            return len(ledger.accepted) >= 4

        uploads = [asyncio.create_task(upload(data)) for data in [PHOTO, PHOTO, PHOTO, BIG] * 5]
        await until(some_accepted)
        await seaweed.kill()
        await asyncio.sleep(1)
        await seaweed.start()
        await asyncio.gather(*uploads)
        print(f"S10: {len(ledger.accepted)} of 20 accepted, the others refused")
        assert {said(entry) for entry in ledger.entries} <= {(202, None), UNAVAILABLE}
        await ledger.settle()
