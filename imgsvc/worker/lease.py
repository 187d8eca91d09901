"""The arq adapter: stock arq's job runner under leases of seconds.

arq's `Worker` keeps its way of running a job: function table, time limit, context, cancelling. Claiming
and releasing go through jobs/queue.py instead, so that each job has a single fenced owner:

* `main` waits for a doorbell instead of polling every half second, and renews the leases of what it runs;
* while something that jobs need is unavailable, nothing is claimed;
* `start_jobs` is one claim of as many jobs as there are free slots;
* all jobs have the same body, which is made here: what is to be done is in the job's record;
* `finish_job` passes the outcome to the queue, which accepts it only from the lease's owner.

Written against arq 0.28, which is in maintenance; tests compare the overridden signatures with it.
"""

import asyncio
import logging
import os
import random
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from time import monotonic, time
from typing import Any, cast

import orjson
from arq.worker import Worker, func

from imgsvc.domain.problems import JOB_FAILURES
from imgsvc.jobs.exchange import QueueUnavailableError
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Failure, Fetched, Held, Outcome, Postponed
from imgsvc.jobs.types import Claim, WorkerInfo
from imgsvc.runtime import logs
from imgsvc.runtime.metrics import WorkerMetrics
from imgsvc.runtime.processes import process_name
from imgsvc.runtime.settings import Settings

log = logging.getLogger(__name__)

TICK_S = 0.5
"""Seconds for which a lost doorbell or a lapsed lease can go unnoticed."""

JOB_TIMEOUT_S = 300
"""Seconds that an attempt may take, waiting included."""

PROBE_S = (0.6, 1.0)
"""Bounds, in seconds, of the random pause before probing again for what is unavailable."""

RELEASE_S = 3
"""Seconds for which a stopping worker tries to release unfinished jobs; after that their leases lapse."""

_FUNCTION = "process"
_NEVER = 2**31  # disables arq's own count of tries: the queue counts deliveries


def new_name() -> str:
    """Returns what operators and the records of its jobs know a worker by: another name for each start."""
    return f"{process_name(os.getpid()) or ''}-{secrets.token_hex(4)}"


