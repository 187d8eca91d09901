"""Delivers webhooks when jobs end: at least once per end, retried for more than a day.

Every worker delivers; the queue gives a delivery to one of them at a time, those of each owner in turn, and leaves
hosts alone that do not answer (claim_webhooks.lua). Requests are signed as specified by Standard Webhooks
(standardwebhooks.com), with the keys of the upload's owner (runtime/webhook_secrets.py):

    webhook-id:        the same for all attempts of an event, so that a receiver can drop repeats
    webhook-timestamp: seconds since the epoch at sending; a receiver refuses old ones, against replays
    webhook-signature: v1,<base64 of the HMAC-SHA256 of "id.timestamp.body">, one for each key, with spaces between them
"""

import asyncio
import base64
import hashlib
import hmac
import logging
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import perf_counter, time

import orjson

from imgsvc.domain import documents
from imgsvc.domain.file_urls import FileUrls
from imgsvc.domain.problems import CodedError
from imgsvc.domain.webhook_documents import DeliveryState
from imgsvc.jobs.exchange import QueueUnavailableError
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Record
from imgsvc.jobs.rows import timestamp
from imgsvc.jobs.types import Delivery, Reply
from imgsvc.jobs.webhook_events import Event, event_of
from imgsvc.outbound import Outbound, Timeouts, UnreachableError
from imgsvc.runtime import logs
from imgsvc.runtime.webhook_secrets import Keys

log = logging.getLogger(__name__)

BACKOFF_S = (5, 30, 120, 600, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600, 12 * 3600)
"""Pauses in seconds before the second and later attempts; after the last one delivery is abandoned."""

MAX_RETRY_AFTER_S = 3600
"""Longest `Retry-After`, in seconds, that is honoured."""

AT_ONCE = 64
POLL_S = 0.5
TIMEOUTS = Timeouts(total_s=20, idle_s=20)
"""Well below WEBHOOK_CLAIM_S."""

_NO_SECRET = "The service has no secret to sign this webhook with."  # noqa: S105 (it has none)


@dataclass(frozen=True, slots=True)
class Message:
    """An event; `id` contains no dot, since dots separate what is signed."""

    id: str
    body: bytes

    def headers(self, keys: Keys, sent_at_s: int) -> dict[str, str]:
        """Returns the headers of a request that delivers it at `sent_at_s` (Unix time), signed with each of `keys`."""
        signed = b"%s.%d.%s" % (self.id.encode(), sent_at_s, self.body)
        signatures = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys)
        return {
            "content-type": "application/json",
            "webhook-id": self.id,
            "webhook-timestamp": str(sent_at_s),
            "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
        }


@dataclass(frozen=True, slots=True)
class WebhookSender:
    """`keys_of` returns the keys with which webhooks of an owner are signed."""

    queue: Queue
    outbound: Outbound
    keys_of: Callable[[str], Keys]
    urls: FileUrls

    async def run(self) -> None:
        """Delivers until it is cancelled. What is interrupted then is delivered again by another worker."""
        under_way: dict[asyncio.Task[None], Delivery] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                for delivery in await self._due(AT_ONCE - len(under_way), under_way.values()):
                    task = group.create_task(self._deliver(delivery))
                    under_way[task] = delivery
                    task.add_done_callback(under_way.pop)
                if len(under_way) < AT_ONCE:
                    await asyncio.sleep(POLL_S)
                else:
                    await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)

    async def _due(self, slots: int, under_way: Collection[Delivery]) -> list[Delivery]:
        try:
            return await self.queue.deliveries.claim(slots, under_way)
        except QueueUnavailableError:  # the queue logs its own outages
            return []

    async def _deliver(self, delivery: Delivery) -> None:
        logs.bind(upload_id=delivery.id)
        try:
            record = await self.queue.get(delivery.id)
            event = record and event_of(record, of_derivation=delivery.of_derivation)
            if record is None or record.webhook is None or event is None or event.at != delivery.end:
                return  # deleted, retried or derived again: the end no longer exists
            message = message_of(record, event, self.urls)
            begin = perf_counter()
            answer = await self._post(message, record.webhook.url, self.keys_of(record.owner))
            reply = replace(answer, took_s=perf_counter() - begin, event=event.kind)
            state = state_after(reply, delivery.attempt)
            delay_s = backoff_s(delivery.attempt, reply.retry_after_s) if state == "pending" else 0
            await self.queue.deliveries.ack(delivery, state, reply, delay_s)
        except QueueUnavailableError:
            return  # it is claimed again: twice is better than never
        except Exception:  # a bug must not end other deliveries; this one is claimed again too
            log.exception("webhook attempt %d failed", delivery.attempt)
            return
        log.info("webhook attempt %d: %s, %s", delivery.attempt, reply.status or reply.error, state)

    async def _post(self, message: Message, url: str, keys: Keys) -> Reply:
        if not keys:
            return Reply(error=_NO_SECRET)
        try:
            # redirects are not followed, and no body is read
            async with self.outbound.request(
                "POST", url, TIMEOUTS, headers=message.headers(keys, int(time())), body=message.body
            ) as answer:
                return Reply(answer.status, retry_after_s=retry_after_s(answer.headers.get("retry-after", "")))
        except UnreachableError as error:
            return Reply(error=error.detail, is_away=True)
        except CodedError as error:
            return Reply(error=error.detail)


def state_after(reply: Reply, attempt: int) -> DeliveryState:
    """Returns the state of a delivery after its attempt of this number."""
    if reply.status is not None and 200 <= reply.status < 300:
        return "delivered"
    return "gave_up" if reply.status == HTTPStatus.GONE or attempt > len(BACKOFF_S) else "pending"


def message_of(record: Record, event: Event, urls: FileUrls) -> Message:
    """Returns the message about an end of the upload. Its id is unique to that end, and the same each time."""
    body: documents.Event = {
        "type": event.kind,
        "timestamp": timestamp(event.at),
        "owner": record.owner,
        "data": record.document(urls),
    }
    return Message(event.id, orjson.dumps(body))


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
