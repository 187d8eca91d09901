"""What a worker promises: it picks up at once, dies without harm, and stops in order."""

import asyncio
import inspect
import signal
from collections.abc import AsyncGenerator
from importlib import resources

import arq.constants
import psutil
import pytest_asyncio
from arq.worker import Worker

from imgsvc.worker.lease import LeasedWorker
from tests.support import images
from tests.support.service import Servers, Service, begun, decoders

PHOTO = images.photo()
LEASE_S = 1.0


@pytest_asyncio.fixture(scope="module")
async def one(servers: Servers) -> AsyncGenerator[Service]:
    """One worker with one decoder, for tests that leave it another one."""
    async with Service.start(servers.environment(), decoders=1) as started:
        yield started


async def test_a_bad_image_among_good_ones_harms_nobody(service: Service) -> None:
    bodies = [PHOTO, PHOTO[: len(PHOTO) // 2], images.png_header_bomb(), PHOTO]
    ids = await asyncio.gather(*(service.upload(body) for body in bodies))
    ended = await asyncio.gather(*(service.ended(upload_id) for upload_id in ids))
    assert [status["status"] for status in ended] == ["SUCCESS", "FAILURE", "FAILURE", "SUCCESS"]


async def test_an_image_that_hangs_its_decoder_costs_only_itself(servers: Servers) -> None:
    slow = images.many_scans(8000, (4000, 3000))
    async with Service.start(servers.environment(), decode_timeout_s=2, decoders=1) as service:
        hanging, good = await service.upload(slow, "slow.jpg"), await service.upload(PHOTO)
        status = await service.ended(hanging)
        assert (status["status"], status["error"]["code"], status["attempt"]) == ("FAILURE", "decode_timeout", 1)
        assert (await service.ended(good))["status"] == "SUCCESS"


async def test_an_image_that_needs_too_much_memory_costs_only_itself(servers: Servers) -> None:
    huge = images.encoded(images.plain("red", size=(9000, 5500)), "PNG")
    memory = 200 * 1024 * 1024
    async with Service.start(servers.environment(), decoder_memory_bytes=memory, decoders=1) as service:
        hungry, good = await service.upload(huge, "huge.png"), await service.upload(PHOTO)
        status = await service.ended(hungry)
        assert (status["status"], status["error"]) == ("FAILURE", status["error"] | {"code": "decoder_oom"})
        assert (await service.ended(good))["status"] == "SUCCESS"


async def test_a_decoder_that_dies_is_replaced_and_its_image_tried_again(one: Service) -> None:
    (doomed,) = decoders(one.workers[0])
    upload_id = await begun(one)
    doomed.kill()
    status = await one.ended(upload_id)
    assert (status["status"], status["attempt"]) == ("SUCCESS", 1)


async def test_deleting_an_upload_stops_its_job(one: Service) -> None:
    (busy,) = decoders(one.workers[0])
    upload_id = await begun(one)
    assert (await one.client.delete(f"/upload/{upload_id}")).status_code == 204
    assert not psutil.wait_procs([busy], timeout=5)[1], "its decoder is stopped, long before the deadline of 20 s"
    assert (await one.ended(await one.upload(PHOTO)))["status"] == "SUCCESS"


async def test_both_processes_stop_when_told(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=1) as service:
        for child in (service.api, *service.workers):
            psutil.Process(child.pid).send_signal(signal.SIGINT)
            assert await asyncio.wait_for(child.wait(), 10) == 0


def test_arq_is_still_what_the_adapter_was_written_against() -> None:
    def signature(method: object) -> list[str]:
        return list(inspect.signature(method).parameters)  # pyright: ignore[reportArgumentType]

    for name in ("main", "_poll_iteration", "finish_job", "finish_failed_job"):
        assert signature(getattr(LeasedWorker, name)) == signature(getattr(Worker, name)), name
    assert {"job_id", "score"} <= set(signature(Worker.run_job))
    text = (resources.files("imgsvc.jobs") / "lua" / "claim.lua").read_text()
    for prefix in (arq.constants.job_key_prefix, arq.constants.retry_key_prefix):
        assert f"'{prefix}'" in text
