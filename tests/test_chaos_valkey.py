"""What the service promises while its Redis dies, freezes, forgets, fills up or cannot be reached (rows R1 to R11)."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import datetime
from time import monotonic, time
from typing import Any
from uuid import uuid4

import psutil
import pytest
import pytest_asyncio
from redis import Redis

from imgsvc.embedded import Child, Valkey
from tests import images
from tests.chaos.ledger import Entry, Ledger
from tests.chaos.proxy import NONE, Fault, Proxy, script
from tests.service import Servers, Service, decoders, freeze, leftovers, thaw, until

pytestmark = pytest.mark.chaos

PHOTO = images.photo()
SMALL = images.photo(64, 48)
LEASE_S = 1.0
TICK_S = 0.5
REDIS_TIMEOUT_S = 1.5  # of one call, by default
SWEEPING: dict[str, Any] = {"reservation_ttl": 1, "sweep_interval_s": 0.2}
MIB = 1024 * 1024

Condition = Callable[[], Awaitable[bool]]


@pytest_asyncio.fixture(scope="module")
async def valkey(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Valkey]:
    """One that may be killed."""
    server = Valkey(tmp_path_factory.mktemp("valkey") / "valkey")
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def environment(servers: Servers, valkey: Valkey) -> dict[str, str]:
    return environment_of(servers, valkey)


@pytest_asyncio.fixture
async def proxy(valkey: Valkey) -> AsyncGenerator[Proxy]:
    async with Proxy.to("127.0.0.1", valkey.port, seed=1) as proxy:
        yield proxy


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


def environment_of(servers: Servers, valkey: Valkey) -> dict[str, str]:
    """Settings for one more service, in a database of its own of the Valkey that may be killed."""
    given = servers.environment()
    database = given["IMGSVC_REDIS_URL"].rpartition("/")[2]
    return given | {"IMGSVC_REDIS_URL": f"{valkey.url.rpartition('/')[0]}/{database}"}


def redis_of(environment: Mapping[str, str]) -> closing[Redis]:
    return closing(Redis.from_url(environment["IMGSVC_REDIS_URL"]))


@asynccontextmanager
async def killed(valkey: Valkey) -> AsyncGenerator[None]:
    """Gone as by `kill -9`; it is up again when the block is left."""
    await valkey.kill()
    try:
        yield
    finally:
        await valkey.start()


@contextmanager
def frozen(valkey: Valkey) -> Generator[None]:
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(valkey.pid, signal.SIGCONT)


@contextmanager
def configured(redis: Redis, name: str, value: object) -> Generator[None]:
    before: Any = redis.config_get(name)
    redis.config_set(name, value)  # pyright: ignore[reportArgumentType]
    try:
        yield
    finally:
        redis.config_set(name, before[name])


def suspend(worker: Child) -> None:
    for decoder in decoders(worker):
        decoder.suspend()


def resume(worker: Child) -> None:
    for decoder in decoders(worker):
        decoder.resume()


async def post(ledger: Ledger, data: bytes) -> Entry:
    """Uploads and books it. A body as small as ours is sent before the answer is awaited, so that none is missed."""
    answer, seconds = await timed(ledger.service.post(data))
    entry = Entry(data, answer.status_code, answer.json(), seconds)
    ledger.entries.append(entry)
    return entry


async def rendering(ledger: Ledger) -> Entry:
    """An upload whose job waits for its worker's decoders, which stand still until they are resumed."""
    service = ledger.service
    suspend(service.workers[0])
    entry = await post(ledger, PHOTO)

    async def at_the_decoder() -> bool:
        return (await service.status(entry.id))["step"] == "decode"

    await until(at_the_decoder)
    return entry


def has_struck(proxy: Proxy, count: int) -> Condition:
    async def condition() -> bool:
        return proxy.struck >= count

    return condition


async def accepts(ledger: Ledger) -> bool:
    return (await post(ledger, SMALL)).status == 202


async def being_received(environment: Mapping[str, str]) -> bool:
    with redis_of(environment) as redis:
        return redis.zcard("imgsvc:sweep") == 1


def disconnect_all(redis: Redis) -> None:
    for kind in ("normal", "pubsub"):
        redis.client_kill_filter(_type=kind, skipme=True)


