"""Webhooks: a receiver hears of each end, whatever it or a worker does meanwhile."""

import asyncio
import base64
from collections.abc import AsyncGenerator
from dataclasses import replace
from email.utils import formatdate
from itertools import pairwise
from time import time
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
import pytest_asyncio

from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Failure, Webhook
from imgsvc.jobs.types import Delivery, Reply
from imgsvc.worker.webhooks import BACKOFF_S, MAX_RETRY_AFTER_S, backoff_s, retry_after_s
from tests.support import images
from tests.support.hooks import hasty
from tests.support.peers import OK, Endless, Listener, Receiver
from tests.support.service import Servers, Service, begun, leftovers, settings_of, until
from tests.support.submissions import submission

SMALL = images.photo(160, 120)
SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()
HASTY = "tests.support.hooks.hasty"
SETTINGS: dict[str, Any] = {"webhook_secret": SECRET, "outbound_allow": "127.0.0.1"}

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
FAILED = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
GONE = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"


@pytest_asyncio.fixture(scope="module")
async def hooked(servers: Servers) -> AsyncGenerator[Service]:
    """A service that sends webhooks to 127.0.0.1, by a worker in a hurry."""
    async with Service.start(servers.environment(), workers=0, decoders=1, **SETTINGS) as started:
        await started.start_worker(HASTY)
        await started.until_ready(1)
        yield started


async def webhook(service: Service, upload_id: str) -> dict[str, Any]:
    return (await service.client.get(f"/upload/{upload_id}")).json()["webhook"]


async def until_webhook(service: Service, upload_id: str, state: str) -> dict[str, Any]:
    async def there() -> bool:
        return (await webhook(service, upload_id))["state"] == state

    await until(there)
    return await webhook(service, upload_id)


async def test_h23_an_end_is_told_signed_and_with_the_whole_document(hooked: Service) -> None:
    async with Receiver.start(NO_CONTENT) as receiver:
        upload_id = await hooked.upload(SMALL, webhook_url=receiver.url, metadata='{"order": "7"}')
        told = await receiver.until_told()
        told.verify(SECRET)
        state = await until_webhook(hooked, upload_id, "delivered")
    assert state == {
        "url": receiver.url,
        "state": "delivered",
        "attempts": 1,
        "last_status": 204,
        "last_error": None,
        "next_at": None,
    }
    document = (await hooked.client.get(f"/upload/{upload_id}")).json()
    del document["webhook"]
    assert told.event == {
        "type": "upload.succeeded",
        "timestamp": document["status"]["finished_at"],
        "owner": "",
        "data": document,
    }
    assert document["result"]["result"]
    assert not any("deliveries" in key for key in leftovers(hooked.environment)["keys"])


