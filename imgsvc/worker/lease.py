"""The arq adapter: stock arq's job runner under leases of seconds.

arq's `Worker` keeps its way of running a job: function table, time limit, context, cancelling. What it takes
from the queue and gives back goes through jobs/queue.py instead, so that each job has one fenced owner:

* `main` waits for a doorbell instead of polling every half second, and renews the leases of what it runs;
* while something that jobs need is away, nothing is claimed;
* `start_jobs` is one claim of as many jobs as there are free slots;
* the body of a job is the same for all of them, and comes from here: what is to be done stands in its record;
* `finish_job` hands the outcome to the queue, which takes it only from the lease's owner.

Written against arq 0.28, which is in maintenance; tests hold the overridden signatures against it.
"""

import asyncio
import logging
import os
import random
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from time import monotonic, time
from typing import Any, cast

import orjson
from arq.worker import Worker, func

from imgsvc.domain.problems import JOB_FAILURES
from imgsvc.jobs.queue import Queue, QueueUnavailableError
from imgsvc.jobs.record import Failure, Outcome, Postponed
from imgsvc.jobs.types import Claim, WorkerInfo
from imgsvc.runtime import logs
from imgsvc.runtime.metrics import WorkerMetrics
from imgsvc.runtime.processes import process_name
from imgsvc.runtime.settings import Settings

log = logging.getLogger(__name__)

TICK_S = 0.5
"""How long a lost doorbell, or a lapsed lease, can go unnoticed."""

JOB_TIMEOUT_S = 300
"""The longest that one attempt may take, whatever it waits for."""

PROBE_S = (0.6, 1.0)
"""How long to wait, at random between these, before asking again for what is away."""

GIVE_BACK_S = 3
"""How long a stopping worker tries to give back what it could not finish; after that its leases lapse."""

_FUNCTION = "process"
_NEVER = 2**31  # arq's own count of tries: the queue's counts are the ones that matter