class LeasedWorker(Worker):
    """Runs `perform` for each job that it can lease, at most `slots` at once.

    Once `perform` has postponed a job for a reason that holds for all jobs, none is claimed until `can_perform` returns
    True.
    """

    def __init__(
        self,
        queue: Queue,
        perform: Callable[[Claim], Awaitable[Outcome]],
        can_perform: Callable[[], Awaitable[bool]],
        *,
        slots: int,
        sandbox: str,
        settings: Settings,
        metrics: WorkerMetrics,
        name: str = "",
    ) -> None:
        self._queue = queue
        self._perform = perform
        self._can_perform = can_perform
        self._metrics = metrics
        self._info = WorkerInfo(name or new_name(), sandbox)
        self._claims: dict[str, Claim] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._ending: set[str] = set()  # their outcome is being sent to the queue, which decides whether it counts
        self._bell = asyncio.Event()
        self._renew_s = settings.lease_s / 3
        self._renewed_at = 0.0
        self._probe_at: float | None = None
        self._drain_s = settings.drain_s
        super().__init__(
            functions=[func(self._run, name=_FUNCTION, timeout=JOB_TIMEOUT_S, keep_result=0)],
            redis_pool=cast("Any", _Bodies()),
            max_jobs=slots,
            max_tries=_NEVER,
            handle_signals=False,
            job_serializer=_no_result,
            job_deserializer=orjson.loads,
            log_results=False,
        )

    async def main(self) -> None:
        """Claims and runs jobs until `stop`; then waits `drain_s` seconds for running jobs and releases the others."""
        self._renewed_at = monotonic()
        # a worker that can no longer renew leases or receive signals must not continue
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(self._renew()), group.create_task(self._listen())]
            try:
                while self.allow_pick_jobs:
                    self._bell.clear()
                    await self._poll_iteration()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(TICK_S):  # wait_for may drop a cancellation before Python 3.12
                            await self._bell.wait()
                await self._drain()
            finally:
                left = [*helpers, *self.tasks.values()]
                for task in left:
                    task.cancel()
                await asyncio.wait(left, timeout=RELEASE_S)
                await self._leave()

    def stop(self) -> None:
        """Stops claiming; `main` returns when the running jobs are done."""
        self.allow_pick_jobs = False
        self._bell.set()

    async def _poll_iteration(self) -> None:
        free = self.max_jobs - len(self.tasks)
        if free == 0 or not await self._can_claim():
            return
        try:
            if monotonic() - self._renewed_at > 2 * self._renew_s:  # this process was frozen, or Redis was unavailable
                await self._renew_leases()
                # other workers renew theirs too, before a lapsed lease costs its job a delivery
                await asyncio.sleep(TICK_S)
            claims = await self._claim_due(free)
        except QueueUnavailableError:
            return
        for claim in claims:
            await self._take(claim)

    async def _claim_due(self, free: int) -> list[Claim]:
        return await self._queue.claim(self._info.name, free, self._log_exhausted)

    async def _take(self, claim: Claim) -> None:
        current = self._claims.get(claim.id)
        if claim.id not in self.tasks:
            self._start(claim)
        elif current and claim.lapsed == current.token:  # no other worker has claimed the job: it goes on
            self._claims[claim.id] = claim
        else:  # it was cancelled and retried: the running attempt no longer counts, and its files are cleared
            self._revoke(claim.id)
            with suppress(QueueUnavailableError):
                await self._queue.release(claim, TICK_S)

    async def _can_claim(self) -> bool:
        """Returns False after a job was postponed, until what it lacked is available again."""
        if self._probe_at is None:
            return True
        if monotonic() < self._probe_at:
            return False
        if await self._can_perform():
            log.info("claiming jobs again")
            self._probe_at = None
        else:
            self._probe_at = _next_probe()
        return self._probe_at is None

    async def finish_job(
        self,
        job_id: str,
        finish: bool,
        result_data: bytes | None,
        result_timeout_s: float | None,
        keep_result_forever: bool,
        incr_score: int | None,
        keep_in_progress: float | None,
    ) -> None:
        """Finishes or releases a job, and repeats that until Redis answers: nothing else has the outcome until then."""
        # without an outcome and not finished: arq cancelled it (shutdown, lost lease)
        stopped = Postponed(0) if not finish else Failure("internal_error", JOB_FAILURES["internal_error"])
        outcome, claim = self._outcomes.pop(job_id, stopped), self._claims[job_id]
        self._ending.add(job_id)
        try:
            owned = await self._report(claim, outcome)
        finally:
            self._ending.discard(job_id)
            self._claims.pop(job_id, None)
        if owned and not isinstance(outcome, Postponed | Fetched | Held):
            self._metrics.ended(outcome.code if isinstance(outcome, Failure) else "success")
        if not owned:
            log.warning("%s: the lease was lost, the outcome is dropped", job_id)

    async def _report(self, claim: Claim, outcome: Outcome) -> bool:
        while True:
            claim = self._claims.get(claim.id, claim)  # this worker may have claimed it anew meanwhile
            with suppress(QueueUnavailableError):
                return await self._finish(claim, outcome)
            await asyncio.sleep(TICK_S)

    async def _finish(self, claim: Claim, outcome: Outcome) -> bool:
        """Hands an outcome to the queue. Returns whether the lease was still held."""
        if isinstance(outcome, Postponed):
            return await self._queue.release(claim, outcome.delay_s)
        if isinstance(outcome, Held):
            return await self._queue.hold(claim)
        assert not isinstance(outcome, Fetched), "the outcome of another stage"
        return await self._queue.finish(claim, outcome)

    async def finish_failed_job(self, job_id: str, result_data: bytes | None) -> None:
        """Finishes a job that arq could not start."""
        await self.finish_job(job_id, True, None, None, False, None, None)

    def _start(self, claim: Claim) -> None:
        self._claims[claim.id] = claim
        task = self.loop.create_task(self._job(claim))
        self.tasks[claim.id] = task
        task.add_done_callback(lambda done: self._ended(claim, done))

    def _log_exhausted(self, job_id: str) -> None:
        self._metrics.ended("attempts_exhausted")
        log.error("%s has failed: its workers died too often", job_id, extra=logs.fields(upload_id=job_id))

    async def _job(self, claim: Claim) -> None:
        """One job from its claim to its end."""
        logs.bind(upload_id=claim.id)
        try:
            await self.run_job(claim.id, 1)
        except asyncio.CancelledError:
            if claim.id in self._claims and claim.id not in self._ending:  # arq had not begun it
                self._outcomes[claim.id] = Postponed(TICK_S)
                await self.finish_job(claim.id, False, None, None, False, None, None)
            raise

    def _ended(self, claim: Claim, task: asyncio.Task[Any]) -> None:
        del self.tasks[claim.id]
        self._claims.pop(claim.id, None)
        if not task.cancelled() and (error := task.exception()):
            log.error("%s: arq failed; another attempt follows when its lease lapses", claim.id, exc_info=error)
        self._bell.set()  # a slot is free

    async def _run(self, ctx: dict[Any, Any]) -> None:
        """What arq runs as a job. Nothing leaves it but a cancellation."""
        claim = self._claims[ctx["job_id"]]
        logs.bind(request_id=claim.request_id or None)
        try:
            self._outcomes[claim.id] = outcome = await self._perform(claim)
        except asyncio.CancelledError:
            raise
        except BaseException:
            log.exception("%s failed", claim.id)
            self._outcomes[claim.id] = Failure("internal_error", JOB_FAILURES["internal_error"])
        else:
            if isinstance(outcome, Postponed) and not outcome.alone and self._probe_at is None:
                log.warning("no job is claimed until what jobs need is available again")
                self._probe_at = _next_probe()

    async def _renew(self) -> None:
        while True:
            with suppress(QueueUnavailableError):
                await self._renew_leases()
            late = monotonic() - self._renewed_at > self._renew_s
            await asyncio.sleep(min(TICK_S, self._renew_s) if late else self._renew_s)

    async def _renew_leases(self) -> None:
        tokens = {claim.id: claim.token for claim in self._claims.values()}
        for job_id in await self._renew_tokens(tokens):
            claim = self._claims.get(job_id)
            if claim and claim.token == tokens[job_id]:  # not claimed anew meanwhile
                self._revoke(job_id)
        self._renewed_at = monotonic()

    async def _renew_tokens(self, tokens: Mapping[str, str]) -> list[str]:
        """Renews leases, and lets the worker count as alive. Returns the ids of those that are lost."""
        return await self._queue.renew(self._info, tokens)

    async def _leave(self) -> None:
        """The worker no longer counts as alive."""
        with suppress(QueueUnavailableError):  # then its entry expires with its heartbeat
            await self._queue.leave(self._info)

    def _signals(self) -> AsyncGenerator[str | None]:
        return self._queue.signals()

    async def _listen(self) -> None:
        async for revoked in self._signals():
            if revoked is None:
                self._bell.set()
            else:
                self._revoke(revoked)

    def _revoke(self, job_id: str) -> None:
        if job_id in self.tasks and job_id not in self._ending:
            log.info("%s: the lease was revoked", job_id)
            self.tasks[job_id].cancel()

    async def _drain(self) -> None:
        if not self.tasks:
            return
        log.info("waiting for %d running jobs, at most %g s", len(self.tasks), self._drain_s)
        await asyncio.wait(self.tasks.values(), timeout=self._drain_s)


class _Bodies:
    """Replaces Redis for arq's `run_job`, which reads a job's body and its number of tries."""

    default_queue_name = ""  # its queue is never read

    @asynccontextmanager
    async def pipeline(self, transaction: bool) -> AsyncGenerator["_Body"]:
        assert transaction
        yield _Body()


class _Body:
    def get(self, _: str) -> None: ...
    def incr(self, _: str) -> None: ...
    def expire(self, _key: str, _seconds: int) -> None: ...

    async def execute(self) -> tuple[bytes, int, bool]:
        """Returns a job as arq 0.28 reads it: function, arguments, keyword arguments, try, time of enqueueing."""
        return orjson.dumps({"f": _FUNCTION, "a": [], "k": {}, "t": None, "et": round(time() * 1000)}), 1, True


def _no_result(_: object) -> bytes:
    """Serializes no result: the queue stores outcomes itself, and an exception has no JSON."""
    return b""


def _next_probe() -> float:
    return monotonic() + random.uniform(*PROBE_S)  # noqa: S311 (no secret)