async def test_h23_a_failure_is_told(hooked: Service) -> None:
    async with Receiver.start(OK) as receiver:
        await hooked.upload(SMALL[: len(SMALL) // 2], webhook_url=receiver.url)
        event = (await receiver.until_told()).event
    assert event["type"] == "upload.failed"
    assert event["data"]["status"]["error"]["code"] == "decode_failed"


async def test_h23_a_cancelled_job_is_told_and_told_anew_when_it_was_retried(servers: Servers) -> None:
    async with (
        Service.start(servers.environment(), decoders=1, **SETTINGS) as service,
        Receiver.start(OK) as receiver,
    ):
        upload_id = await begun(service, webhook_url=receiver.url)
        await service.client.post(f"/upload/{upload_id}/cancel")
        first = await receiver.until_told(1)
        await until_webhook(service, upload_id, "delivered")
        await service.client.post(f"/upload/{upload_id}/retry")
        second = await receiver.until_told(2)
        assert [first.event["type"], second.event["type"]] == ["upload.cancelled", "upload.succeeded"]
        assert first.id != second.id, "it is another event"
        assert (await until_webhook(service, upload_id, "delivered"))["attempts"] == 1


async def test_h23_a_failing_receiver_is_told_again_later_and_later_by_the_same_id(hooked: Service) -> None:
    async with Receiver.start(FAILED, FAILED, FAILED, OK) as receiver:
        upload_id = await hooked.upload(SMALL, webhook_url=receiver.url)
        await receiver.until_told(2)
        state = await until_webhook(hooked, upload_id, "delivered")
        assert (state["attempts"], state["last_status"]) == (4, 200)
        for told in receiver.told:
            told.verify(SECRET)
        assert len({told.id for told in receiver.told}) == 1
        assert len({told.body for told in receiver.told}) == 1
        pauses = [later.at - earlier.at for earlier, later in pairwise(receiver.told)]
        assert all(pause >= 0.8 * wanted for pause, wanted in zip(pauses, hasty.BACKOFF_S, strict=True))


async def test_h23_a_receiver_that_never_takes_it_is_given_up_after_the_last_attempt(hooked: Service) -> None:
    async with Receiver.start(FAILED) as receiver:
        upload_id = await hooked.upload(SMALL, webhook_url=receiver.url)
        state = await until_webhook(hooked, upload_id, "gave_up")
        attempts = len(hasty.BACKOFF_S) + 1
        assert (state["attempts"], state["last_status"], len(receiver.told)) == (attempts, 500, attempts)
    assert not any("deliveries" in key for key in leftovers(hooked.environment)["keys"])


async def test_h23_gone_is_not_told_again(hooked: Service) -> None:
    async with Receiver.start(GONE) as receiver:
        upload_id = await hooked.upload(SMALL, webhook_url=receiver.url)
        state = await until_webhook(hooked, upload_id, "gave_up")
        assert (state["attempts"], state["last_status"], state["next_at"]) == (1, 410, None)
        assert len(receiver.told) == 1


async def test_h23_a_silent_receiver_costs_its_deadline_and_is_told_again(hooked: Service) -> None:
    async with Receiver.start(None, OK) as receiver:
        upload_id = await hooked.upload(SMALL, webhook_url=receiver.url)
        await receiver.until_told(1)

        async def failed_once() -> bool:
            return bool((await webhook(hooked, upload_id))["last_error"])

        await until(failed_once)
        first, second = receiver.told[0], await receiver.until_told(2)
        assert first.id == second.id
        await until_webhook(hooked, upload_id, "delivered")


async def test_h23_a_redirect_is_not_followed(hooked: Service) -> None:
    async with Listener.start() as elsewhere:
        redirect = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:{elsewhere.port}/\r\n\r\n"
        async with Receiver.start(redirect.encode(), OK) as receiver:
            upload_id = await hooked.upload(SMALL, webhook_url=receiver.url)
            state = await until_webhook(hooked, upload_id, "delivered")
            assert state["attempts"] == 2
        assert elsewhere.connections == 0


async def test_h23_a_huge_reply_is_not_read(hooked: Service) -> None:
    endless = Endless()
    async with Listener.start(endless) as listener:
        upload_id = await hooked.upload(SMALL, webhook_url=f"http://127.0.0.1:{listener.port}/")
        assert (await until_webhook(hooked, upload_id, "delivered"))["attempts"] == 1
    assert endless.sent < 32 * 1024 * 1024, "what the sockets between them hold"


async def test_h23_a_worker_killed_before_it_heard_the_answer_is_followed_by_another(servers: Servers) -> None:
    async with (
        Service.start(servers.environment(), workers=0, decoders=1, **SETTINGS) as service,
        Receiver.start(None, OK) as receiver,
    ):
        doomed = await service.start_worker(HASTY)
        upload_id = await service.upload(SMALL, webhook_url=receiver.url)
        first = await receiver.until_told(1)
        await doomed.kill()
        await service.start_worker(HASTY)
        second = await receiver.until_told(2)
        print(f"told again after {second.at - first.at:.2f} s with a hold of {hasty.HOLD_S:g} s")
        assert first.id == second.id
        assert (await until_webhook(service, upload_id, "delivered"))["attempts"] == 2


@pytest_asyncio.fixture
async def queue(servers: Servers) -> AsyncGenerator[Queue]:
    """A queue of its own, whose leases lapse at once."""
    async with Queue.open(settings_of(servers.environment() | {"IMGSVC_LEASE_S": "0.01"})) as opened:
        yield opened


async def submitted(queue: Queue) -> str:
    upload_id = str(uuid4())
    await queue.reserve(upload_id)
    given = submission(upload_id)
    await queue.submit(replace(given, options=replace(given.options, webhook_url="http://127.0.0.1/")))
    return upload_id


async def failed(queue: Queue) -> str:
    upload_id = await submitted(queue)
    (claim,) = await queue.claim("w1", 1)
    assert await queue.finish(claim, Failure("decode_failed", "broken"))
    return upload_id


async def test_a_job_that_is_given_up_with_its_workers_is_told_too(queue: Queue) -> None:
    upload_id = await submitted(queue)
    deliveries: list[Delivery] = []

    async def given_up() -> bool:
        await queue.claim("w1", 1)
        deliveries.extend(await queue.deliveries.claim(5))
        return bool(deliveries)

    with patch("imgsvc.jobs.queue.MAX_DELIVERIES", 1):
        await until(given_up)
    record = await queue.get(upload_id)
    assert record is not None
    assert record.failure is not None
    assert (record.failure.code, [found.id for found in deliveries]) == ("attempts_exhausted", [upload_id])


async def test_a_delivery_is_handed_to_one_worker_at_a_time(queue: Queue) -> None:
    upload_id = await failed(queue)
    batches = await asyncio.gather(*(queue.deliveries.claim(5) for _ in range(8)))
    assert [delivery.id for batch in batches for delivery in batch] == [upload_id]


async def test_what_came_of_a_delivery_counts_only_from_its_last_owner(queue: Queue) -> None:
    upload_id = await failed(queue)
    with patch("imgsvc.jobs.deliveries.WEBHOOK_CLAIM_S", 0):
        (first,) = await queue.deliveries.claim(5)
    (second,) = await queue.deliveries.claim(5)
    assert (first.attempt, second.attempt) == (1, 2)
    assert not await queue.deliveries.ack(first, "gave_up", Reply(410))
    assert await queue.deliveries.ack(second, "delivered", Reply(200))
    assert not await queue.deliveries.ack(second, "pending", Reply(500))
    record = await queue.get(upload_id)
    assert record is not None
    assert record.webhook == Webhook("http://127.0.0.1/", "delivered", 2, 200, None, None)


async def test_what_came_of_a_delivery_counts_for_its_own_end_alone(queue: Queue) -> None:
    upload_id = await failed(queue)
    (of_the_first_end,) = await queue.deliveries.claim(5)
    await queue.retry(upload_id)
    assert await queue.deliveries.claim(5) == []
    await queue.cancel(upload_id)
    (of_the_second,) = await queue.deliveries.claim(5)
    assert of_the_first_end.attempt == of_the_second.attempt == 1
    assert not await queue.deliveries.ack(of_the_first_end, "delivered", Reply(200))
    assert await queue.deliveries.ack(of_the_second, "delivered", Reply(200))


async def test_a_deleted_upload_is_told_of_no_more(hooked: Service) -> None:
    async with Receiver.start(FAILED) as receiver:
        upload_id = await hooked.upload(SMALL, webhook_url=receiver.url)
        await receiver.until_told()
        await hooked.client.delete(f"/upload/{upload_id}")
        assert not any("deliveries" in key for key in leftovers(hooked.environment)["keys"])


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://169.254.169.254/", "no public address"),
        ("http://127.0.0.2/", "no public address"),
        ("ftp://127.0.0.1/", "http:// or https://"),
        ("http://user:password@127.0.0.1/", "user or a password"),
        ("http://127.0.0.1/" + "a" * 2048, "longer than 2048 bytes"),
        ("", "http:// or https://"),
    ],
)
async def test_a_webhook_that_would_never_be_called_is_refused(hooked: Service, url: str, says: str) -> None:
    answer = await hooked.post(SMALL, webhook_url=url)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_webhook_url")
    assert says in answer.json()["detail"]


