"""What the service promises while its Redis is down, frozen, full, evicting or emptied (rows R2, R4, R6 to R10)."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import contextmanager
from time import monotonic
from uuid import uuid4

import psutil
import pytest
import pytest_asyncio

from imgsvc.local.servers import Valkey
from imgsvc.runtime.settings import MIB
from tests.support.chaos_valkey import (
    AGAIN_S,
    LEASE_S,
    PHOTO,
    SMALL,
    SWEEPING,
    TICK_S,
    configured,
    disconnect_all,
    environment_of,
    has_struck,
    killed,
    load,
    post,
    redis_of,
    tally,
    timed,
    until_accepted,
)
from tests.support.fault_proxy import NONE, Fault, Proxy, script
from tests.support.ledger import Ledger
from tests.support.service import Servers, Service, freeze, leftovers, resume_decoders, thaw, until

REDIS_TIMEOUT_S = 1.5  # of one call, by default


@pytest.fixture
def environment(servers: Servers, valkey: Valkey) -> dict[str, str]:
    return environment_of(servers, valkey)


@pytest_asyncio.fixture(scope="module")
async def workers_proxy(valkey: Valkey) -> AsyncGenerator[Proxy]:
    async with Proxy.to("127.0.0.1", valkey.port, seed=1) as proxy:
        yield proxy


@pytest_asyncio.fixture(scope="module")
async def lasting(servers: Servers, valkey: Valkey, workers_proxy: Proxy) -> AsyncGenerator[Ledger]:
    """One service that lives through several rows; its worker has a proxy to itself."""
    environment = environment_of(servers, valkey)
    async with Service.start(environment, workers=0, lease_s=LEASE_S, decoders=1, **SWEEPING) as service:
        service.environment["IMGSVC_REDIS_URL"] = workers_proxy.url(environment["IMGSVC_REDIS_URL"])
        await service.start_worker()
        service.environment["IMGSVC_REDIS_URL"] = environment["IMGSVC_REDIS_URL"]
        await service.until_ready(1)
        yield Ledger(service)


@pytest.fixture
def ledger(lasting: Ledger, workers_proxy: Proxy) -> Generator[Ledger]:
    yield lasting
    workers_proxy.fault = NONE


@contextmanager
def frozen(valkey: Valkey) -> Generator[None]:
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(valkey.pid, signal.SIGCONT)


async def accepts(ledger: Ledger) -> bool:
    return (await post(ledger, SMALL)).status == 202


async def being_received(environment: Mapping[str, str]) -> bool:
    with redis_of(environment) as redis:
        return redis.zcard("imgsvc:sweep") == 1


async def answer_to_headers_alone(service: Service) -> tuple[int, dict[str, str]]:
    """What an upload is told of which not one byte of the body was sent: status and headers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(
        b"POST /upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nContent-Length: 9999\r\n\r\n"
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head[0].split()[1]), {
        name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])
    }


async def ask_all(service: Service, upload_id: str, file_url: str) -> dict[str, tuple[int, float]]:
    """Status and seconds of every kind of call, all made at once."""
    calls = {
        "upload": service.post(SMALL),
        "status": service.client.get(f"/upload/{upload_id}/status"),
        "file": service.client.get(file_url),
        "healthz": service.client.get("/healthz"),
        "readyz": service.client.get("/readyz"),
    }
    answers = await asyncio.gather(*(timed(call) for call in calls.values()))
    return {name: (answer.status_code, seconds) for name, (answer, seconds) in zip(calls, answers, strict=True)}


AWAY = {"upload": 503, "status": 503, "file": 200, "healthz": 200, "readyz": 503}


async def while_away(service: Service, down_s: float, upload_id: str, file_url: str) -> float:
    """Asks again and again while Redis is away; returns the longest that one answer took."""
    longest = 0.0
    begin = monotonic()
    while monotonic() - begin < down_s:
        answers = await ask_all(service, upload_id, file_url)
        assert {name: status for name, (status, _) in answers.items()} == AWAY
        longest = max(longest, *(seconds for _, seconds in answers.values()))
        await asyncio.sleep(0.1)
    return longest


