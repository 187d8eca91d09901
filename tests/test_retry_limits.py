"""A retry is kept to the limits of an upload, and a record has a least price (row Q20)."""

from dataclasses import replace
from uuid import uuid4

import pytest

from imgsvc.domain.options import Options
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Failure, Source
from imgsvc.jobs.types import Admission
from tests.support import images
from tests.support.service import Servers, Service, settings_of
from tests.support.submissions import submission

DAMAGED = images.photo()[:9000]
FAILURE = Failure("decode_failed", "broken")


async def failed(queue: Queue, size: int = 9) -> str:
    upload_id = str(uuid4())
    await queue.reserve(upload_id, announced=size)
    await queue.submit(replace(submission(upload_id), source=Source(size, "ab", "jpeg")))
    (claim,) = await queue.claim("w1", 1)
    assert await queue.finish(claim, FAILURE)
    return upload_id


@pytest.mark.parametrize(
    ("setting", "value", "refused"),
    [
        ("RATE_LIMIT", "1", Admission.RATE_LIMITED),
        ("QUOTA_BYTES", "6000", Admission.QUOTA_EXCEEDED),
        ("MAX_QUEUED", "1", Admission.OVERLOADED),
    ],
)
async def test_q20_a_retry_that_a_limit_refuses_changes_nothing(
    servers: Servers, setting: str, value: str, refused: Admission
) -> None:
    bound = {f"IMGSVC_{setting}": value, "IMGSVC_MAX_UPLOAD_BYTES": "5000"}
    async with Queue.open(settings_of(servers.environment() | bound)) as queue:
        upload_id = await failed(queue, 5000)
        if refused is Admission.OVERLOADED:
            waiting = str(uuid4())
            await queue.reserve(waiting)
            await queue.submit(submission(waiting))
        before = await queue.get(upload_id)
        answer = await queue.retry(upload_id)
        assert answer is not None
        assert answer.admission is refused
        assert (answer.wait_s > 0) is (refused is not Admission.OVERLOADED)
        assert await queue.get(upload_id) == before


async def test_q20_a_refused_retry_is_told_as_a_refused_upload_is(servers: Servers) -> None:
    async with Service.start(servers.environment(), rate_limit=1, decoders=1) as service:
        upload_id = await service.upload(DAMAGED)
        await service.ended(upload_id)
        answer = await service.client.post(f"/upload/{upload_id}/retry")
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert int(answer.headers["retry-after"]) > 0
        assert (await service.status(upload_id))["status"] == "FAILURE"


async def test_q20_a_tiny_upload_counts_as_what_its_record_takes(servers: Servers) -> None:
    bound = {"IMGSVC_QUOTA_BYTES": "20000", "IMGSVC_MAX_UPLOAD_BYTES": "20000"}
    async with Queue.open(settings_of(servers.environment() | bound)) as queue:

        async def accepted(metadata: dict[str, str]) -> int:
            count = 0
            while (
                await queue.reserve(upload_id := str(uuid4()), owner=f"o{len(metadata)}", announced=43)
            ).admission is (Admission.RESERVED):
                await queue.submit(replace(submission(upload_id), options=Options(metadata=metadata)))
                count += 1
            return count

        assert await accepted({}) == 4, "4 KiB each"
        assert await accepted({"k": "v" * 9000}) in {2, 3}, "9 kB each"
