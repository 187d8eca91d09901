"""Redis moves: another server becomes primary, the way to it forgets idle connections, its clock jumps (R12 to R14)."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from imgsvc.domain.options import Options
from imgsvc.jobs import connections
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.types import Admission, WorkerInfo
from imgsvc.local.ports import free_port
from imgsvc.local.servers import Valkey
from tests.support.chaos_valkey import (
    PHOTO,
    SWEEPING,
    configured,
    environment_of,
    load,
    post,
    redis_of,
    tally,
    timed,
    until_accepted,
)
from tests.support.fault_proxy import Proxy
from tests.support.ledger import Ledger
from tests.support.service import Servers, Service, settings_of, until
from tests.support.submissions import submission
from tests.test_queue import SUCCESS

FAILOVER_S = 10.0
"""What a failover may cost, at most."""


@asynccontextmanager
async def pair(folder: Path) -> AsyncGenerator[tuple[Valkey, Valkey]]:
    """A primary and its replica, in sync."""
    primary, replica = (Valkey(folder / name, port=free_port()) for name in ("primary", "replica"))
    try:
        await asyncio.gather(primary.start(), replica.start())
        follow(replica, primary)
        with client(replica) as redis:
            await until(lambda: info(redis)["master_link_status"] == "up")
        yield primary, replica
    finally:
        await asyncio.gather(primary.stop(), replica.stop())


def client(valkey: Valkey) -> Redis:
    return Redis.from_url(valkey.url)


def info(redis: Redis) -> dict[str, Any]:
    answer: Any = redis.info("replication")
    return answer


def password(valkey: Valkey) -> str:
    return valkey.url.partition("@")[0].rpartition(":")[2]


def follow(replica: Valkey, primary: Valkey) -> None:
    with client(replica) as redis:
        redis.config_set("masterauth", password(primary))
        redis.replicaof("127.0.0.1", str(primary.port))


@pytest.mark.parametrize("follows", [True, False], ids=["follows-the-new-one", "stands-alone"])
async def test_r12_a_primary_that_is_demoted_costs_seconds_and_no_acknowledged_upload(
    servers: Servers, tmp_path: Path, follows: bool
) -> None:
    """Connections to the old primary stay open; a name leads new ones to the new primary."""
    async with pair(tmp_path) as (old, new), Proxy.to("127.0.0.1", old.port) as proxy:
        environment = servers.environment() | {"IMGSVC_REDIS_URL": proxy.url(old.url)}
        with client(new) as redis:
            redis.config_set("requirepass", password(old))
        async with Service.start(environment, workers=2, decoders=1, **SWEEPING) as service:
            ledger = Ledger(service)
            async with load(ledger) as entries:
                await until_accepted(entries, 15)
                with client(old) as was, client(old) as _:
                    was.execute_command("CLIENT", "PAUSE", "1000", "WRITE")  # as a coordinated failover does
                    with Redis.from_url(old.url.replace(str(old.port), str(new.port))) as becomes:
                        await until(lambda: info(becomes)["slave_repl_offset"] >= info(was)["master_repl_offset"])
                        becomes.replicaof("NO", "ONE")
                        proxy.lead_to(new.port)
                        begin = monotonic()
                        if follows:
                            was.config_set("masterauth", password(old))
                        was.replicaof("127.0.0.1", str(new.port if follows else free_port()))
                before = sum(entry.status == 202 for entry in entries)
                await until_accepted(entries, before + 1)
                accepted_s = monotonic() - begin
                await service.ended(entries[-1].id if entries[-1].status == 202 else ledger.accepted[-1].id)
                done_s = monotonic() - begin
                await until_accepted(entries, before + 15)
            await service.until_ready(2)
            await ledger.settle()
            print(f"accepted again after {accepted_s:.2f} s, done {done_s:.2f} s; {tally(entries)}; none lost")
            assert max(accepted_s, done_s) < FAILOVER_S


async def test_r12_while_no_primary_is_to_be_had_the_service_is_not_ready_and_says_why(
    servers: Servers, tmp_path: Path
) -> None:
    async with pair(tmp_path) as (old, _):
        environment = servers.environment() | {"IMGSVC_REDIS_URL": old.url}
        async with Service.start(environment, workers=1, decoders=1) as service:
            upload_id = await service.upload(PHOTO)
            await service.ended(upload_id)
            with client(old) as redis:
                redis.replicaof("127.0.0.1", str(free_port()))
                ready = await service.until_not_ready()
                refused = await service.post(PHOTO)
                redis.replicaof("NO", "ONE")
                _, seconds = await timed(service.until_ready(1))
            assert (await service.ended(await service.upload(PHOTO)))["status"] == "SUCCESS"
    assert "is a replica" in ready.json()["checks"]["queue"]["error"]
    assert (refused.status_code, refused.json()["code"]) == (503, "queue_unavailable")
    print(f"ready {seconds:.2f} s after it is primary again")


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [("maxmemory", 1, "no memory left"), ("min-replicas-to-write", 1, "min-replicas-to-write")],
)
async def test_r12_while_writes_are_refused_the_service_is_not_ready_and_says_why(
    servers: Servers, valkey: Valkey, setting: str, value: int, says: str
) -> None:
    environment = environment_of(servers, valkey)
    async with Service.start(environment, workers=0) as service:
        with redis_of(environment) as redis, configured(redis, setting, value):
            ready = await service.until_not_ready()
            metrics = await service.client.get("/metrics")
        await service.until_ready(0)
    assert says in ready.json()["checks"]["queue"]["error"]
    assert metrics.status_code == 200


async def test_r12_who_listens_to_a_primary_that_is_none_any_more_finds_out(
    servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The subscription is all that leads to the old one, which is there, answers, and never says anything again."""
    monkeypatch.setattr(connections, "QUIET_S", 0.3)
    async with pair(tmp_path) as (old, new), Proxy.to("127.0.0.1", old.port) as proxy:
        with client(new) as redis:
            redis.config_set("requirepass", password(old))
        settings = settings_of(servers.environment() | {"IMGSVC_REDIS_URL": proxy.url(old.url)})
        async with Queue.open(settings) as listener, Queue.open(settings) as speaker:
            heard = listener.changes()
            assert await anext(heard) is None
            with Redis.from_url(old.url.replace(str(old.port), str(new.port))) as becomes:
                becomes.replicaof("NO", "ONE")
            proxy.lead_to(new.port)
            async with asyncio.timeout(FAILOVER_S):
                assert await anext(heard) is None, "it listens anew"
            upload_id = str(uuid4())

            async def speak() -> None:
                await speaker.reserve(upload_id)
                await speaker.submit(submission(upload_id))

            with client(old) as was:
                was.replicaof("127.0.0.1", str(free_port()))
            await speak()
            async with asyncio.timeout(FAILOVER_S):
                while await anext(heard) != upload_id:
                    pass
            await heard.aclose()