@asynccontextmanager
async def load(ledger: Ledger, clients: int = 3) -> AsyncGenerator[list[Entry]]:
    """Uploads one after the other, until the block is left; hands out what becomes of them."""
    entries: list[Entry] = []
    going = True

    async def client() -> None:
        while going:
            entries.append(await post(ledger, SMALL))
            if entries[-1].status != 202:
                await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
        try:
            yield entries
        finally:
            going = False


async def until_accepted(entries: list[Entry], count: int) -> None:
    async def accepted() -> bool:
        return sum(entry.status == 202 for entry in entries) >= count

    await until(accepted)


def tally(entries: list[Entry]) -> Counter[str | int | None]:
    return Counter(entry.code or entry.status for entry in entries)


async def timed(call: Awaitable[Any]) -> tuple[Any, float]:
    begin = monotonic()
    return await call, monotonic() - begin


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


def started_at(status: dict[str, Any]) -> float:
    return datetime.fromisoformat(status["started_at"]).timestamp()


async def test_r1_a_killed_redis_loses_no_acknowledged_job(environment: dict[str, str], valkey: Valkey) -> None:
    async with Service.start(environment, decoders=1, **SWEEPING) as service:
        ledger = Ledger(service)
        suspend(service.workers[0])
        async with load(ledger) as entries:
            await until_accepted(entries, 20)
            async with killed(valkey):
                resume(service.workers[0])  # what it was at is done while Redis is away
                await asyncio.sleep(2)
            up_at = time()
            await service.until_ready(1)
        await ledger.settle()
        starts = [started_at(await service.status(entry.id)) for entry in ledger.accepted]
        first_claim_s = min(start for start in starts if start > up_at) - up_at
        print(f"first claim {first_claim_s:.2f} s after Redis is up; {tally(entries)}; none lost")
        assert first_claim_s < 2 * 1.0
        assert tally(entries).keys() == {202, "queue_unavailable"}


@pytest.mark.parametrize("down_s", [2.0, pytest.param(30.0, marks=pytest.mark.slow)])
async def test_r2_a_redis_that_is_down_is_said_before_the_body_is_read(
    ledger: Ledger, valkey: Valkey, down_s: float
) -> None:
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
    assert max(seconds, longest_s) < 2 * REDIS_TIMEOUT_S
    assert grown < 10


async def test_r3_a_worker_cut_off_for_longer_than_its_lease_ends_nothing(
    environment: dict[str, str], proxy: Proxy
) -> None:
    async with Service.start(environment, workers=0, lease_s=LEASE_S, decoders=1) as service:
        direct = service.environment["IMGSVC_REDIS_URL"]
        service.environment["IMGSVC_REDIS_URL"] = proxy.url(direct)
        lonely = await service.start_worker()
        await service.until_ready(1)
        ledger = Ledger(service)
        entry = await rendering(ledger)
        proxy.refuse()
        service.environment["IMGSVC_REDIS_URL"] = direct
        await service.start_worker()
        first = await service.ended(entry.id)
        resume(lonely)  # it does its work, and has nobody to tell
        await proxy.accept()
        await service.until_ready(2)
        assert await lonely.stop(10) == 0, "it got rid of its outcome"
        assert await service.status(entry.id) == first
        assert first["attempt"] == 2
        await ledger.settle()


async def test_r3_jobs_that_run_through_an_outage_longer_than_a_lease_end_once(
    environment: dict[str, str], valkey: Valkey
) -> None:
    async with Service.start(environment, workers=2, lease_s=LEASE_S, decoders=1, **SWEEPING) as service:
        ledger = Ledger(service)
        for worker in service.workers:
            suspend(worker)
        entries = [await post(ledger, SMALL) for _ in range(8)]  # more than the two take at once
        for entry in entries[:6]:
            await service.until_status(entry.id, "PROGRESS")
        async with killed(valkey):
            await asyncio.sleep(3 * LEASE_S)
            for worker in service.workers:
                resume(worker)
        await ledger.settle()
        attempts = Counter([(await service.status(entry.id))["attempt"] for entry in entries])
        print(f"jobs by attempts: {dict(attempts)}")


@pytest.mark.parametrize("frozen_s", [2.0, pytest.param(10.0, marks=pytest.mark.slow)])
async def test_r4_a_frozen_redis_hangs_nobody(ledger: Ledger, valkey: Valkey, frozen_s: float) -> None:
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


