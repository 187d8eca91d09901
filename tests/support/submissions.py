"""What an API would hand to the queue: for tests in which there is none."""

from dataclasses import replace
from uuid import uuid4

from imgsvc.domain.options import Options
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Source, Submission


def submission(upload_id: str) -> Submission:
    return Submission(upload_id, Options(metadata={"k": "v"}, filename="a.jpg"), Source(9, "ab", "jpeg"))


async def ended(queue: Queue, owner: str, webhook_url: str) -> str:
    """An upload that has just ended, by being cancelled unless a worker was faster, with a webhook. Returns its id."""
    upload_id = str(uuid4())
    await queue.reserve(upload_id, owner=owner)
    given = submission(upload_id)
    await queue.submit(replace(given, options=replace(given.options, webhook_url=webhook_url)))
    assert await queue.cancel(upload_id, owner) is not None
    return upload_id
