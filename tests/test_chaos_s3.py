"""What the service promises while its S3 refuses, hangs, crawls, lies, fills up or is gone (rows S1 to S12)."""

import asyncio
import os
import random
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import boto3
import httpx
import pytest
from redis import Redis

from imgsvc.embedded import Seaweed
from imgsvc.settings import MIB
from imgsvc.storage import PART_BYTES, Storage, StorageError
from tests import images
from tests.chaos.ledger import Entry, Ledger
from tests.chaos.proxy import NONE, Fault, Proxy
from tests.service import Servers, Service, decoders, leftovers, memory_peak, settings_of, until

pytestmark = pytest.mark.chaos

PHOTO = images.photo()
BIG = PHOTO + random.Random(0).randbytes(4 * PART_BYTES)  # five parts; a decoder stops where the picture ends
UNAVAILABLE = 503, "storage_unavailable"
JPEG = {"content-type": "image/jpeg"}
SWEEP_S = 0.2


@asynccontextmanager
async def behind_proxy(servers: Servers, workers: int = 1, **settings: object) -> AsyncGenerator[tuple[Ledger, Proxy]]:
    """A service of its own, and the proxy in front of its S3."""
    environment = servers.environment()
    async with Proxy.to("127.0.0.1", servers.seaweed.ports.s3) as s3:
        environment["IMGSVC_S3_ENDPOINT_URL"] = s3.url(servers.seaweed.url)
        async with Service.start(environment, workers=workers, **{"sweep_interval_s": SWEEP_S} | settings) as service:
            yield Ledger(service), s3


def said(entry: Entry) -> tuple[int | None, str | None]:
    return entry.status, entry.code


def seconds(entries: Iterable[Entry]) -> str:
    return ", ".join(f"{entry.seconds:.2f} s" for entry in entries)


async def rendering(ledger: Ledger) -> Entry:
    """An upload whose job waits for its worker's decoders, which stand still until they are resumed."""
    service = ledger.service
    for decoder in decoders(service.workers[0]):
        decoder.suspend()
    entry = await ledger.post(PHOTO)

    async def at_the_decoder() -> bool:
        return (await service.status(entry.id))["step"] == "decode"

    await until(at_the_decoder)
    return entry


async def until_postponed(ledger: Ledger, entry: Entry) -> None:
    """Until a job that cannot be done is given back, without a delivery spent."""

    async def postponed() -> bool:
        with closing(Redis.from_url(ledger.service.environment["IMGSVC_REDIS_URL"])) as redis:
            record: Any = redis.hgetall(f"imgsvc:upload:{entry.id}")
        return record[b"status"] == b"PROGRESS" and b"owner" not in record and record[b"deliveries"] == b"0"

    await until(postponed)


@contextmanager
def objects_of(environment: Mapping[str, str]) -> Any:
    """The bucket, by an S3 client that is not the one under test."""
    settings = settings_of(environment)
    assert settings.s3_access_key_id
    assert settings.s3_secret_access_key
    s3: Any = boto3.resource(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key_id.get_secret_value(),
        aws_secret_access_key=settings.s3_secret_access_key.get_secret_value(),
    )
    yield s3.Bucket(settings.s3_bucket)
    s3.meta.client.close()


async def test_s1_a_refusing_s3_is_said_within_its_deadline_and_jobs_wait(servers: Servers) -> None:
    async with behind_proxy(servers) as (ledger, s3):
        waiting = await rendering(ledger)
        s3.refuse()
        for decoder in decoders(ledger.service.workers[0]):
            decoder.resume()
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
        answer = await service.client.get(file, timeout=2 * 2 * deadline_s)
        assert (answer.status_code, answer.json()["code"]) == UNAVAILABLE
        await until_postponed(ledger, waiting)
        s3.fault = Fault(on=b"PUT /", silent=True)  # whole files, and parts
        refused = await asyncio.gather(*(ledger.post(data) for data in (PHOTO, BIG)))
        print(f"S2: said after {seconds(refused)} with a deadline of {deadline_s:g} s")
        assert [said(entry) for entry in refused] == [UNAVAILABLE] * 2
        assert max(entry.seconds for entry in refused) < 2 * 2 * deadline_s
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

            await until(no_more, 2)
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
        assert slowest < 2 * alone.seconds + 0.5
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
    async with behind_proxy(servers, s3_timeout_s=1) as (ledger, s3):
        s3.fault = Fault(on=b"partNumber=", bytes_per_s=PART_BYTES / 2)
        entry = await ledger.post(BIG[: PART_BYTES + MIB])
        print(f"S3: uploaded in {entry.seconds:.2f} s")
        assert entry.seconds > 2
        assert entry.status == 202
        await ledger.settle()


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
async def test_s4_uploads_and_jobs_get_through_an_s3_that_fails_three_calls_in_ten(
    servers: Servers, count: int
) -> None:
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


