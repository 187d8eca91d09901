"""Fetches originals from clients' URLs, and stores them as if they had been uploaded.

What arrives goes on to storage part by part. A worker fetches many originals at once, from hosts of any speed, so that
those of which more than SMALL_BYTES have come share its memory: where there is none left, a fetch hangs up, waits for
it, and asks its host again.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter

from imgsvc.domain.formats import SNIFF_BYTES, Format, sniff
from imgsvc.domain.problems import JOB_FAILURES, JobError
from imgsvc.jobs.exchange import QueueUnavailableError
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Failure, Fetched, Outcome, Postponed, Record, Source, original_key
from imgsvc.jobs.types import Claim
from imgsvc.outbound import Answer, Outbound, Timeouts, TooLongError, UnreachableError, UrlNotAllowedError
from imgsvc.runtime import logs
from imgsvc.runtime.metrics import WorkerMetrics
from imgsvc.storage import PART_BYTES, Storage, StorageError
from imgsvc.worker.memory import SharedMemory
from imgsvc.worker.postponing import BACKOFF_S, postponed

log = logging.getLogger(__name__)

REDIRECTS = 3
SMALL_BYTES = 1024 * 1024
LARGEST_BYTES = 2 * PART_BYTES
"""The memory of one fetch: the part that is being stored, and the one that arrives meanwhile."""

DEADLINE_S = 600
"""Seconds that a job waits for an unreachable host, while its client waits too."""

MEMORY_S = 60
"""Seconds that a fetch waits for memory, before it is tried again later."""

PROGRESS = 5
_IDLE_S = 10.0
_REPORT_S = 0.2
_TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


class HostAwayError(Exception):
    """The image cannot be fetched now."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class _NoRoomError(Exception):
    """The image needs `size` bytes of memory, which others have now."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches originals. Whatever hosts and storage do becomes an outcome, never an exception."""

    queue: Queue
    storage: Storage
    outbound: Outbound
    memory: SharedMemory
    metrics: WorkerMetrics
    max_bytes: int
    timeout_s: float

    async def __call__(self, claim: Claim) -> Outcome:
        begin, code = perf_counter(), "internal_error"
        try:
            with self.metrics.fetches.track_inprogress():
                outcome = await self._attempt(claim)
            code = outcome.code if isinstance(outcome, Failure) else type(outcome).__name__.lower()
        except asyncio.CancelledError:
            code = "stopped"
            raise
        finally:
            seconds = perf_counter() - begin
            self.metrics.step("download", seconds)
            log.info("fetch", extra=logs.fields(code=code, attempt=claim.attempt, ms=round(seconds * 1000, 1)))
        return outcome

    async def _attempt(self, claim: Claim) -> Outcome:
        try:
            record = await self.queue.get(claim.id)
        except QueueUnavailableError:
            return Postponed(BACKOFF_S[0])
        if record is None or record.url is None:
            return Failure("source_missing", JOB_FAILURES["source_missing"])
        logs.bind(filename=record.options.filename)
        try:
            async with self._reporting(claim):
                return Fetched(await self._fetch(record, record.url))
        except (UnreachableError, HostAwayError) as error:
            log.info("%s: %s", record.id, error.detail)
            return postponed(record, Failure("fetch_failed", error.detail), DEADLINE_S, alone=True)
        except (UrlNotAllowedError, TooLongError) as error:
            return Failure("fetch_failed", error.detail)
        except JobError as error:
            return Failure(error.code, error.detail)
        except TimeoutError:
            return postponed(record, Failure("fetch_failed", JOB_FAILURES["fetch_failed"]), alone=True)
        except StorageError as error:
            log.warning("%s: %r", record.id, error.__cause__)
            return postponed(record, Failure(error.code, error.detail))

    async def _fetch(self, record: Record, url: str) -> Source:
        if record.attempt > 1:  # a worker may have died of an earlier one
            await self.storage.abort_uploads(original_key(record.id))
        size = 0
        while True:
            async with AsyncExitStack() as held:
                if size:
                    async with asyncio.timeout(MEMORY_S):
                        await held.enter_async_context(self.memory.hold(record.owner, size))
                try:
                    return await self._store(record, url, size, held)
                except _NoRoomError as error:
                    size = error.size

    async def _store(self, record: Record, url: str, size: int, held: AsyncExitStack) -> Source:
        """Stores a URL's image under its owner, within `size` bytes of memory, or as much as it then has `held`.

        Raises:
            JobError: it is not an image.
            TooLongError, UnreachableError: it is too large, or breaks off.
            StorageError: it could not be stored.
            _NoRoomError: there is no memory left for it.
        """
        async with self._answer(url) as answer, aclosing(answer.chunks(self.max_bytes)) as chunks:
            needed = self._size(answer)
            if 0 < size < needed:
                raise _NoRoomError(LARGEST_BYTES)  # its host says something else each time
            head, fmt = await _sniffed(chunks)
            body = _chain(head, chunks)
            if not size:
                body = self._within(body, record.owner, needed, held)
            key = original_key(record.id)
            digest = await self.storage.put_stream(key, body, fmt.media_type, owner=record.owner, aborts=True)
        return Source(digest.bytes, digest.sha256, fmt.name)

    async def _within(
        self, body: AsyncGenerator[bytes], owner: str, size: int, held: AsyncExitStack
    ) -> AsyncGenerator[bytes]:
        """Yields a body, of which only the first SMALL_BYTES need none of the memory that fetches share."""
        received, is_held = 0, False
        async for chunk in body:
            received += len(chunk)
            if received > SMALL_BYTES and not is_held:
                if not self.memory.has_room(owner, size):
                    raise _NoRoomError(size)
                await held.enter_async_context(self.memory.hold(owner, size))
                is_held = True
            yield chunk

    @asynccontextmanager
    async def _answer(self, url: str) -> AsyncGenerator[Answer]:
        async with self.outbound.request("GET", url, Timeouts(self.timeout_s, _IDLE_S), redirects=REDIRECTS) as answer:
            _check_status(answer)
            yield answer

    def _size(self, answer: Answer) -> int:
        """Returns how much memory an answer needs, at most."""
        length = answer.headers.get("content-length", "")
        size = int(length) if length.isascii() and length.isdecimal() else self.max_bytes
        if size > self.max_bytes:
            raise TooLongError(self.max_bytes)
        return min(size, LARGEST_BYTES)

    @asynccontextmanager
    async def _reporting(self, claim: Claim) -> AsyncGenerator[None]:
        """Writes the step under way for readers, unless it is over soon."""

        async def report() -> None:
            while True:
                await asyncio.sleep(_REPORT_S)
                with suppress(QueueUnavailableError):
                    return await self.queue.progress(claim, PROGRESS, "fetch")

        reporting = asyncio.create_task(report())
        try:
            yield
        finally:
            reporting.cancel()


async def _sniffed(chunks: AsyncGenerator[bytes]) -> tuple[bytes, Format]:
    """Returns the file's first bytes and its format, before anything is stored."""
    head = b""
    while len(head) < SNIFF_BYTES and (chunk := await anext(chunks, None)) is not None:
        head += chunk
    fmt = sniff(head[:SNIFF_BYTES])
    if fmt is None:
        raise JobError("unsupported_format", "What the URL leads to is not an image that this service reads.")
    return head, fmt


async def _chain(head: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    yield head
    async for chunk in rest:
        yield chunk


def _check_status(answer: Answer) -> None:
    if answer.status == HTTPStatus.OK:
        return
    detail = f"The URL's host answered with status {answer.status}."
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status in _TRANSIENT:
        raise HostAwayError(detail)
    raise JobError("fetch_failed", detail)