async def test_a_webhook_without_a_secret_is_refused_with_what_to_set(service: Service) -> None:
    answer = await service.post(SMALL, webhook_url="https://example.com/")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_webhook_url")
    assert "IMGSVC_WEBHOOK_SECRET" in answer.json()["detail"]


async def test_an_upload_without_a_webhook_has_no_word_of_one(service: Service) -> None:
    upload_id = await service.upload(SMALL)
    await service.ended(upload_id)
    assert "webhook" not in (await service.client.get(f"/upload/{upload_id}")).json()


def test_pauses_grow_over_more_than_a_day_and_differ_from_each_other() -> None:
    assert sorted(BACKOFF_S) == list(BACKOFF_S)
    assert sum(0.8 * pause for pause in BACKOFF_S) > 20 * 3600
    for attempt, pause in enumerate(BACKOFF_S, 1):
        pauses = {backoff_s(attempt, 0) for _ in range(100)}
        assert len(pauses) > 90
        assert 0.8 * pause <= min(pauses) <= max(pauses) <= 1.2 * pause


def test_a_receiver_may_ask_for_a_longer_pause_but_not_for_any() -> None:
    assert backoff_s(1, 90) == 90
    assert backoff_s(1, 1) >= 0.8 * BACKOFF_S[0]
    assert backoff_s(1, 10 * MAX_RETRY_AFTER_S) == MAX_RETRY_AFTER_S


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("", 0),
        ("-1", 0),
        ("soon", 0),
        ("Fri, 31 Dec 99990236659 23:59:59 GMT", 0),
        ("\u0661\u0662", 0),
        ("9" * 5000, 999_999_999),
    ],
)
def test_retry_after_is_read_in_both_its_forms(value: str, seconds: float) -> None:
    assert retry_after_s(value) == seconds


def test_retry_after_may_be_a_date() -> None:
    assert retry_after_s(formatdate(time() + 600, usegmt=True)) == pytest.approx(600, abs=2)
    assert retry_after_s(formatdate(time() - 600, usegmt=True)) == 0
