"""What a worker promises: it picks up at once, dies without harm, and stops in order."""

import asyncio
import inspect
import signal
from importlib import resources
from time import monotonic

import arq.constants
import psutil
from arq.worker import Worker

from imgsvc.worker.lease import LeasedWorker
from tests import images
from tests.service import Servers, Service, freeze, thaw, until

PHOTO = images.photo()
SLOW = images.encoded(images.scene(6000, 4000), "PNG", compress_level=1)  # seconds for a decoder
LEASE_S = 1.0


async def test_a_killed_workers_job_is_run_again_by_another(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=1, lease_s=LEASE_S) as service:
        doomed = service.workers[0]
        upload_id = await service.upload(SLOW, "slow.png")
        await service.until_status(upload_id, "PROGRESS")
        await service.start_worker()
        await service.until_ready(2)
        children = psutil.Process(doomed.pid).children()
        await doomed.kill()
        status = await service.ended(upload_id)
        assert (status["status"], status["attempt"]) == ("SUCCESS", 2)
        assert not psutil.wait_procs(children, timeout=1)[1], "its decoders died with it"


async def test_a_frozen_worker_that_wakes_ends_nothing_twice(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=1, lease_s=LEASE_S) as service:
        zombie = service.workers[0]
        upload_id = await service.upload(SLOW, "slow.png")
        await service.until_status(upload_id, "PROGRESS")
        freeze(zombie)
        await service.start_worker()
        first = await service.ended(upload_id)
        thaw(zombie)
        other = await service.upload(PHOTO)  # both are alive and well
        await service.ended(other)
        assert (first["status"], first["attempt"]) == ("SUCCESS", 2)
        assert await service.status(upload_id) == first


async def test_sigterm_lets_jobs_finish_and_exits_with_0(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=1) as service:
        upload_id = await service.upload(SLOW, "slow.png")
        await service.until_status(upload_id, "PROGRESS")
        assert await service.workers[0].stop(30) == 0
        status = await service.status(upload_id)
        assert (status["status"], status["attempt"]) == ("SUCCESS", 1)


async def test_a_job_longer_than_the_drain_is_given_back_at_once(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=1, drain_s=0.1, lease_s=30) as service:
        upload_id = await service.upload(SLOW, "slow.png")
        await service.until_status(upload_id, "PROGRESS")
        assert await service.workers[0].stop(30) == 0
        assert (await service.status(upload_id))["status"] == "PROGRESS"
        begin = monotonic()
        await service.start_worker()
        assert (await service.ended(upload_id))["status"] == "SUCCESS"
        assert monotonic() - begin < 30, "did not wait for the lease to lapse"


async def test_a_bad_image_among_good_ones_harms_nobody(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=1) as service:
        bodies = [PHOTO, PHOTO[: len(PHOTO) // 2], images.png_header_bomb(), PHOTO]
        ids = await asyncio.gather(*(service.upload(body) for body in bodies))
        ended = await asyncio.gather(*(service.ended(upload_id) for upload_id in ids))
    assert [status["status"] for status in ended] == ["SUCCESS", "FAILURE", "FAILURE", "SUCCESS"]


async def test_an_image_that_hangs_its_decoder_costs_only_itself(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=1, decode_timeout_s=0.3, decoders=1) as service:
        hanging = await service.upload(SLOW, "slow.png")
        good = await service.upload(PHOTO)
        status = await service.ended(hanging)
        assert (status["status"], status["error"]["code"], status["attempt"]) == ("FAILURE", "decode_timeout", 1)
        assert (await service.ended(good))["status"] == "SUCCESS"


async def test_an_image_that_needs_too_much_memory_costs_only_itself(servers: Servers) -> None:
    memory = 300 * 1024 * 1024
    huge = images.encoded(images.plain("red", size=(9000, 5500)), "PNG")
    async with Service.start(servers.environment(), workers=1, decoder_memory_bytes=memory, decoders=1) as service:
        hungry = await service.upload(huge, "huge.png")
        good = await service.upload(PHOTO)
        assert (await service.ended(hungry))["error"]["code"] == "decoder_oom"
        assert (await service.ended(good))["status"] == "SUCCESS"


async def test_deleting_an_upload_stops_its_job(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=1, decoders=1) as service:
        upload_id = await service.upload(SLOW, "slow.png")
        await service.until_status(upload_id, "PROGRESS")
        decoders = psutil.Process(service.workers[0].pid).children()
        assert (await service.client.delete(f"/upload/{upload_id}")).status_code == 204

        async def stopped() -> bool:
            return not decoders[0].is_running() or decoders[0].status() == psutil.STATUS_ZOMBIE

        assert await until(stopped) < 2
        assert (await service.ended(await service.upload(PHOTO)))["status"] == "SUCCESS"


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
    text = resources.files("imgsvc.jobs").joinpath("common.lua").read_text()
    for prefix in (arq.constants.job_key_prefix, arq.constants.retry_key_prefix):
        assert f"'{prefix}'" in text