@pytest.mark.parametrize("idle_s", [0.0, 30.0], ids=["not-yet-replaced", "idle-for-long"])
async def test_r13_connections_that_the_way_has_forgotten_cost_no_upload(
    servers: Servers, valkey: Valkey, monkeypatch: pytest.MonkeyPatch, idle_s: float
) -> None:
    """What was open leads nowhere, and nobody is told; new connections work. The first calls are twelve at once."""
    environment = environment_of(servers, valkey)
    monkeypatch.setattr(connections, "IDLE_S", 0.0 if idle_s else 600.0)
    async with Proxy.to("127.0.0.1", valkey.port) as proxy:
        settings = settings_of(environment | {"IMGSVC_REDIS_URL": proxy.url(environment["IMGSVC_REDIS_URL"])})
        async with Queue.open(settings) as queue:

            async def reserve() -> Admission:
                return (await queue.reserve(str(uuid4()))).admission

            assert set(await asyncio.gather(*(reserve() for _ in range(12)))) == {Admission.RESERVED}
            proxy.forget()
            admitted, seconds = await timed(asyncio.gather(*(reserve() for _ in range(12))))
            _, again_s = await timed(reserve())
            print(f"twelve at once took {seconds:.2f} s, the next one {again_s * 1000:.1f} ms")
    assert set(admitted) == {Admission.RESERVED}
    assert seconds < (settings.redis_timeout_s if idle_s else 2 * settings.redis_timeout_s)


async def test_r13_uploads_after_a_forgotten_idle_hour_are_accepted(servers: Servers, valkey: Valkey) -> None:
    environment = environment_of(servers, valkey)
    async with Proxy.to("127.0.0.1", valkey.port) as proxy:
        environment["IMGSVC_REDIS_URL"] = proxy.url(environment["IMGSVC_REDIS_URL"])
        async with Service.start(environment, decoders=1) as service:
            ledger = Ledger(service)
            await service.ended((await post(ledger, PHOTO)).id)
            proxy.forget()
            entries = await asyncio.gather(*(post(ledger, PHOTO) for _ in range(12)))
            assert [entry.status for entry in entries] == [202] * 12
            print(f"the slowest of 12 was answered after {max(entry.seconds for entry in entries):.2f} s")
            await ledger.settle()


FAKETIME = next(iter(Path("/usr").glob("lib/*/faketime/libfaketime.so.1")), None)


