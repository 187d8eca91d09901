"""Delivers webhooks when jobs end: at least once per end, retried for more than a day.

Every worker that has the secret delivers; the queue gives a delivery to one of them at a time (claim_webhooks.lua).
Requests are signed as specified by Standard Webhooks (standardwebhooks.com):

    webhook-id:        the same for all attempts of an event, so that a receiver can drop repeats
    webhook-timestamp: seconds since the epoch at sending; a receiver refuses old ones, against replays
    webhook-signature: v1,<base64 of the HMAC-SHA256 of "id.timestamp.body">
"""

import asyncio
import base64
import hashlib
import hmac
import logging
import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time

import orjson

from imgsvc.domain.documents import DERIVATION_EVENTS, END_EVENTS, Event
from imgsvc.domain.file_urls import FileUrls
from imgsvc.domain.problems import CodedError
from imgsvc.jobs.exchange import QueueUnavailableError
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Record
from imgsvc.jobs.rows import timestamp
from imgsvc.jobs.types import Delivery
from imgsvc.outbound import Outbound, Timeouts
from imgsvc.runtime import logs

log = logging.getLogger(__name__)

BACKOFF_S = (5, 30, 120, 600, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600, 12 * 3600)
"""Pauses in seconds before the second and later attempts; after the last one delivery is abandoned."""

MAX_RETRY_AFTER_S = 3600
"""Longest `Retry-After`, in seconds, that is honoured."""

AT_ONCE = 32
POLL_S = 0.5
TIMEOUTS = Timeouts(total_s=10, idle_s=10)
"""Well below WEBHOOK_CLAIM_S."""


@dataclass(frozen=True, slots=True)
class Message:
    """An event; `id` contains no dot, since dots separate what is signed."""

    id: str
    body: bytes

    def headers(self, key: bytes, sent_at_s: int) -> dict[str, str]:
        """Returns the headers of a request that delivers it at `sent_at_s` (Unix time), signed with `key`."""
        signed = b"%s.%d.%s" % (self.id.encode(), sent_at_s, self.body)
        signature = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        return {
            "content-type": "application/json",
            "webhook-id": self.id,
            "webhook-timestamp": str(sent_at_s),
            "webhook-signature": f"v1,{signature}",
        }


@dataclass(frozen=True, slots=True)
class Reply:
    """A receiver's answer: its status, or `error` if there is none; and its `Retry-After` in seconds."""

    status: int | None = None
    error: str | None = None
    retry_after_s: float = 0

    def state(self, attempt: int) -> str:
        if self.status is not None and 200 <= self.status < 300:
            return "delivered"
        return "gave_up" if self.status == HTTPStatus.GONE or attempt > len(BACKOFF_S) else "pending"


@dataclass(frozen=True, slots=True)
class WebhookSender:
    queue: Queue
    outbound: Outbound
    key: bytes
    urls: FileUrls

    async def run(self) -> None:
        """Delivers until it is cancelled. What is interrupted then is delivered again by another worker."""
        under_way: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            while True:
                for delivery in await self._due(AT_ONCE - len(under_way)):
                    task = group.create_task(self._deliver(delivery))
                    under_way.add(task)
                    task.add_done_callback(under_way.discard)
                if len(under_way) < AT_ONCE:
                    await asyncio.sleep(POLL_S)
                else:
                    await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)

    async def _due(self, limit: int) -> list[Delivery]:
        try:
            return await self.queue.deliveries.claim(limit)
        except QueueUnavailableError:  # the queue logs its own outages
            return []

    async def _deliver(self, delivery: Delivery) -> None:
        logs.bind(upload_id=delivery.id)
        try:
            record = await self.queue.get(delivery.id)
            if record is None or record.webhook is None or _end(record, delivery) != delivery.end:
                return  # deleted, retried or derived again: the end no longer exists
            reply = await self._post(record, record.webhook.url, of_derivation=delivery.of_derivation)
            state = reply.state(delivery.attempt)
            delay_s = backoff_s(delivery.attempt, reply.retry_after_s) if state == "pending" else 0
            await self.queue.deliveries.ack(delivery, state, reply.status, reply.error, delay_s)
        except QueueUnavailableError:
            return  # it is claimed again: twice is better than never
        except Exception:  # a bug must not end other deliveries; this one is claimed again too
            log.exception("webhook attempt %d failed", delivery.attempt)
            return
        log.info("webhook attempt %d: %s, %s", delivery.attempt, reply.status or reply.error, state)

    async def _post(self, record: Record, url: str, *, of_derivation: bool) -> Reply:
        message = message_of(record, self.urls, of_derivation=of_derivation)
        try:
            # redirects are not followed, and no body is read
            async with self.outbound.request(
                "POST", url, TIMEOUTS, headers=message.headers(self.key, int(time())), body=message.body
            ) as answer:
                return Reply(answer.status, retry_after_s=retry_after_s(answer.headers.get("retry-after", "")))
        except CodedError as error:
            return Reply(error=error.detail)


def _end(record: Record, delivery: Delivery) -> int | None:
    if delivery.of_derivation:
        return record.derivation and record.derivation.finished_at
    return record.finished_at


def message_of(record: Record, urls: FileUrls, *, of_derivation: bool = False) -> Message:
    """Returns the message about the end of a job, or of its newest derivation.

    Its id is unique to that end, and the same each time.
    """
    if of_derivation and (derivation := record.derivation):
        kind, end, name = (
            DERIVATION_EVENTS[derivation.status],
            derivation.finished_at,
            f"{record.id}_r{derivation.revision}",
        )
    else:
        kind, end, name = END_EVENTS[record.status], record.finished_at, record.id
    assert end is not None, "written in one step with the end"
    body: Event = {"type": kind, "timestamp": timestamp(end), "data": record.document(urls)}
    return Message(f"{name}_{end}", orjson.dumps(body))


def backoff_s(attempt: int, retry_after_s: float) -> float:
    """Returns the seconds until the next attempt: jittered, and at least `retry_after_s`, up to MAX_RETRY_AFTER_S."""
    jittered = BACKOFF_S[attempt - 1] * random.uniform(0.8, 1.2)  # noqa: S311 (no secret)
    return max(jittered, min(retry_after_s, MAX_RETRY_AFTER_S))


def retry_after_s(value: str) -> float:
    """Parses `Retry-After` in either form of RFC 9110, into seconds; 0 for anything else."""
    if value.isascii() and value.isdecimal():
        return int(value[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except (ValueError, OverflowError):  # not a date, or out of range
        return 0
