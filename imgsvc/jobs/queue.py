"""The job queue: every move of an upload is one Lua script, run by Redis without interruption.

Each script opens with what it guarantees, and common.lua draws the keys; the methods here hand a script its arguments.
All raise QueueUnavailableError where Redis does not answer, or refuses.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import astuple
from itertools import chain
from time import perf_counter
from typing import Self

import orjson
from redis.asyncio import Redis

from imgsvc.domain.options import Options, changes_of, pack
from imgsvc.jobs.administration import Administration
from imgsvc.jobs.deliveries import Deliveries
from imgsvc.jobs.exchange import Exchange, QueueUnavailableError
from imgsvc.jobs.fetches import EXHAUSTED, MAX_DELIVERIES, Fetches
from imgsvc.jobs.record import Derived, Failure, Record, Submission, Success
from imgsvc.jobs.resumable import Transfers
from imgsvc.jobs.rows import flat
from imgsvc.jobs.types import (
    Admission,
    Cancelled,
    Claim,
    FetchStats,
    Obsolete,
    Page,
    Query,
    QueueStats,
    Reservation,
    SweepItem,
    WorkerInfo,
    reservation,
)
from imgsvc.runtime import logs
from imgsvc.runtime.metrics import Dependency
from imgsvc.runtime.owners import OwnersTable
from imgsvc.runtime.settings import Settings

IDEMPOTENCY_TTL_S = 24 * 3600
_OWNERS_TTL_MS = 24 * 3600 * 1000
"""How long Redis keeps limits of owners before a claim is asked for them again."""

SWEEP_CLAIM_S = 60.0
"""How long one sweeper has for what it took, before another may take it."""


def _ignore(_: str) -> None:
    """The default callback: does nothing."""


class Queue:
    """The queue of one Redis. Open it once in the life of a process with `Queue.open`."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.deliveries = Deliveries(exchange)
        self.administration = Administration(exchange)
        self.fetches = Fetches(exchange)
        self.transfers = Transfers(exchange)
        self._settings = exchange.settings
        self._run = exchange.run

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: Settings, health: Dependency | None = None, owners: OwnersTable | None = None
    ) -> AsyncGenerator[Self]:
        """Connects on first use, so that a process can start before its Redis."""
        async with Exchange.open(settings, health, owners) as exchange:
            yield cls(exchange)

    async def reserve(
        self, upload_id: str, idempotency_key: str = "", *, owner: str = "", announced: int = 0, original: str = ""
    ) -> Reservation:
        """Admits an upload of `announced` bytes, or says why not. Extend it until it is submitted or aborted.

        An upload whose id clients know beforehand, by their upload token, may be tried several times, also at once:
        each try has a key of its own as its `original` (record.key_of_try), here and in all further calls.
        """
        args = (self._reservation_ms, self._settings.max_queued, idempotency_key, IDEMPOTENCY_TTL_S)
        limits = self.exchange.limits_of(owner)
        outcome, found, *rest = await self._run("reserve", upload_id, *args, owner, *limits, announced, original)
        return reservation(outcome, found.decode(), limits, rest)

    async def extend(self, upload_id: str, original: str = "") -> None:
        """Keeps the sweeper off an upload that is still being received, for another `reservation_ttl_s`."""
        await self._run("extend", upload_id, self._reservation_ms, original)

    async def abort(self, upload_id: str, original: str = "") -> None:
        """Makes sure that the upload, or this try of it, never becomes a job.

        Call `ack_sweep` once its objects are removed, unless it was one of several tries.
        """
        await self._run("abort", upload_id, original)

    async def submit(self, submission: Submission, original: str = "") -> None:
        """Queues the job of a reserved upload."""
        options = submission.options
        fields: dict[str, str | bytes] = {**pack(options), "request_id": _request_id()}
        if submission.source:
            fields["source"] = orjson.dumps(astuple(submission.source))
        if submission.url:
            fields["url"] = submission.url
        if submission.gated:
            fields["gate"] = "ask"
        expires_in_ms = "" if options.expires_in is None else options.expires_in * 1000
        size = submission.source.bytes if submission.source else ""
        if not await self._run("submit", submission.id, expires_in_ms, size, original, *flat(fields)):
            raise QueueUnavailableError  # Redis has lost the reservation, and so its other data

    async def claim(self, worker: str, slots: int, given_up: Callable[[str], None] = _ignore) -> list[Claim]:
        """Leases on due jobs, at most `slots`. `given_up` gets the id of each that too many deaths of workers ended."""
        owners = self.exchange.owners.current
        args = (worker, self._lease_ms, slots, MAX_DELIVERIES, EXHAUSTED, self._settings.record_ttl_s)
        answer = await self._run("claim", *args, owners.fingerprint)
        if answer is None:  # Redis does not know their limits, or no longer
            await self._run("know_owners", owners.fingerprint, _OWNERS_TTL_MS, *chain.from_iterable(owners.shares()))
            answer = await self._run("claim", *args, owners.fingerprint)
        rows, exhausted = answer or ([], [])
        for name in exhausted:
            given_up(name.decode())
        return [Claim(*(part.decode() for part in row)) for row in rows]

    async def renew(self, worker: WorkerInfo, tokens: Mapping[str, str]) -> list[str]:
        """Renews the leases of `tokens` (id → token); the ids that come back are lost."""
        lost = await self._run("renew", worker.heartbeat, self._lease_ms, *flat(tokens))
        return [name.decode() for name in lost]

    async def leave(self, worker: WorkerInfo) -> None:
        """The worker no longer counts as alive."""
        await self.exchange.ask(lambda redis: redis.zrem(self.exchange.name("workers"), worker.heartbeat))

    async def progress(self, claim: Claim, progress: int, step: str) -> None:
        await self._run("progress", claim.id, claim.token, progress, step)

    async def finish(self, claim: Claim, outcome: Success | Derived | Failure) -> bool:
        """Ends the job. False where the claim no longer owns it."""
        status, field = ("FAILURE", "failure") if isinstance(outcome, Failure) else ("SUCCESS", "success")
        made = outcome.success if isinstance(outcome, Derived) else outcome
        value = made.packed() if isinstance(made, Success) else orjson.dumps(astuple(made))
        args = (claim.id, claim.token, status, field, value, self._settings.record_ttl_s)
        replaced = outcome.replaced if isinstance(outcome, Derived) else ()
        return bool(await self._run("finish", *args, self._settings.replaced_ttl_s * 1000, *replaced))

    async def release(self, claim: Claim, delay_s: float = 0) -> bool:
        """Gives the job back. False where the claim no longer owns it."""
        return bool(await self._run("release", claim.id, claim.token, round(delay_s * 1000)))

    async def hold(self, claim: Claim) -> bool:
        """Holds the job back until it is released. False where the claim no longer owns it."""
        return bool(await self._run("hold", claim.id, claim.token))

    async def let_pass(self, upload_id: str, owner: str = "") -> bool | None:
        """Queues a job that is held back. False where it is not; None where the owner has no such upload."""
        answer = await self._run("let_pass", upload_id, owner, _request_id())
        return None if answer < 0 else bool(answer)

    async def cancel(self, upload_id: str, owner: str = "") -> Cancelled | None:
        """Ends the job, or the newest derivation, as CANCELLED; the files of a job are the caller's to clear.

        None where the owner has no such upload; ANY_OWNER has them all.
        """
        answer = await self._run("cancel", upload_id, owner, self._settings.record_ttl_s)
        return None if answer < 0 else Cancelled(answer)

    async def retry(self, upload_id: str, owner: str = "") -> Reservation | None:
        """Queues a failed or cancelled job again, unless its owner's limits refuse that as they would an upload of
        these bytes. None where the owner has no such upload.
        """
        limits = self.exchange.limits_of(owner)
        answer = await self._run("retry", upload_id, owner, _request_id(), *self._run_limits(limits))
        return _reservation(upload_id, limits, answer)

    async def derive(self, record: Record, wanted: Options, variants: Iterable[str]) -> Reservation | None:
        """Queues a derivation of `record` that makes `variants` with the options `wanted`, which the upload has once it
        has succeeded. The owner's limits count as for a retry.

        CHANGED if the upload is no longer as `record` is; CONFLICT if it has not succeeded, or a derivation has not
        ended yet. None where its owner no longer has it.
        """
        names, changes = orjson.dumps(list(variants)), orjson.dumps(changes_of(record.submitted, wanted))
        limits = self.exchange.limits_of(record.owner)
        args = (record.owner, _request_id(), *self._run_limits(limits), record.version, names, changes)
        return _reservation(record.id, limits, await self._run("derive", record.id, *args))

    async def change(self, record: Record, wanted: Options) -> Admission | None:
        """Changes the options of an upload of which nothing is made now. Answers as `derive` does."""
        changes = orjson.dumps(changes_of(record.submitted, wanted))
        answer = await self._run("change", record.id, record.owner, record.version, changes)
        return None if answer == b"UNKNOWN" else Admission(answer.decode())

    async def delete(self, upload_id: str, owner: str = "", *, has_files: bool = False) -> bool:
        """Deletes record and job. False if the owner (ANY_OWNER: any) has no such upload, unless it `has_files` and no
        record.
        """
        return bool(await self._run("delete", upload_id, owner, self._settings.tombstone_ttl_s, int(has_files)))

    async def is_deleted(self, upload_id: str) -> bool:
        return bool(await self.exchange.ask(lambda redis: redis.exists(self.exchange.name(f"deleted:{upload_id}"))))

    async def sweep(self, limit: int) -> list[SweepItem]:
        """Uploads to be cleared now; each is the caller's for SWEEP_CLAIM_S."""
        args = (round(SWEEP_CLAIM_S * 1000), limit, self._settings.record_ttl_s)
        return [SweepItem(name.decode(), what == b"all") for name, what in await self._run("sweep", *args)]

    async def ack_sweep(self, upload_id: str, *, is_final: bool = False) -> None:
        """Records that the upload's objects are removed. The sweeper looks again later, unless it `is_final`: no
        process can still write to it.
        """
        await self._run("ack_sweep", upload_id, int(is_final))

    async def obsolete(self, limit: int) -> list[Obsolete]:
        """Files to be removed now of uploads that stay; each is the caller's for SWEEP_CLAIM_S."""
        found = await self._run("obsolete", round(SWEEP_CLAIM_S * 1000), limit)
        return [Obsolete(member.decode()) for member in found]

    async def ack_obsolete(self, obsolete: Obsolete) -> None:
        """Records that the files are removed. Those that no record has are looked for again while more may come."""
        await self._run("ack_obsolete", obsolete.member)

    async def is_replaced(self, key: str) -> bool:
        """Returns whether a file was replaced, and is still served until its time is over."""
        return await self.exchange.ask(lambda redis: redis.zscore(self.exchange.name("obsolete"), key)) is not None

    async def get(self, upload_id: str) -> Record | None:
        (values,) = await self.read([upload_id])
        return Record.from_hash(upload_id, values)

    async def read(self, upload_ids: Sequence[str]) -> list[Mapping[bytes, bytes]]:
        """The hashes of records (Record.from_hash), in one round trip."""

        async def read(redis: Redis) -> list[Mapping[bytes, bytes]]:
            async with redis.pipeline(transaction=False) as pipe:
                for upload_id in upload_ids:
                    pipe.hgetall(self.exchange.name(f"upload:{upload_id}"))
                return await pipe.execute()

        return await self.exchange.ask(read)

    async def page(self, query: Query) -> Page:
        """Uploads of one owner, newest first."""
        rows: list[tuple[bytes, list[bytes]]]
        last, rows = await self._run("list", query.owner, query.limit, *(query.after or ("", "")), *query.statuses)
        hashes = {name.decode(): dict(zip(flat[::2], flat[1::2], strict=True)) for name, flat in rows}
        records = (Record.from_hash(upload_id, values) for upload_id, values in hashes.items())
        return Page(tuple(record for record in records if record), last and (last[0], last[1].decode()))

    async def stats(self, *, writes: bool = False) -> QueueStats:
        """How the queue stands. One that `writes` fails where Redis takes no writes, for whatever reason."""
        begin = perf_counter()
        answer = await self._run("stats", self._lease_ms, int(writes))
        waiting, leased, delayed, oldest_ms, webhooks, beats, fetches = answer
        workers = tuple(WorkerInfo(*beat.decode().split(" ", 1)) for beat in beats)
        latency_ms = round((perf_counter() - begin) * 1000, 2)
        return QueueStats(waiting, leased, delayed, oldest_ms, webhooks, workers, latency_ms, FetchStats(*fetches))

    def signals(self) -> AsyncGenerator[str | None]:
        """Signals to a worker: None when a job may be due, the id of a job that must be stopped.

        Never ends. Yields None after each connect, for signals that were missed.
        """
        return self.exchange.listen("doorbell", "revoked")

    def changes(self) -> AsyncGenerator[str | None]:
        """The id of each upload that changed for its readers.

        Never ends. Yields None after each connect, for changes that were missed.
        """
        return self.exchange.listen("events")

    @property
    def _lease_ms(self) -> int:
        return round(self._settings.lease_s * 1000)

    def _run_limits(self, limits: tuple[int, int]) -> tuple[int, int, int, int]:
        """What bounds one more run of an upload's job."""
        return self._settings.max_queued, *limits, self._settings.max_upload_bytes

    @property
    def _reservation_ms(self) -> int:
        return round(self._settings.reservation_ttl_s * 1000)


def _request_id() -> str:
    """The request that queues a job is named in its record until the job ends, for its worker's log."""
    return str(logs.bound("request_id") or "")


def _reservation(upload_id: str, limits: tuple[int, int], answer: tuple[bytes, *tuple[int, ...]]) -> Reservation | None:
    outcome, *rest = answer
    return None if outcome == b"UNKNOWN" else reservation(outcome, upload_id, limits, rest)