async def test_s5_a_file_that_was_cut_short_is_never_taken_for_a_whole_one(servers: Servers) -> None:
    async with behind_proxy(servers) as (ledger, s3):
        s3.fault = Fault(on=b"GET /", times=1, cut_after=5000)
        entry = await ledger.post(PHOTO)
        status = await ledger.service.ended(entry.id)
        assert s3.struck == 1
        print(f"S5: attempt {status['attempt']} brought {status['status']}")
        assert (status["status"], status["attempt"]) == ("SUCCESS", 2)
        url = (await ledger.service.result(entry.id))["result"]["resized_compressed"]
        s3.fault = Fault(on=b"GET /", cut_after=5000)
        answer = await ledger.service.client.get(url)
        assert (answer.status_code, answer.json()["code"]) == UNAVAILABLE
        past_the_proxy = {"IMGSVC_S3_ENDPOINT_URL": servers.seaweed.url}
        with objects_of(ledger.service.environment | past_the_proxy) as bucket:
            large = bucket.Object(f"processed/{uuid4()}/large.jpeg")
            large.put(Body=bytes(MIB))
            s3.fault = Fault(on=b"bytes=[1-9]", cut_after=5000)  # the second piece, when the answer has begun
            with pytest.raises(httpx.RemoteProtocolError):  # the client sees that it does not have all
                await ledger.service.client.get(f"/files/{large.key}")
            s3.fault = NONE
            large.delete()
        await ledger.settle()


