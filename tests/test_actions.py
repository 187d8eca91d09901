"""What a client may do to its upload: cancel it, and have it tried again."""

from collections.abc import AsyncGenerator
from uuid import uuid4

import psutil
import pytest_asyncio

from tests.support import images
from tests.support.service import Servers, Service, begun, decoders, leftovers

PHOTO = images.photo()
DAMAGED = PHOTO[: len(PHOTO) // 2]


@pytest_asyncio.fixture(scope="module")
async def one(servers: Servers) -> AsyncGenerator[Service]:
    """One worker with one decoder, for tests that leave both as they found them."""
    async with Service.start(servers.environment(), decoders=1) as started:
        yield started


async def test_q17_a_running_job_is_cancelled_at_once_and_leaves_no_file(one: Service) -> None:
    (busy,) = decoders(one.workers[0])
    upload_id = await begun(one)
    answer = await one.client.post(f"/upload/{upload_id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "CANCELLED")
    assert not psutil.wait_procs([busy], timeout=5)[1], "its decoder is stopped, long before the deadline of 20 s"
    result = await one.client.get(f"/upload/{upload_id}/result")
    assert (result.status_code, result.json()) == (200, {"status": "CANCELLED", "result": None, "error": None})
    assert leftovers(one.environment)["objects"] == [f"originals/{upload_id}"]
    await one.client.delete(f"/upload/{upload_id}")


async def test_q17_a_queued_job_is_cancelled_and_never_begins(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=0) as service:
        upload_id = await service.upload(PHOTO)
        assert (await service.client.post(f"/upload/{upload_id}/cancel")).json()["status"] == "CANCELLED"
        await service.start_worker()
        assert (await service.ended(await service.upload(PHOTO)))["status"] == "SUCCESS"
        status = await service.status(upload_id)
        assert (status["status"], status["attempt"], status["started_at"]) == ("CANCELLED", 0, None)


async def test_a_cancelled_job_can_be_retried(one: Service) -> None:
    upload_id = await begun(one)
    await one.client.post(f"/upload/{upload_id}/cancel")
    answer = await one.client.post(f"/upload/{upload_id}/retry")
    assert answer.status_code == 202
    assert answer.json()["status"] in {"PENDING", "PROGRESS"}, "a worker may be quicker than the answer"
    assert (await one.ended(upload_id))["status"] == "SUCCESS"
    assert await one.file(upload_id, "thumbnail")


async def test_a_failed_job_can_be_retried(one: Service) -> None:
    upload_id = await one.upload(DAMAGED)
    first = await one.ended(upload_id)
    assert first["error"]["code"] == "decode_failed"
    again = (await one.client.post(f"/upload/{upload_id}/retry")).json()
    assert (again["error"], again["finished_at"]) == (None, None)
    second = await one.ended(upload_id)
    assert (second["error"], second["attempt"]) == (first["error"], 2)


async def test_an_ended_job_cannot_be_cancelled_nor_a_successful_one_retried(one: Service) -> None:
    upload_id = await one.upload(PHOTO)
    await one.ended(upload_id)
    for action in ("cancel", "retry"):
        answer = await one.client.post(f"/upload/{upload_id}/{action}")
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert "SUCCESS" in answer.json()["detail"]
    assert (await one.status(upload_id))["status"] == "SUCCESS"


async def test_a_job_under_way_cannot_be_retried(one: Service) -> None:
    upload_id = await begun(one)
    answer = await one.client.post(f"/upload/{upload_id}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    await one.client.delete(f"/upload/{upload_id}")


async def test_what_was_never_uploaded_can_neither_be_cancelled_nor_retried(one: Service) -> None:
    for action in ("cancel", "retry"):
        answer = await one.client.post(f"/upload/{uuid4()}/{action}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_an_action_with_a_parameter_that_is_not_known_is_refused_and_changes_nothing(one: Service) -> None:
    upload_id = await begun(one)
    for method, action in (("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")):
        answer = await one.client.request(method, f"/upload/{upload_id}{action}?when=later")
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field")
        assert "when" in answer.json()["detail"]
    assert (await one.status(upload_id))["status"] == "PROGRESS"
    await one.client.delete(f"/upload/{upload_id}")
