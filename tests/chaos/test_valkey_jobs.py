"""No job is lost or ends twice, whether Redis dies, is cut off, or a clock is wrong (rows R1, R3, R5 and R11)."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from datetime import datetime
from time import time
from typing import Any

import pytest
import pytest_asyncio

from imgsvc.local.servers import Valkey
from tests.support.chaos_valkey import (
    AGAIN_S,
    LEASE_S,
    SMALL,
    SWEEPING,
    environment_of,
    has_struck,
    killed,
    load,
    post,
    tally,
    timed,
    until_accepted,
)
from tests.support.fault_proxy import NONE, Fault, Proxy, script
from tests.support.ledger import Ledger
from tests.support.service import Servers, Service, resume_decoders, suspend_decoders, until


@pytest.fixture
def environment(servers: Servers, valkey: Valkey) -> dict[str, str]:
    return environment_of(servers, valkey)


@pytest_asyncio.fixture
async def proxy(valkey: Valkey) -> AsyncGenerator[Proxy]:
    async with Proxy.to("127.0.0.1", valkey.port, seed=1) as proxy:
        yield proxy


def started_at(status: dict[str, Any]) -> float:
    return datetime.fromisoformat(status["started_at"]).timestamp()


async def test_r1_a_killed_redis_loses_no_acknowledged_job(environment: dict[str, str], valkey: Valkey) -> None:
    async with Service.start(environment, decoders=1, **SWEEPING) as service:
        ledger = Ledger(service)
        suspend_decoders(service.workers[0])
        async with load(ledger) as entries:
            await until_accepted(entries, 20)
            async with killed(valkey):
                resume_decoders(service.workers[0])  # what it was at is done while Redis is away
                await asyncio.sleep(2)
            up_at = time()
            await service.until_ready(1)
        await ledger.settle()
        starts = [started_at(await service.status(entry.id)) for entry in ledger.accepted]
        first_claim_s = min(start for start in starts if start > up_at) - up_at
        print(f"first claim {first_claim_s:.2f} s after Redis is up; {tally(entries)}; none lost")
        assert first_claim_s < 5 * 1.0
        assert tally(entries).keys() == {202, "queue_unavailable"}


async def test_r3_a_worker_cut_off_for_longer_than_its_lease_ends_nothing(
    environment: dict[str, str], proxy: Proxy
) -> None:
    async with Service.start(environment, workers=0, lease_s=LEASE_S, decoders=1) as service:
        direct = service.environment["IMGSVC_REDIS_URL"]
        service.environment["IMGSVC_REDIS_URL"] = proxy.url(direct)
        lonely = await service.start_worker()
        await service.until_ready(1)
        ledger = Ledger(service)
        entry = await ledger.rendering()
        proxy.refuse()
        service.environment["IMGSVC_REDIS_URL"] = direct
        await service.start_worker()
        first = await service.ended(entry.id)
        resume_decoders(lonely)  # it does its work, and has nobody to tell
        await proxy.accept()
        await service.until_ready(2)
        assert await lonely.stop(30) == 0, "it got rid of its outcome"
        assert await service.status(entry.id) == first
        assert first["attempt"] == 2
        await ledger.settle()


async def test_r3_jobs_that_run_through_an_outage_longer_than_a_lease_end_once(
    environment: dict[str, str], valkey: Valkey
) -> None:
    async with Service.start(environment, workers=2, lease_s=LEASE_S, decoders=1, **SWEEPING) as service:
        ledger = Ledger(service)
        for worker in service.workers:
            suspend_decoders(worker)
        entries = [await post(ledger, SMALL) for _ in range(8)]  # more than the two take at once
        for entry in entries[:6]:
            await service.until_status(entry.id, "PROGRESS")
        async with killed(valkey):
            await asyncio.sleep(3 * LEASE_S)
            for worker in service.workers:
                resume_decoders(worker)
        await ledger.settle()
        attempts = Counter([(await service.status(entry.id))["attempt"] for entry in entries])
        print(f"jobs by attempts: {dict(attempts)}")


async def test_r5_a_cut_before_the_reply_of_reserve_or_submit_loses_nothing_in_silence(
    environment: dict[str, str], proxy: Proxy, full_length: bool
) -> None:
    cuts_of_each = 100 if full_length else 30
    environment["IMGSVC_REDIS_URL"] = proxy.url(environment["IMGSVC_REDIS_URL"])
    async with Service.start(environment, **SWEEPING) as service:
        ledger = Ledger(service)
        cuts = 0
        for name in ("reserve", "submit"):
            proxy.fault = Fault(on=script(name), share=0.6, drop_reply=True)
            async with load(ledger, clients=2):
                await until(has_struck(proxy, cuts_of_each))
            cuts += proxy.struck
        proxy.fault = NONE
        await ledger.settle()
        answers = tally(ledger.entries)
        print(f"{cuts} cuts in {len(ledger.entries)} uploads: {answers}, silent losses 0")
        assert answers.keys() == {202, "queue_unavailable"}, "repeated, or refused where that was cut too"


@pytest.mark.parametrize("hours", [1, -1])
async def test_r11_a_workers_wrong_clock_matters_to_no_lease(environment: dict[str, str], hours: int) -> None:
    async with Service.start(environment, workers=0, lease_s=LEASE_S, decoders=1) as service:
        doomed = await service.start_worker("tests.support.hooks.skewed", str(3600 * hours))
        await service.until_ready(1)
        ledger = Ledger(service)
        entry = await ledger.rendering()
        await service.start_worker("tests.support.hooks.skewed", str(-3600 * hours))
        await service.until_ready(2)
        await asyncio.sleep(2 * LEASE_S)
        assert (await service.status(entry.id))["attempt"] == 1, "a lease that is renewed is not taken"
        await doomed.kill()
        status, seconds = await timed(service.ended(entry.id))
        print(f"clock {hours:+} h: redelivered and done {seconds:.2f} s after its worker's end")
        assert status["attempt"] == 2
        assert seconds < AGAIN_S
        await ledger.settle()