def memory(pid: int) -> float:
    """Resident, in MiB."""
    return psutil.Process(pid).memory_info().rss / MIB


async def test_r2_a_redis_that_is_down_is_said_before_the_body_is_read(
    ledger: Ledger, valkey: Valkey, full_length: bool
) -> None:
    down_s = 30.0 if full_length else 2.0
    service = ledger.service
    entry = await post(ledger, PHOTO)
    file_url = (await service.result(entry.id))["result"]["thumbnail"]
    async with killed(valkey):
        before = memory(service.api.pid)
        (status, headers), seconds = await timed(answer_to_headers_alone(service))
        longest_s = await while_away(service, down_s, entry.id, file_url)
        grown = memory(service.api.pid) - before
    _, back_s = await timed(service.until_ready(1))
    await post(ledger, PHOTO)
    await ledger.settle()
    print(f"503 to the headers alone after {seconds * 1000:.0f} ms, longest call {longest_s:.2f} s, ", end="")
    print(f"API {grown:+.1f} MiB, ready {back_s:.2f} s after it is up")
    assert status == 503
    assert int(headers["retry-after"]) > 0
    assert max(seconds, longest_s) < 4 * REDIS_TIMEOUT_S
    assert grown < 10


async def test_r4_a_frozen_redis_hangs_nobody(ledger: Ledger, valkey: Valkey, full_length: bool) -> None:
    frozen_s = 10.0 if full_length else 2.0
    service = ledger.service
    entry = await post(ledger, PHOTO)
    file_url = (await service.result(entry.id))["result"]["thumbnail"]
    half_sent = asyncio.Event()

    async def body() -> AsyncGenerator[bytes]:
        yield PHOTO[:9999]
        await half_sent.wait()
        yield PHOTO[9999:]

    headers = {"content-type": "image/jpeg"}
    late = asyncio.create_task(service.client.post("/upload", content=body(), headers=headers))
    await until(lambda: being_received(service.environment))
    with frozen(valkey):
        half_sent.set()
        longest_s = await while_away(service, frozen_s, entry.id, file_url)
        answer, late_s = await timed(late)
    await service.until_ready(1)
    await post(ledger, PHOTO)
    await ledger.settle()  # the upload that was refused became no job, though Redis found its submit when it woke
    print(f"longest call {longest_s:.2f} s")
    assert (answer.status_code, answer.json()["code"]) == (503, "queue_unavailable")
    assert max(longest_s, late_s) <= 6


@pytest.mark.parametrize(("name", "cuts", "attempts"), [("claim", 1, 2), ("finish", 2, 1)])
async def test_r6_a_cut_on_the_reply_of_a_claim_or_an_end_costs_a_lease_at_most(
    ledger: Ledger, workers_proxy: Proxy, name: str, cuts: int, attempts: int
) -> None:
    service = ledger.service
    (worker,) = service.workers
    freeze(worker)  # so that its next claim is one of this job
    entry = await post(ledger, PHOTO)
    workers_proxy.fault = Fault(on=script(name), times=cuts, drop_reply=True)
    thaw(worker)
    status, seconds = await timed(service.ended(entry.id))
    await until(has_struck(workers_proxy, cuts))  # an end is told again until its reply comes
    print(f"cut on {name}: done after {seconds:.2f} s, attempt {status['attempt']}")
    assert status["attempt"] == attempts
    assert seconds < AGAIN_S
    await ledger.settle()
    assert await service.status(entry.id) == status


async def test_r6_a_job_goes_on_while_the_renewals_of_its_lease_are_cut(ledger: Ledger, workers_proxy: Proxy) -> None:
    service = ledger.service
    entry = await ledger.rendering()
    attempts: list[int] = []
    for fault in (Fault(on=script("renew"), drop_reply=True), Fault(on=script("renew"), cut_after=0)):
        workers_proxy.fault = fault
        await until(has_struck(workers_proxy, 5))  # longer than a lease
        attempts.append((await service.status(entry.id))["attempt"])
    workers_proxy.fault = NONE
    resume_decoders(service.workers[0])
    _, seconds = await timed(service.ended(entry.id))
    print(f"attempts {attempts}, done {seconds:.2f} s after the last cut")
    assert attempts[0] == 1, "Redis heard its renewals"
    assert seconds < AGAIN_S
    await ledger.settle()