class SkewedValkey(Valkey):
    """One whose clock a test sets."""

    def set_clock(self, ahead_s: float) -> None:
        path = self.folder / "clock"
        path.with_suffix(".new").write_text(f"{ahead_s:+f}")
        path.with_suffix(".new").rename(path)

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self.folder / "clock"),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


@asynccontextmanager
async def skewed(folder: Path) -> AsyncGenerator[SkewedValkey]:
    if FAKETIME is None:
        pytest.skip("libfaketime is not installed (apt install faketime)")
    valkey = SkewedValkey(folder / "skewed", port=free_port())
    valkey.folder.mkdir(parents=True)
    valkey.set_clock(0)
    await valkey.start()
    try:
        with client(valkey) as redis:
            before: Any = redis.time()
            valkey.set_clock(-3600)
            after: Any = redis.time()
            valkey.set_clock(0)
        if after[0] > before[0] - 3000:
            pytest.skip("libfaketime does not work on this Valkey")
        yield valkey
    finally:
        await valkey.stop()


MOVES: dict[str, Callable[[int], float]] = {
    "back an hour": lambda _: -3600.0,
    "forward an hour": lambda _: 3600.0,
    "back in small steps": lambda step: -0.7 * step,
    "back and forth": lambda step: -3600.0 * (step % 2),
}


@pytest.mark.parametrize("move", MOVES)
async def test_r14_whatever_waits_is_due_however_the_clock_of_redis_moves(
    servers: Servers, tmp_path: Path, move: str
) -> None:
    """A waiting job, the job of a dead worker, a cancelled upload's sweep and a webhook; and the census of them."""
    async with skewed(tmp_path) as valkey:
        settings = settings_of(servers.environment() | {"IMGSVC_REDIS_URL": valkey.url, "IMGSVC_LEASE_S": "1"})
        async with Queue.open(settings) as queue:

            async def submitted(webhook_url: str | None = None) -> str:
                upload_id = str(uuid4())
                await queue.reserve(upload_id)
                await queue.submit(replace(submission(upload_id), options=Options(webhook_url=webhook_url)))
                return upload_id

            dead, told, swept = await submitted(), await submitted("http://localhost/"), await submitted()
            claims = {claim.id: claim for claim in await queue.claim("dies", 3)}
            await queue.renew(WorkerInfo("dies", "full"), {})
            assert await queue.finish(claims[told], SUCCESS)
            assert await queue.cancel(swept)
            waiting = [await submitted() for _ in range(3)]
            for step in range(1, 11):
                valkey.set_clock(MOVES[move](step))
                await queue.stats()
            stood = await queue.stats()
            assert stood.waiting >= 3, stood

            found: dict[str, set[str]] = {"claimed": set(), "swept": set(), "told": set()}

            async def all_came() -> bool:
                found["claimed"] |= {claim.id for claim in await queue.claim("w1", 10)}
                found["swept"] |= {item.id for item in await queue.sweep(10)}
                found["told"] |= {delivery.id for delivery in await queue.deliveries.claim(10)}
                return found == {"claimed": {dead, *waiting}, "swept": {swept}, "told": {told}}

            seconds = await until(all_came)
            print(f"{move}: all of it within {seconds:.1f} s")


async def test_r14_an_upload_under_way_survives_a_clock_set_forward(servers: Servers, tmp_path: Path) -> None:
    async with skewed(tmp_path) as valkey:
        settings = settings_of(servers.environment() | {"IMGSVC_REDIS_URL": valkey.url})
        async with Queue.open(settings) as queue:
            upload_id = str(uuid4())
            await queue.reserve(upload_id)
            valkey.set_clock(3600)
            assert await queue.sweep(10) == []
            await queue.submit(submission(upload_id))
            (claim,) = await queue.claim("w1", 1)
            valkey.set_clock(7200)
            assert await queue.claim("w2", 1) == [], "its worker had no chance to renew"
            assert await queue.finish(claim, SUCCESS)


async def test_r14_the_rate_of_an_owner_is_right_after_the_clock_was_set_back(servers: Servers, tmp_path: Path) -> None:
    async with skewed(tmp_path) as valkey:
        bound = {"IMGSVC_REDIS_URL": valkey.url, "IMGSVC_RATE_LIMIT": "60"}
        async with Queue.open(settings_of(servers.environment() | bound)) as queue:
            for _ in range(50):
                assert (await queue.reserve(str(uuid4()))).admission == Admission.RESERVED
            valkey.set_clock(-3600)
            assert (await queue.reserve(str(uuid4()))).admission == Admission.RESERVED
            refused = [await queue.reserve(str(uuid4())) for _ in range(20)]
    waits = [answer.wait_s for answer in refused if answer.admission == Admission.RATE_LIMITED]
    assert waits
    assert max(waits) <= 2
