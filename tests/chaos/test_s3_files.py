"""What becomes of files that S3 cuts short, changes or loses, or has no room for (rows S5 to S8, S11 and S12)."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import httpx
import pytest

from imgsvc.runtime.settings import MIB
from imgsvc.storage import PART_BYTES
from tests.support.chaos_s3 import (
    BIG,
    JPEG,
    PHOTO,
    SWEEP_S,
    UNAVAILABLE,
    behind_proxy,
    own_seaweed,
    said,
)
from tests.support.fault_proxy import NONE, Fault
from tests.support.ledger import Entry, Ledger
from tests.support.service import Servers, Service, leftovers, s3_client, until


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
        with s3_client(ledger.service.environment | past_the_proxy) as other:
            large = {"Bucket": ledger.service.environment["IMGSVC_S3_BUCKET"], "Key": f"processed/{uuid4()}/large.jpeg"}
            other.put_object(**large, Body=bytes(MIB))
            s3.fault = Fault(on=b"bytes=[1-9]", cut_after=5000)  # the second piece, when the answer has begun
            with pytest.raises(httpx.RemoteProtocolError):  # the client sees that it does not have all
                await ledger.service.client.get(f"/files/{large['Key']}")
            s3.fault = NONE
            other.delete_object(**large)
        await ledger.settle()


async def test_s6_an_original_with_one_other_byte_is_source_corrupt(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=0) as service:
        ledger = Ledger(service)
        entries = [await ledger.post(PHOTO) for _ in range(5)]
        with s3_client(service.environment) as s3:
            for number, entry in enumerate(entries):
                data = bytearray(PHOTO)
                data[number * (len(data) - 1) // 4] ^= 1  # the first, the last, and some between them
                s3.put_object(
                    Bucket=service.environment["IMGSVC_S3_BUCKET"], Key=f"originals/{entry.id}", Body=bytes(data)
                )
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
            left = await asyncio.to_thread(leftovers, ledger.service.environment)
            return not left["objects"] and not left["uploads"]

        assert s3.struck > 0
        print(f"S8: nothing was left of it in storage after {await until(nothing_left, 2 * 10):.2f} s")
        await ledger.settle()  # what is known of it is kept until no process can store anything of it any more


async def test_s8_an_upload_gets_through_where_one_answer_of_s3_is_lost(servers: Servers) -> None:
    begin, third_part, complete = b"[?]uploads ", b"partNumber=3", b"POST .*[?]uploadId="
    async with behind_proxy(servers) as (ledger, s3):
        for request in (begin, third_part, complete):
            s3.fault = Fault(on=request, times=1, drop_reply=True)
            assert (await ledger.post(BIG)).status == 202
            assert s3.struck == 1
        await ledger.settle()


async def test_s11_the_sweeper_clears_an_orphan_and_nothing_else(servers: Servers) -> None:
    reservation_s = 2.0  # renewed in thirds, by an API that may have to wait for its turn
    environment = servers.environment() | {"IMGSVC_RESERVATION_TTL_S": str(reservation_s)}
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
        with s3_client(service.environment) as s3:
            s3.delete_object(Bucket=service.environment["IMGSVC_S3_BUCKET"], Key=f"originals/{entry.id}")
        await service.start_worker()
        await ledger.settle(failed={entry.id: "source_missing"})
        assert (await service.status(entry.id))["attempt"] == 1
