"""Fetches an original from a client's URL, and stores it as if it had been uploaded."""

import hashlib
import random
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus

from imgsvc.domain.formats import SNIFF_BYTES, sniff
from imgsvc.domain.problems import JobError
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Source, original_key
from imgsvc.jobs.types import Claim
from imgsvc.outbound import Answer, Outbound, Timeouts, TooLongError, UnreachableError, UrlNotAllowedError
from imgsvc.storage import Storage

REDIRECTS = 3
_IDLE_S = 10.0
_BUSY_S = 1.0
_TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


class FetchLaterError(Exception):
    """The image cannot be fetched now. `delay_s` is set if this worker is the reason: too many fetches are running."""

    def __init__(self, detail: str, delay_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.delay_s = delay_s


@dataclass(slots=True)
class Fetcher:
    """Fetches at most `at_once` originals, so that slow hosts never hold all of a worker's slots."""

    queue: Queue
    storage: Storage
    outbound: Outbound
    max_bytes: int
    timeout_s: float
    at_once: int
    _under_way: int = 0

    async def __call__(self, claim: Claim, url: str, owner: str) -> bytes:
        """Fetches the original, stores it under its owner, and writes its size and hash into the record.

        Raises:
            JobError: it can never be fetched.
            FetchLaterError: it may be fetched later.
            StorageError, QueueUnavailableError: it could not be stored.
        """
        with self._slot():
            data = await self._get(url)
        fmt = sniff(data[:SNIFF_BYTES])
        if fmt is None:
            raise JobError("unsupported_format", "What the URL leads to is not an image that this service reads.")
        source = Source(len(data), hashlib.sha256(data).hexdigest(), fmt.name)
        await self.storage.put(original_key(claim.id), data, fmt.media_type, owner=owner)
        await self.queue.set_source(claim, source)
        return data

    async def _get(self, url: str) -> bytes:
        """Downloads the file, into memory as a whole, as an original is while its job runs: one put stores it."""
        timeouts = Timeouts(self.timeout_s, _IDLE_S)
        head, parts = b"", list[bytes]()
        try:
            async with self.outbound.request("GET", url, timeouts, redirects=REDIRECTS) as answer:
                _check_status(answer)
                async for chunk in answer.chunks(self.max_bytes):
                    parts.append(chunk)
                    head += chunk[: SNIFF_BYTES - len(head)]
                    if len(head) == SNIFF_BYTES and sniff(head) is None:
                        break  # not an image: the rest is not needed
        except UnreachableError as error:
            raise FetchLaterError(error.detail) from error
        except (UrlNotAllowedError, TooLongError) as error:
            raise JobError("fetch_failed", error.detail) from error
        return b"".join(parts)

    @contextmanager
    def _slot(self) -> Generator[None]:
        if self._under_way >= self.at_once:
            delay_s = _BUSY_S * random.uniform(0.5, 1)  # noqa: S311 (jitter, no secret)
            raise FetchLaterError("Too many images are being fetched.", delay_s)
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1


def _check_status(answer: Answer) -> None:
    if answer.status == HTTPStatus.OK:
        return
    detail = f"The URL's host answered with status {answer.status}."
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status in _TRANSIENT:
        raise FetchLaterError(detail)
    raise JobError("fetch_failed", detail)