async def test_s6_an_original_with_one_other_byte_is_source_corrupt(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=0) as service:
        ledger = Ledger(service)
        entries = [await ledger.post(PHOTO) for _ in range(5)]
        with objects_of(service.environment) as bucket:
            for number, entry in enumerate(entries):
                data = bytearray(PHOTO)
                data[number * (len(data) - 1) // 4] ^= 1  # the first, the last, and some between them
                bucket.Object(f"originals/{entry.id}").put(Body=bytes(data))
        await service.start_worker()
        await ledger.settle(failed={entry.id: "source_corrupt" for entry in entries})
        assert {(await service.status(entry.id))["attempt"] for entry in entries} == {1}


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a disk that fills up takes a mount: {mounted.stderr.decode()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@asynccontextmanager
async def own_seaweed(servers: Servers, folder: Path) -> AsyncGenerator[tuple[Seaweed, dict[str, str]]]:
    """An S3 server that may be harmed, and settings for a service on it."""
    shared = servers.seaweed
    seaweed = Seaweed(
        folder / "s3",
        access_key_id=shared.access_key_id,
        secret_access_key=shared.secret_access_key,
        log_file=folder.parent / "s3.log",
    )
    try:
        await seaweed.start()
        yield seaweed, servers.environment() | {"IMGSVC_S3_ENDPOINT_URL": seaweed.url}
    finally:
        await seaweed.stop()


async def test_s7_a_full_disk_refuses_uploads_until_there_is_space_again(servers: Servers, small_disk: Path) -> None:
    async with (
        own_seaweed(servers, small_disk) as (_, environment),
        Service.start(environment, workers=0, sweep_interval_s=SWEEP_S) as service,
    ):
        ledger = Ledger(service)
        assert (await ledger.post(PHOTO)).status == 202
        ballast = small_disk / "ballast"
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        ballast.write_bytes(bytes(free - 20 * MIB))
        refused = [await ledger.post(BIG)]  # fills what is left with its first parts
        with suppress(OSError), ballast.open("ab", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        refused.append(await ledger.post(PHOTO))
        assert [said(entry) for entry in refused] == [UNAVAILABLE] * 2
        ballast.unlink()

        async def accepted() -> bool:
            return (await ledger.post(PHOTO)).status == 202

        print(f"S7: accepts uploads {await until(accepted, 90):.2f} s after there is space again")
        await service.start_worker()
        await ledger.settle()


async def test_s8_an_upload_cut_in_its_third_part_leaves_no_parts(servers: Servers) -> None:
    async with behind_proxy(servers, sweep_interval_s=5) as (ledger, s3):
        s3.fault = Fault(on=b"partNumber=3", cut_after=MIB)
        assert said(await ledger.post(BIG)) == UNAVAILABLE

        async def nothing_left() -> bool:
            return not any((await asyncio.to_thread(leftovers, ledger.service.environment)).values())

        assert s3.struck > 0
        print(f"S8: nothing was left of it after {await until(nothing_left, 2 * 10):.2f} s")
        await ledger.settle()


async def test_s8_an_upload_gets_through_where_one_answer_of_s3_is_lost(servers: Servers) -> None:
    begin, third_part, complete = b"[?]uploads ", b"partNumber=3", b"POST .*[?]uploadId="
    async with behind_proxy(servers) as (ledger, s3):
        for request in (begin, third_part, complete):
            s3.fault = Fault(on=request, times=1, drop_reply=True)
            assert (await ledger.post(BIG)).status == 202
            assert s3.struck == 1
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
            s3.fault = NONE  # counts from here
            await asyncio.sleep(3)
            print(f"S9: {s3.struck / 3 / 2:.1f} tries a second by each of two processes")
            assert s3.struck <= 2 * 2 * 3
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


async def test_s11_the_sweeper_clears_an_orphan_and_nothing_else(servers: Servers) -> None:
    reservation_s = 1.0
    environment = servers.environment() | {"IMGSVC_RESERVATION_TTL": str(reservation_s)}
    async with (
        Service.start(environment, sweep_interval_s=0.1) as service,
        Service.start(environment, workers=0) as doomed,
    ):
        ledger = Ledger(service)
        await service.ended((await ledger.post(PHOTO)).id)
        go_on = asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield BIG[: 2 * PART_BYTES]
            await go_on.wait()
            yield BIG[2 * PART_BYTES :]

        def begin(service: Service) -> asyncio.Task[httpx.Response]:
            return asyncio.create_task(service.client.post("/upload", content=slowly(), headers=JPEG))

        async def under_way(count: int) -> list[str]:
            uploads: list[str] = []

            async def as_many() -> bool:
                nonlocal uploads
                uploads = (await asyncio.to_thread(leftovers, environment))["uploads"]
                return len(uploads) == count

            await until(as_many)
            return uploads

        live = begin(service)
        its_key = await under_way(1)
        orphan = begin(doomed)
        await under_way(2)
        await doomed.api.kill()
        orphan.cancel()
        at_its_end = monotonic()
        assert await under_way(1) == its_key
        print(f"S11: the orphan was cleared {monotonic() - at_its_end:.2f} s after its receiver was killed")
        await asyncio.sleep(3 * reservation_s)
        assert await under_way(1) == its_key, "an upload that is being received is left alone, however slow"
        go_on.set()
        answer = await live
        ledger.entries.append(Entry(BIG, answer.status_code, answer.json(), 0))
        assert len(ledger.accepted) == 2
        await ledger.settle()


async def test_s12_a_job_whose_original_is_gone_fails_at_once(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=0) as service:
        ledger = Ledger(service)
        entry = await ledger.post(PHOTO)
        with objects_of(service.environment) as bucket:
            bucket.Object(f"originals/{entry.id}").delete()
        await service.start_worker()
        await ledger.settle(failed={entry.id: "source_missing"})
        assert (await service.status(entry.id))["attempt"] == 1
