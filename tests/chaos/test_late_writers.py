"""A worker is frozen as it begins to store, and wakes when another one has long finished its job (row Q28)."""

import hashlib

import psutil
import pytest

from tests.support import images
from tests.support.service import Servers, Service, leftovers, thaw, until

PHOTO = images.photo()
SETTINGS = {"lease_s": 1.0, "sweep_interval_s": 0.2, "s3_timeout_s": 1, "decoders": 1}
FROZEN = "tests.support.hooks.stores_late"


def stored(service: Service, folder: str) -> set[str]:
    return {key.rpartition("/")[2] for key in leftovers(service.environment)["objects"] if key.startswith(folder)}


async def is_served_as_its_result_says(service: Service, upload_id: str) -> None:
    for facts in (await service.result(upload_id))["variants"].values():
        file = await service.client.get(facts["url"])
        assert hashlib.sha256(file.content).hexdigest() == facts["sha256"], facts["url"]


async def ended_at_its_second_attempt(service: Service, upload_id: str, job: str) -> None:
    async def ended() -> bool:
        status = await service.status(upload_id)
        found = status["derivation"] if job == "derivation" else status
        return (found["status"], found["attempt"]) == ("SUCCESS", 2)

    await until(ended)


@pytest.mark.parametrize("job", ["upload", "derivation"])
async def test_q28_what_a_worker_stores_after_another_finished_its_job_is_in_no_clients_file(
    servers: Servers, job: str
) -> None:
    kept = {"sample_resized_compressed.a2.jpeg", "sample_thumbnail.a2.jpeg"}
    late = {"sample_resized_compressed.jpeg", "sample_thumbnail.jpeg"}
    async with Service.start(servers.environment(), workers=0, **SETTINGS) as service:
        if job == "upload":
            frozen = await service.start_worker(FROZEN)
            upload_id = await service.upload(PHOTO)
        else:
            first = await service.start_worker()
            upload_id = await service.upload(PHOTO)
            await service.ended(upload_id)
            await first.stop(30)
            kept = {"sample_resized_compressed.jpeg", "sample_thumbnail.jpeg", "sample_thumbnail.2.a2.jpeg"}
            late = {"sample_thumbnail.2.jpeg"}
            frozen = await service.start_worker(FROZEN)
            only = {"preset": "default", "only": ["thumbnail"]}
            answer = await service.client.post(f"/upload/{upload_id}/variants", json=only)
            assert answer.status_code == 202
        process = psutil.Process(frozen.pid)
        await until(lambda: process.status() == psutil.STATUS_STOPPED)
        await service.start_worker()
        await ended_at_its_second_attempt(service, upload_id, job)
        result = await service.result(upload_id)
        await is_served_as_its_result_says(service, upload_id)

        thaw(frozen)
        await until(lambda: stored(service, "late/") == late)
        await is_served_as_its_result_says(service, upload_id)
        await until(lambda: stored(service, "processed/") == kept)
        await service.until_ready(2)

        def nothing_is_expected_any_more() -> bool:
            return "imgsvc:obsolete" not in leftovers(service.environment)["keys"] or job == "derivation"

        await until(nothing_is_expected_any_more)
        assert stored(service, "processed/") == kept
        assert await service.result(upload_id) == result
        await is_served_as_its_result_says(service, upload_id)
        assert (await service.client.delete(f"/upload/{upload_id}")).status_code == 204
        assert stored(service, "processed/") == set()
