"""The arq adapter: stock arq's job runner under leases of seconds.

arq's `Worker` keeps its way of running a job: function table, time limit, context, cancelling. What it takes
from the queue and gives back goes through jobs/queue.py instead, so that each job has one fenced owner:

* `main` waits for a doorbell instead of polling every half second, and renews the leases of what it runs;
* `start_jobs` is one claim of as many jobs as there are free slots;
* `finish_job` hands the outcome to the queue, which takes it only from the lease's owner.

Written against arq 0.28, which is in maintenance; tests hold the overridden signatures against it.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import orjson
from arq.connections import ArqRedis
from arq.worker import Worker, func

from imgsvc.jobs.queue import JOB_FUNCTION, Alive, Claim, Queue, QueueUnavailableError
from imgsvc.jobs.record import Failure, Outcome, Postponed
from imgsvc.problems import JOB_FAILURES
from imgsvc.settings import Settings

log = logging.getLogger(__name__)

TICK_S = 0.5
"""How long a lost doorbell, or a lapsed lease, can go unnoticed."""

JOB_TIMEOUT_S = 300
"""The longest that one attempt may take, whatever it waits for."""

GIVE_BACK_S = 3
"""How long a stopping worker tries to give back what it could not finish; after that its leases lapse."""

_NEVER = 2**31  # arq's own count of tries: the queue's counts are the ones that matter


class LeasedWorker(Worker):
    """Runs `perform` for each job that it can lease, at most `slots` at once."""

    def __init__(
        self,
        queue: Queue,
        perform: Callable[[Claim], Awaitable[Outcome]],
        *,
        slots: int,
        sandbox: str,
        settings: Settings,
    ) -> None:
        self._queue = queue
        self._perform = perform
        self._me = Alive(secrets.token_hex(4), sandbox)
        self._claims: dict[str, Claim] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._bell = asyncio.Event()
        self._renew_s = settings.lease_s / 3
        self._drain_s = settings.drain_s
        super().__init__(
            functions=[func(self._run, name=JOB_FUNCTION, timeout=JOB_TIMEOUT_S, keep_result=0)],
            redis_pool=ArqRedis(queue.connections),
            max_jobs=slots,
            max_tries=_NEVER,
            handle_signals=False,
            job_serializer=orjson.dumps,
            job_deserializer=orjson.loads,
            log_results=False,
        )

    async def main(self) -> None:
        """Claims and runs jobs until `stop`, then gives those under way `drain_s` seconds and the rest back."""
        helpers = [asyncio.create_task(self._renew()), asyncio.create_task(self._listen())]
        try:
            while self.allow_pick_jobs:
                self._bell.clear()
                await self._poll_iteration()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._bell.wait(), TICK_S)
            await self._drain()
        finally:
            left = [*helpers, *self.tasks.values()]
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=GIVE_BACK_S)

    def stop(self) -> None:
        """Claims nothing more; `main` returns when the jobs under way are done."""
        self.allow_pick_jobs = False
        self._bell.set()

    async def _poll_iteration(self) -> None:
        free = self.max_jobs - len(self.tasks)
        if free == 0:
            return
        try:
            claims = await self._queue.claim(self._me.name, free)
        except QueueUnavailableError as error:
            log.warning("cannot claim: %r", error.__cause__)
            return
        for claim in claims:
            if claim.id in self.tasks:  # we froze, our lease lapsed, and nobody else wanted the job: go on with it
                self._claims[claim.id] = claim
            else:
                self._start(claim)

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
        claim = self._claims[job_id]
        # arq cancelled it (shutdown, lost lease) where there is neither an outcome nor an end
        stopped = Postponed(0) if not finish else Failure("internal_error", JOB_FAILURES["internal_error"])
        outcome = self._outcomes.pop(job_id, stopped)
        while True:
            try:
                if isinstance(outcome, Postponed):
                    owned = await self._queue.release(claim, outcome.delay_s)
                else:
                    owned = await self._queue.finish(claim, outcome)
            except QueueUnavailableError as error:
                log.warning("cannot finish %s: %r", job_id, error.__cause__)
                await asyncio.sleep(TICK_S)
            else:
                break
        if not owned:
            log.warning("%s was no longer ours: its outcome counts for nothing", job_id)

    async def finish_failed_job(self, job_id: str, result_data: bytes | None) -> None:
        """Ends a job that arq could not even start: no body, a body it cannot read, an unknown function."""
        await self.finish_job(job_id, True, None, None, False, None, None)

    def _start(self, claim: Claim) -> None:
        self._claims[claim.id] = claim
        task = self.loop.create_task(self.run_job(claim.id, 1))
        self.tasks[claim.id] = task
        task.add_done_callback(lambda done: self._ended(claim, done))

    def _ended(self, claim: Claim, task: asyncio.Task[Any]) -> None:
        del self.tasks[claim.id], self._claims[claim.id]
        if not task.cancelled() and (error := task.exception()):
            log.error("%s: arq failed; another attempt follows when its lease lapses", claim.id, exc_info=error)
        self._bell.set()  # a slot is free

    async def _run(self, ctx: dict[Any, Any]) -> None:
        """What arq runs as the job. Nothing leaves it but a cancellation."""
        claim = self._claims[ctx["job_id"]]
        try:
            self._outcomes[claim.id] = await self._perform(claim)
        except asyncio.CancelledError:
            raise
        except BaseException:
            log.exception("%s failed", claim.id)
            self._outcomes[claim.id] = Failure("internal_error", JOB_FAILURES["internal_error"])

    async def _renew(self) -> None:
        while True:
            tokens = {claim.id: claim.token for claim in self._claims.values()}
            try:
                for job_id in await self._queue.renew(self._me, tokens):
                    self._revoke(job_id)
            except QueueUnavailableError as error:
                log.warning("cannot renew %d leases: %r", len(tokens), error.__cause__)
            await asyncio.sleep(self._renew_s)

    async def _listen(self) -> None:
        async for revoked in self._queue.signals():
            if revoked is None:
                self._bell.set()
            else:
                self._revoke(revoked)

    def _revoke(self, job_id: str) -> None:
        if job_id in self.tasks:
            log.info("%s was taken back", job_id)
            self.tasks[job_id].cancel()

    async def _drain(self) -> None:
        if not self.tasks:
            return
        log.info("finishing %d jobs, for %g s at most", len(self.tasks), self._drain_s)
        await asyncio.wait(self.tasks.values(), timeout=self._drain_s)