class LeasedWorker(Worker):
    """Runs `perform` for each job that it can lease, at most `slots` at once.

    Once `perform` has postponed a job, and not it alone, no other is claimed until `can_perform` says that it makes
    sense again.
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
    ) -> None:
        self._queue = queue
        self._perform = perform
        self._can_perform = can_perform
        self._metrics = metrics
        self._me = WorkerInfo(f"{process_name(os.getpid()) or ''}-{secrets.token_hex(4)}", sandbox)
        self._claims: dict[str, Claim] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._ending: set[str] = set()  # their outcome is on its way to the queue, which alone judges it
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
            job_serializer=_nothing,
            job_deserializer=orjson.loads,
            log_results=False,
        )

    async def main(self) -> None:
        """Claims and runs jobs until `stop`, then gives those under way `drain_s` seconds and the rest back."""
        self._renewed_at = monotonic()
        async with asyncio.TaskGroup() as group:  # a worker that cannot renew or hear any more must not go on
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
                await asyncio.wait(left, timeout=GIVE_BACK_S)
                with suppress(QueueUnavailableError):  # then it is forgotten when its heartbeat lapses
                    await self._queue.leave(self._me)

    def stop(self) -> None:
        """Claims nothing more; `main` returns when the jobs under way are done."""
        self.allow_pick_jobs = False
        self._bell.set()

    async def _poll_iteration(self) -> None:
        free = self.max_jobs - len(self.tasks)
        if free == 0 or not await self._is_able():
            return
        try:
            if monotonic() - self._renewed_at > 2 * self._renew_s:  # we froze, or Redis was away
                await self._renew_leases()
                await asyncio.sleep(TICK_S)  # others renew theirs too, before a lapsed one costs its job a delivery
            claims = await self._queue.claim(self._me.name, free, self._given_up)
        except QueueUnavailableError:
            return
        for claim in claims:
            await self._take(claim)

    async def _take(self, claim: Claim) -> None:
        ours = self._claims.get(claim.id)
        if claim.id not in self.tasks:
            self._start(claim)
        elif ours and claim.lapsed == ours.token:  # nobody else wanted the job: go on with it
            self._claims[claim.id] = claim
        else:  # it was cancelled and retried, and what we are at counts for nothing: its files are cleared
            self._revoke(claim.id)
            with suppress(QueueUnavailableError):
                await self._queue.release(claim, TICK_S)

    async def _is_able(self) -> bool:
        """False from a postponed job on, until what it lacked is there again."""
        if self._probe_at is None:
            return True
        if monotonic() < self._probe_at:
            return False
        if await self._can_perform():
            log.info("claiming again")
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
        """Ends or gives back a job, as often as it takes: until Redis answers, its outcome is only here."""
        # arq cancelled it (shutdown, lost lease) where there is neither an outcome nor an end
        stopped = Postponed(0) if not finish else Failure("internal_error", JOB_FAILURES["internal_error"])
        outcome, claim = self._outcomes.pop(job_id, stopped), self._claims[job_id]
        self._ending.add(job_id)
        try:
            owned = await self._tell(claim, outcome)
        finally:
            self._ending.discard(job_id)
            self._claims.pop(job_id, None)
        if owned and not isinstance(outcome, Postponed):
            self._metrics.ended(outcome.code if isinstance(outcome, Failure) else "success")
        if not owned:
            log.warning("%s was no longer ours: its outcome counts for nothing", job_id)

    async def _tell(self, claim: Claim, outcome: Outcome) -> bool:
        while True:
            claim = self._claims.get(claim.id, claim)  # it may have been claimed anew meanwhile, by ourselves
            with suppress(QueueUnavailableError):
                if isinstance(outcome, Postponed):
                    return await self._queue.release(claim, outcome.delay_s)
                return await self._queue.finish(claim, outcome)
            await asyncio.sleep(TICK_S)

    async def finish_failed_job(self, job_id: str, result_data: bytes | None) -> None:
        """Ends a job that arq could not even start."""
        await self.finish_job(job_id, True, None, None, False, None, None)

    def _start(self, claim: Claim) -> None:
        self._claims[claim.id] = claim
        task = self.loop.create_task(self._job(claim))
        self.tasks[claim.id] = task
        task.add_done_callback(lambda done: self._ended(claim, done))

    def _given_up(self, job_id: str) -> None:
        self._metrics.ended("attempts_exhausted")
        log.error("%s is given up: its workers died too often", job_id, extra=logs.fields(upload_id=job_id))

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
                log.warning("claiming nothing until what jobs need is there again")
                self._probe_at = _next_probe()

    async def _renew(self) -> None:
        while True:
            with suppress(QueueUnavailableError):
                await self._renew_leases()
            late = monotonic() - self._renewed_at > self._renew_s
            await asyncio.sleep(min(TICK_S, self._renew_s) if late else self._renew_s)

    async def _renew_leases(self) -> None:
        tokens = {claim.id: claim.token for claim in self._claims.values()}
        for job_id in await self._queue.renew(self._me, tokens):
            claim = self._claims.get(job_id)
            if claim and claim.token == tokens[job_id]:  # not claimed anew since we asked
                self._revoke(job_id)
        self._renewed_at = monotonic()

    async def _listen(self) -> None:
        async for revoked in self._queue.signals():
            if revoked is None:
                self._bell.set()
            else:
                self._revoke(revoked)

    def _revoke(self, job_id: str) -> None:
        if job_id in self.tasks and job_id not in self._ending:
            log.info("%s was taken back", job_id)
            self.tasks[job_id].cancel()

    async def _drain(self) -> None:
        if not self.tasks:
            return
        log.info("finishing %d jobs, for %g s at most", len(self.tasks), self._drain_s)
        await asyncio.wait(self.tasks.values(), timeout=self._drain_s)


class _Bodies:
    """All that arq's `run_job` asks of Redis: what the job's body is, and for the how many-th time it is run."""

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
        """A job as arq 0.28 reads it: function, arguments, keyword arguments, try, time of enqueueing."""
        return orjson.dumps({"f": _FUNCTION, "a": [], "k": {}, "t": None, "et": round(time() * 1000)}), 1, True


def _nothing(_: object) -> bytes:
    """What arq would keep of a job's end: the queue has its own, and no JSON for an exception."""
    return b""


def _next_probe() -> float:
    return monotonic() + random.uniform(*PROBE_S)  # noqa: S311 (no secret)