@pytest.mark.parametrize("cuts_of_each", [30, pytest.param(100, marks=pytest.mark.slow)])
async def test_r5_a_cut_before_the_reply_of_reserve_or_submit_loses_nothing_in_silence(
    environment: dict[str, str], proxy: Proxy, cuts_of_each: int
) -> None:
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
    assert seconds < 2 * (LEASE_S + TICK_S)
    await ledger.settle()
    assert await service.status(entry.id) == status


async def test_r6_a_job_goes_on_while_the_renewals_of_its_lease_are_cut(ledger: Ledger, workers_proxy: Proxy) -> None:
    service = ledger.service
    entry = await rendering(ledger)
    attempts: list[int] = []
    for fault in (Fault(on=script("renew"), drop_reply=True), Fault(on=script("renew"), cut_after=0)):
        workers_proxy.fault = fault
        await until(has_struck(workers_proxy, 5))  # longer than a lease
        attempts.append((await service.status(entry.id))["attempt"])
    workers_proxy.fault = NONE
    resume(service.workers[0])
    _, seconds = await timed(service.ended(entry.id))
    print(f"attempts {attempts}, done {seconds:.2f} s after the last cut")
    assert attempts[0] == 1, "Redis heard its renewals"
    assert seconds < 2 * (LEASE_S + TICK_S)
    await ledger.settle()


async def test_r7_a_redis_that_is_full_refuses_uploads_and_lets_running_jobs_finish(ledger: Ledger) -> None:
    service = ledger.service
    entry = await rendering(ledger)
    with redis_of(service.environment) as redis, configured(redis, "maxmemory", 1):
        refused = await post(ledger, PHOTO)
        resume(service.workers[0])
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
                redis.zadd("imgsvc:queue", {nobody: 1})  # a claim would drop it, since there is no such upload
                await asyncio.sleep(3 * TICK_S)
                assert redis.zscore("imgsvc:queue", nobody) is not None, "nothing is claimed"
            _, seconds = await timed(service.until_ready(1))
        await post(ledger, PHOTO)
        await ledger.settle()
    errors = capfd.readouterr().err.splitlines()
    lines = [line for line in errors if "imgsvc.jobs.queue" in line and "maxmemory-policy" in line]
    print("\n".join(lines), f"ready {seconds:.2f} s after it is set right", sep="\n")
    assert {(entry.status, entry.code) for entry in refused} == {(503, "queue_unavailable")}
    assert ready.status_code == 503
    assert "noeviction" in ready.json()["checks"]["queue"]["error"]
    assert len(lines) == 2, "one of the API, one of the worker"


async def test_r9_a_redis_that_is_emptied_crashes_nothing(environment: dict[str, str]) -> None:
    async with Service.start(environment, decoders=1, **SWEEPING) as service:
        ledger = Ledger(service)
        running = await rendering(ledger)
        async with load(ledger) as entries:
            await until_accepted(entries, 10)
            with redis_of(environment) as redis:
                redis.flushdb()  # all that is this service's
            lost = [*ledger.accepted]
        resume(service.workers[0])
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


@pytest.mark.parametrize("hours", [1, pytest.param(-1, marks=pytest.mark.slow)])
async def test_r11_a_workers_wrong_clock_matters_to_no_lease(environment: dict[str, str], hours: int) -> None:
    async with Service.start(environment, workers=0, lease_s=LEASE_S, decoders=1) as service:
        doomed = await service.start_worker("tests.hooks.skewed", str(3600 * hours))
        await service.until_ready(1)
        ledger = Ledger(service)
        entry = await rendering(ledger)
        await service.start_worker("tests.hooks.skewed", str(-3600 * hours))
        await service.until_ready(2)
        await asyncio.sleep(2 * LEASE_S)
        assert (await service.status(entry.id))["attempt"] == 1, "a lease that is renewed is not taken"
        await doomed.kill()
        status, seconds = await timed(service.ended(entry.id))
        print(f"clock {hours:+} h: redelivered and done {seconds:.2f} s after its worker's end")
        assert status["attempt"] == 2
        assert seconds < 2 * (LEASE_S + TICK_S)
        await ledger.settle()
