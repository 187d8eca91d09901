"""Asks the operator's gate about an image, before anything made of it can be seen.

The gate is sent a JPEG of at most 512 pixels, and all that a webhook would say of the upload, signed as webhooks are,
but with the service's own secrets: the gate is the operator's.
Its answer is `allow`, `reject` or `hold` (domain/gate.py); anything else counts as no answer, and it is asked again.
"""

import base64
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Self, TypedDict

import orjson

from imgsvc.domain import documents
from imgsvc.domain.file_urls import FileUrls
from imgsvc.domain.gate import MAX_ANSWER_BYTES, Verdict, read_verdict
from imgsvc.domain.model import Variant
from imgsvc.domain.problems import CodedError, JobError
from imgsvc.jobs.record import Held, Postponed, Record
from imgsvc.jobs.rows import timestamp
from imgsvc.outbound import Outbound, Timeouts, parse_url
from imgsvc.runtime.settings import Settings
from imgsvc.runtime.webhook_secrets import Keys
from imgsvc.worker.webhooks import Message

log = logging.getLogger(__name__)

LOOK = Variant("gate", width=512, height=512, format="jpeg", quality=80)
"""What the gate sees of an image."""

TIMEOUTS = Timeouts(total_s=20, idle_s=20)
_PAUSES_S = (1.0, 30.0)


class NotYetError(Exception):
    """The image may not be seen yet. `outcome` is what becomes of its job now."""

    def __init__(self, outcome: Held | Postponed) -> None:
        super().__init__(str(outcome))
        self.outcome = outcome


class Question(TypedDict):
    """The body of a request to the gate; `image` is a data URL."""

    type: str
    timestamp: str
    image: str
    data: documents.Upload


@dataclass(slots=True)
class _Silence:
    failures: int = 0
    until: float = 0


@dataclass(slots=True)
class Gate:
    """The gate as one worker sees it. While it gives no answers about an owner's images, those wait without asking it.

    The images of other owners go on: it may fail because of what one owner has sent.
    """

    outbound: Outbound
    url: str
    keys: Keys
    urls: FileUrls
    deadline_s: float
    lets_pass: bool
    _silences: dict[str, _Silence] = field(default_factory=dict[str, _Silence])
    """By owner, while it gives no answers."""

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[Self | None]:
        """The gate of these settings, if they have one. Its host may be private, since the operator has named it."""
        if settings.gate_url is None or not settings.webhook_secret:
            yield None
            return
        url = settings.gate_url
        target = parse_url(url)
        async with Outbound.open(settings, f"{target.host}:{target.port}") as outbound:
            keys, lets_pass = settings.webhook_keys.service, settings.gate_fails == "open"
            yield cls(outbound, url, keys, settings.file_urls, settings.gate_deadline_s, lets_pass=lets_pass)

    async def __call__(self, record: Record, look: Callable[[], Awaitable[bytes]]) -> tuple[str, ...]:
        """Returns once the upload, whose JPEG `look` makes, may be seen; with the warnings that its result has.

        Raises:
            JobError: it is rejected, or no answer came before the deadline.
            NotYetError: it waits for somebody to release it, or no answer comes now.
        """
        verdict = await self._ask(record, look)
        if verdict is None:
            if self.lets_pass:
                return ("gate_skipped",)
            raise JobError("gate_unavailable")
        if verdict.decision == "hold":
            raise NotYetError(Held())
        if verdict.decision == "reject":
            raise JobError("rejected", verdict.reason or None)
        return ()

    async def _ask(self, record: Record, look: Callable[[], Awaitable[bytes]]) -> Verdict | None:
        """Returns the gate's verdict; None where there is none once the deadline is over."""
        is_late = time() - (record.started_at or record.created_at) / 1000 > self.deadline_s
        silence, is_probe = self._silences.get(record.owner), False
        if silence and (pause_s := silence.until - monotonic()) > 0:
            if not is_late:
                raise _later(pause_s)
        elif silence:
            is_probe, silence.until = True, monotonic() + TIMEOUTS.total_s  # one asks, and the others wait for that
        message = self._message(record, await look())
        try:
            verdict = await self._verdict(message)
        except (CodedError, ValueError) as error:
            silence = self._note(record.owner, error, is_probe=is_probe)
            if is_late:
                return None
            raise _later(silence.until - monotonic()) from error
        if self._silences.pop(record.owner, None):
            log.info("the gate answers again")
        return verdict

    def _message(self, record: Record, image: bytes) -> Message:
        now_ms = round(time() * 1000)
        body: Question = {
            "type": "upload.gate",
            "timestamp": timestamp(now_ms),
            "image": f"data:image/jpeg;base64,{base64.b64encode(image).decode()}",
            "data": record.document(self.urls),
        }
        return Message(f"gate_{record.id}_{record.attempt}", orjson.dumps(body))

    async def _verdict(self, message: Message) -> Verdict:
        headers = message.headers(self.keys, int(time()))
        async with self.outbound.request("POST", self.url, TIMEOUTS, headers=headers, body=message.body) as answer:
            if not 200 <= answer.status < 300:
                raise ValueError(f"it answers {answer.status}")
            return read_verdict(b"".join([chunk async for chunk in answer.chunks(MAX_ANSWER_BYTES)]))

    def _note(self, owner: str, error: Exception, *, is_probe: bool) -> _Silence:
        """Pauses, longer each time; several that were asked at once count as one."""
        silence = self._silences.setdefault(owner, _Silence())
        if is_probe or silence.until <= monotonic():
            least_s, most_s = _PAUSES_S
            silence.until = monotonic() + min(most_s, least_s * 2**silence.failures)
            silence.failures = min(silence.failures + 1, 10)
            if silence.failures == 1:
                log.warning("the gate gives no answer: %s", error)
        return silence


def _later(delay_s: float) -> NotYetError:
    return NotYetError(Postponed(max(0, delay_s) + random.uniform(0, 1), alone=True))  # noqa: S311 (jitter, no secret)
