"""What a job does: reads the original, has its variants rendered, stores them, and returns the outcome.

A derivation is the same with a part of the variants, and its files stand beside the others until it has succeeded.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from imgsvc.decoder.pool import DecoderPool, DecoderStartError
from imgsvc.domain.model import Rendered, Rendition
from imgsvc.domain.problems import JOB_FAILURES, JobError
from imgsvc.jobs import derived
from imgsvc.jobs.exchange import QueueUnavailableError
from imgsvc.jobs.files import File
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Failure, Outcome, Postponed, Record, Success
from imgsvc.jobs.types import Claim
from imgsvc.runtime import logs
from imgsvc.runtime.metrics import WorkerMetrics
from imgsvc.storage import Storage, StorageError
from imgsvc.worker.gate import LOOK, Gate, NotYetError
from imgsvc.worker.overlays import Overlays
from imgsvc.worker.postponing import BACKOFF_S, postponed

log = logging.getLogger(__name__)

DECODER_TRIES = 2
"""Attempts at an image that kills its decoder: two, in case the decoder was the cause."""

_DECODER_DIED = {"decode_timeout", "decoder_oom", "decoder_crashed"}

_PUTS_AT_A_TIME = 8
_REPORT_S = 0.2

Report = Callable[[int, str], None]
"""Takes progress (0 to 100) and the step under way."""


@dataclass(frozen=True, slots=True)
class Processor:
    """Runs the jobs of a worker. A wrong file or a failed dependency becomes an outcome, never an exception."""

    queue: Queue
    storage: Storage
    decoders: DecoderPool
    overlays: Overlays
    gate: Gate | None
    metrics: WorkerMetrics

    async def __call__(self, claim: Claim) -> Outcome:
        self.metrics.started(claim.attempt)
        stopwatch = _Stopwatch(self.metrics)
        code = "internal_error"
        try:
            with self.metrics.jobs.track_inprogress():
                outcome = await self._attempt(claim, stopwatch)
            code = _code(outcome)
        except asyncio.CancelledError:
            code = "stopped"
            raise
        finally:
            log.info("job", extra=logs.fields(code=code, attempt=claim.attempt, **stopwatch.read()))
        return outcome

    async def _attempt(self, claim: Claim, stopwatch: "_Stopwatch") -> Outcome:
        try:
            record = await self.queue.get(claim.id)
        except QueueUnavailableError:
            return Postponed(BACKOFF_S[0])
        if record is not None and claim.revision:
            record = derived.under_way(record, claim.revision)
        if record is None:  # or it is no longer this claim's: then it is refused
            return Failure("source_missing", JOB_FAILURES["source_missing"])
        logs.bind(filename=record.options.filename)
        try:
            async with self._reporting(claim) as report:
                return await self._process(claim, record, report, stopwatch)
        except JobError as error:
            return Failure(error.code, error.detail)
        except NotYetError as error:
            return error.outcome
        except StorageError as error:
            log.warning("%s: %r", record.id, error.__cause__)
            return postponed(record, Failure(error.code, error.detail))
        except DecoderStartError:  # a fault of this worker: another may run the job meanwhile
            return postponed(record, Failure("internal_error", JOB_FAILURES["internal_error"]))
        except QueueUnavailableError:
            return Postponed(BACKOFF_S[0])

    async def _process(self, claim: Claim, record: Record, report: Report, stopwatch: "_Stopwatch") -> Outcome:
        report(5, "fetch")
        with stopwatch.step("fetch"):
            source = await self._original(record)
            overlays = await self.overlays.of(record.options.variants)
        passed = tuple[str, ...]()
        if record.gate == "ask" and not claim.revision:
            report(8, "gate")
            with stopwatch.step("gate"):
                passed = await self._pass_gate(source, record)
        report(10, "decode")
        with stopwatch.step("decode"):
            rendered = await self._render(source, overlays, record, report)
        report(90, "store")
        with stopwatch.step("store"):
            files = await self._store(record, rendered, claim)
        original = rendered.original
        size = original.width, original.height
        end = rendered.placeholder, (*rendered.warnings, *passed), original.facts
        success = Success(*size, original.frames, files, *end)
        return derived.outcome(record, success) if claim.revision else success

    async def _pass_gate(self, source: bytes, record: Record) -> tuple[str, ...]:
        if self.gate is None:
            log.error("the gate was to be asked about %s, and this worker has no IMGSVC_GATE_URL", record.id)
            detail = "A gate has to allow this image, and this worker has none. Its operator must set IMGSVC_GATE_URL."
            raise JobError("gate_unavailable", detail)

        async def look() -> bytes:
            return (await self.decoders.render(source, (LOOK,), owner=record.owner)).renditions[0].data

        return await self.gate(record, look)

    async def _original(self, record: Record) -> bytes:
        """Reads the original from storage, and verifies its hash."""
        source = record.source
        if source is None:
            raise JobError("source_missing")
        async with self.storage.read(record.original_key) as found:
            if found is None:
                raise JobError("source_missing")
            digest, parts = hashlib.sha256(), list[bytes]()
            if found[0].size == source.bytes:
                async for chunk in found[1]:
                    digest.update(chunk)
                    parts.append(chunk)
        if digest.hexdigest() != source.sha256:
            raise JobError("source_corrupt")
        return b"".join(parts)

    async def _render(self, source: bytes, overlays: Mapping[str, bytes], record: Record, report: Report) -> Rendered:
        def on_step(step: str, done: int, total: int) -> None:
            report(10 + 80 * done // total, step)

        options = record.options
        render = partial(
            self.decoders.render,
            *(source, options.focused_variants, on_step),
            owner=record.owner,
            overlays=overlays,
            keep_location=options.keep_location,
        )
        for _ in range(DECODER_TRIES - 1):
            try:
                return await render()
            except JobError as error:
                if error.code not in _DECODER_DIED:
                    raise
                log.warning("decoder failed, trying once more: %s", error)
        return await render()

    async def _store(self, record: Record, rendered: Rendered, claim: Claim) -> tuple[File, ...]:
        files = tuple(_file(rendition, claim) for rendition in rendered.renditions)
        slots, errors = asyncio.Semaphore(_PUTS_AT_A_TIME), list[Exception]()

        async def put(file: File, data: bytes) -> None:
            async with slots:
                if errors:
                    return
                key = file.key(record.id, record.options.filename)
                try:
                    await self.storage.put(key, data, file.content_type, record.expires_at, sha256=file.sha256)
                except Exception as error:
                    errors.append(error)

        # waits for all of them, so that none still writes when the job has ended
        await asyncio.gather(
            *(put(file, rendition.data) for file, rendition in zip(files, rendered.renditions, strict=True))
        )
        if errors:
            raise errors[0]
        return files

    @asynccontextmanager
    async def _reporting(self, claim: Claim) -> AsyncGenerator[Report]:
        """Writes the latest progress a few times a second; a job that is faster writes none."""
        latest = _Latest()

        async def write() -> None:
            while True:
                await asyncio.sleep(_REPORT_S)
                if latest.changed:
                    latest.changed = False
                    with suppress(
                        QueueUnavailableError
                    ):  # the next write may succeed, and the outcome is repeated until it does
                        await self.queue.progress(claim, latest.progress, latest.step)

        writer = asyncio.create_task(write())
        try:
            yield latest.report
        finally:
            writer.cancel()


@dataclass(slots=True)
class _Latest:
    progress: int = 0
    step: str = ""
    changed: bool = False

    def report(self, progress: int, step: str) -> None:
        self.progress, self.step, self.changed = progress, step, True


class _Stopwatch:
    """Measures an attempt and its steps, including failed ones."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._begin = perf_counter()
        self._steps_ms: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Generator[None]:
        begin = perf_counter()
        try:
            yield
        finally:
            seconds = perf_counter() - begin
            self._metrics.step(name, seconds)
            self._steps_ms[f"{name}_ms"] = ms = round(seconds * 1000, 1)
            log.debug("step", extra=logs.fields(step=name, ms=ms))

    def read(self) -> dict[str, float]:
        """Returns milliseconds since its creation, and those of each step."""
        return {"ms": round((perf_counter() - self._begin) * 1000, 1), **self._steps_ms}


def _code(outcome: Outcome) -> str:
    """Returns success, postponed, or a code of problems.JOB_FAILURES."""
    return outcome.code if isinstance(outcome, Failure) else type(outcome).__name__.lower()


def _file(rendition: Rendition, claim: Claim) -> File:
    return File(
        variant=rendition.variant,
        width=rendition.width,
        height=rendition.height,
        bytes=len(rendition.data),
        sha256=hashlib.sha256(rendition.data).hexdigest(),
        format=rendition.format,
        quality=rendition.quality,
        fits=rendition.fits,
        set_width=rendition.set_width,
        revision=claim.revision or 1,
        attempt=claim.attempt,
    )