async def test_r7_a_redis_that_is_full_refuses_uploads_and_lets_running_jobs_finish(ledger: Ledger) -> None:
    service = ledger.service
    entry = await ledger.rendering()
    with redis_of(service.environment) as redis, configured(redis, "maxmemory", 1):
        refused = await post(ledger, PHOTO)
        resume_decoders(service.workers[0])
        status, seconds = await timed(service.ended(entry.id))
    await until(lambda: accepts(ledger))
    await ledger.settle()
    print(f"a running job ended in {status['status']} after {seconds:.2f} s with no memory left")
    assert (refused.status, refused.code) == (503, "queue_unavailable")
    assert status["attempt"] == 1


async def test_r8_a_redis_that_may_throw_jobs_away_is_not_worked_with_until_it_is_set_right(
    capfd: pytest.CaptureFixture[str], environment: dict[str, str]
) -> None:
    async with Service.start(environment, lease_s=LEASE_S) as service:
        ledger = Ledger(service)
        await service.ended((await post(ledger, PHOTO)).id)
        with redis_of(environment) as redis:
            with configured(redis, "maxmemory-policy", "allkeys-lru"):
                disconnect_all(redis)
                refused = [await post(ledger, PHOTO) for _ in range(5)]
                ready = await service.client.get("/readyz")
                nobody = str(uuid4())
                redis.zadd("imgsvc:jobs", {nobody: 1})  # a claim would drop it, since there is no such upload
                await asyncio.sleep(3 * TICK_S)
                assert redis.zscore("imgsvc:jobs", nobody) is not None, "nothing is claimed"
            _, seconds = await timed(service.until_ready(1))
        await post(ledger, PHOTO)
        await ledger.settle()
    errors = capfd.readouterr().err.splitlines()
    lines = [line for line in errors if "imgsvc.jobs.exchange" in line and "maxmemory-policy" in line]
    print("\n".join(lines), f"ready {seconds:.2f} s after it is set right", sep="\n")
    assert {(entry.status, entry.code) for entry in refused} == {(503, "queue_unavailable")}
    assert ready.status_code == 503
    assert "noeviction" in ready.json()["checks"]["queue"]["error"]
    assert len(lines) == 2, "one of the API, one of the worker"


async def test_r9_a_redis_that_is_emptied_crashes_nothing(environment: dict[str, str]) -> None:
    async with Service.start(environment, decoders=1, **SWEEPING) as service:
        ledger = Ledger(service)
        running = await ledger.rendering()
        async with load(ledger) as entries:
            await until_accepted(entries, 10)
            with redis_of(environment) as redis:
                redis.flushdb()  # all that is this service's
            lost = [*ledger.accepted]
        resume_decoders(service.workers[0])
        for entry in lost:
            answer = await service.client.get(f"/upload/{entry.id}/status")
            assert (answer.status_code, answer.json()["code"]) in {(404, "not_found"), (410, "expired")}

        async def swept() -> bool:
            left = await asyncio.to_thread(leftovers, environment)
            return not any(running.id in key for key in left["objects"])

        seconds = await until(swept)
        assert (await service.ended((await post(ledger, PHOTO)).id))["status"] == "SUCCESS"
        assert all(child.running for child in (service.api, *service.workers))
        print(f"{tally(entries)}; what a running job left was swept after {seconds:.2f} s")


async def test_r10_scripts_that_redis_forgets_are_loaded_again(ledger: Ledger) -> None:
    flushed = 0
    with redis_of(ledger.service.environment) as redis:
        async with load(ledger) as entries:
            while len(entries) < 30:
                redis.script_flush()
                flushed += 1
                await asyncio.sleep(0.02)
    await ledger.settle()
    print(f"{tally(entries)} while the scripts were forgotten {flushed} times")
    assert tally(entries).keys() == {202}
