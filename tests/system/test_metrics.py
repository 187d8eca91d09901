"""/metrics: what it tells is what happened, and it answers whatever is away."""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from imgsvc.api.app import ROUTES
from imgsvc.api.service import SCRAPE_S
from imgsvc.jobs.queue import Queue
from imgsvc.local.ports import free_port
from imgsvc.runtime.metrics import ApiMetrics, Depth, WorkerMetrics
from imgsvc.worker.exposition import MAX_CONNECTIONS
from tests.support import images
from tests.support.fault_proxy import NONE, Fault, Proxy
from tests.support.service import DEADLINE_S, Servers, Service, begun, decoders, settings_of, until
from tests.support.submissions import submission

PHOTO = images.photo()
OPERATING = Path(__file__).parent.parent.parent / ".github" / "OPERATING.md"


class Scrape:
    """The samples of one answer, by name and labels."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples.get((f"imgsvc_{name}", frozenset(labels.items())))

    def labels(self, name: str) -> set[str]:
        """All values that the label `name` has."""
        return {value for _, labels in self.samples for label, value in labels if label == name}


async def scrape(url: str) -> Scrape:
    async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
        answer = await client.get(f"{url}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Scrape(answer.text)


@asynccontextmanager
async def watched(environment: Mapping[str, str], **settings: Any) -> AsyncGenerator[tuple[Service, str]]:
    """A service, and where its worker tells its metrics."""
    port = free_port()
    async with Service.start(environment, metrics_port=port, decoders=1, **settings) as service:
        yield service, f"http://127.0.0.1:{port}"


async def test_the_api_tells_its_requests_by_route_and_of_the_queue(servers: Servers) -> None:
    async with Service.start(servers.environment()) as service:
        upload_id = await service.upload(PHOTO)
        await service.ended(upload_id)
        for number in range(20):
            await service.client.get(f"/nothing/{number}")
        await service.client.post(f"/upload/{upload_id}/cancel")  # it has ended: this cancels nothing
        told = await scrape(service.url)
    assert told.value("http_request_seconds_count", route="/upload", status="2xx") == 1
    assert told.value("jobs_ended_total", code="cancelled") == 0
    assert told.value("http_request_seconds_count", route="none", status="4xx") == 20
    assert told.labels("route") <= {route.path_format for route in ROUTES} | {"none"}
    assert {state: told.value("queue_jobs", state=state) for state in ("waiting", "leased", "delayed")} == {
        "waiting": 0,
        "leased": 0,
        "delayed": 0,
    }
    assert (told.value("queue_oldest_waiting_seconds"), told.value("workers"), told.value("webhooks")) == (0, 1, 0)
    assert told.value("uploads_in_flight") == 0
    for dependency in ("queue", "storage"):
        assert told.value("up", dependency=dependency) == 1
        assert (told.value("dependency_seconds_count", dependency=dependency) or 0) > 0
        assert told.value("dependency_failures_total", dependency=dependency) == 0
    assert told.labels("role") == {"api"}
    assert ("process_resident_memory_bytes", frozenset[tuple[str, str]]()) in told.samples
    assert upload_id not in told.text


@pytest_asyncio.fixture(scope="module")
async def alone(servers: Servers) -> AsyncGenerator[Service]:
    """An API without workers, for tests that leave no job waiting."""
    async with Service.start(servers.environment(), workers=0) as started:
        yield started


async def test_a_job_that_nobody_takes_grows_old(alone: Service) -> None:
    upload_id = await alone.upload(PHOTO)
    first = await scrape(alone.url)

    async def older() -> bool:
        now = await scrape(alone.url)
        return (now.value("queue_oldest_waiting_seconds") or 0) > 0.2

    await until(older)
    assert (first.value("queue_jobs", state="waiting"), first.value("workers")) == (1, 0)
    await alone.client.delete(f"/upload/{upload_id}")


async def test_a_job_that_its_client_cancels_is_counted_once(alone: Service) -> None:
    upload_id = await alone.upload(PHOTO)
    before = (await scrape(alone.url)).value("jobs_ended_total", code="cancelled") or 0
    answers = [await alone.client.post(f"/upload/{upload_id}/cancel") for _ in range(2)]
    told = await scrape(alone.url)
    assert [answer.status_code for answer in answers] == [200, 409]
    assert told.value("jobs_ended_total", code="cancelled") == before + 1


async def test_the_queues_states_are_told_apart(servers: Servers) -> None:
    async with Queue.open(settings_of(servers.environment())) as queue:
        for name in ("waiting", "leased", "delayed"):
            await queue.reserve(name)
            await queue.submit(submission(name))
        claims = {claim.id: claim for claim in await queue.claim("w1", 3)}
        await queue.release(claims["waiting"])
        await queue.release(claims["delayed"], delay_s=2)
        census = await queue.stats()
        assert (census.waiting, census.leased, census.delayed, census.queued) == (1, 1, 1, 3)


async def test_an_upload_under_way_is_in_flight(alone: Service) -> None:
    async def in_flight() -> bool:
        return (await scrape(alone.url)).value("uploads_in_flight") == 1

    reader, writer = await asyncio.open_connection("127.0.0.1", alone.port)
    head = "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: 9000\r\n\r\n"
    writer.write(head.encode() + PHOTO[:1000])
    await until(in_flight)
    writer.close()
    assert not await asyncio.wait_for(reader.read(), DEADLINE_S)


async def test_a_worker_tells_steps_ends_and_what_its_decoders_died_of(servers: Servers) -> None:
    async with watched(servers.environment()) as (service, url):
        await service.ended(await service.upload(PHOTO))
        await service.ended(await service.upload(PHOTO[: len(PHOTO) // 2]))
        (decoder,) = decoders(service.workers[0])
        upload_id = await begun(service)
        busy = await scrape(url)
        decoder.kill()
        await service.ended(upload_id)
        told = await scrape(url)
    assert busy.value("jobs_in_flight") == 1
    assert told.value("jobs_in_flight") == 0
    ends = {code: told.value("jobs_ended_total", code=code) for code in told.labels("code")}
    assert {code: count for code, count in ends.items() if count} == {"success": 2, "decode_failed": 1}
    assert "attempts_exhausted" in ends, (
        "a rate does not see the first value of a series, so each is there from the start"
    )
    steps = {step: told.value("job_step_seconds_count", step=step) for step in told.labels("step")}
    assert steps == {"download": 0, "gate": 0, "fetch": 3, "decode": 3, "store": 2}
    deaths = {cause: told.value("decoder_restarts_total", cause=cause) for cause in told.labels("cause")}
    assert {cause: count for cause, count in deaths.items() if count} == {"oom": 1}, "what else the kernel kills for"
    assert told.value("up", dependency="storage") == 1
    assert told.labels("role") == {"worker"}


async def test_a_job_that_is_begun_again_is_counted_and_keeps_its_requests_id(
    capfd: pytest.CaptureFixture[str], servers: Servers
) -> None:
    async with watched(servers.environment(), lease_s=1) as (service, url):
        upload_id = await begun(service)
        await service.workers[0].kill()
        await service.start_worker()
        await service.ended(upload_id)
        told = await scrape(url)
    assert told.value("job_starts_total", attempt="again") == 1
    assert told.value("job_starts_total", attempt="first") == 0
    errors = capfd.readouterr().err.splitlines()
    (upload,) = [line for line in errors if '"route":"/upload"' in line]
    (job,) = [line for line in errors if '"message":"job"' in line]
    request_id = re.compile(r'"request_id":"(\w+)"')
    assert request_id.findall(job) == request_id.findall(upload)
    assert '"attempt":2' in job


@pytest_asyncio.fixture(scope="module")
async def behind(servers: Servers) -> AsyncGenerator[tuple[Service, dict[str, Proxy]]]:
    """An API, and what stands between it and Redis (the queue) and S3 (the storage)."""
    environment = servers.environment()
    settings = {"queue": "IMGSVC_REDIS_URL", "storage": "IMGSVC_S3_ENDPOINT_URL"}
    async with AsyncExitStack() as stack:
        proxies: dict[str, Proxy] = {}
        for name, setting in settings.items():
            proxies[name] = await stack.enter_async_context(
                Proxy.to("127.0.0.1", urlsplit(environment[setting]).port or 0)
            )
            environment |= {setting: proxies[name].url(environment[setting])}
        # their own deadlines come too late to be the reason
        service = Service.start(environment, workers=0, redis_timeout_s=20, s3_timeout_s=20)
        yield await stack.enter_async_context(service), proxies


@pytest.mark.parametrize("how", ["refuses", "is silent"])
@pytest.mark.parametrize("away", ["queue", "storage"])
async def test_metrics_are_told_at_once_while_a_server_is_away(
    behind: tuple[Service, dict[str, Proxy]], away: str, how: str
) -> None:
    service, proxies = behind
    proxy = proxies[away]
    before = await scrape(service.url)
    assert before.value("up", dependency=away) == 1
    if how == "refuses":
        proxy.refuse()
    else:
        proxy.fault = Fault(silent=True)
    begin = monotonic()
    told = await scrape(service.url)
    seconds = monotonic() - begin
    if how == "refuses":
        await proxy.accept()
    proxy.fault = NONE
    after = await scrape(service.url)
    print(f"answered after {seconds:.2f} s")
    assert seconds < 10 * SCRAPE_S
    other = {"queue": "storage", "storage": "queue"}[away]
    assert (told.value("up", dependency=away), told.value("up", dependency=other)) == (0, 1)
    failures = [each.value("dependency_failures_total", dependency=away) or 0 for each in (before, told)]
    assert failures[1] >= failures[0] + 1
    waiting = told.value("queue_jobs", state="waiting")
    assert waiting == (None if away == "queue" else 0), "what is not known is not told"
    assert after.value("up", dependency=away) == 1


async def test_a_workers_listener_serves_few_and_ends_with_it(servers: Servers) -> None:
    async with watched(servers.environment()) as (service, url):
        port = int(url.rpartition(":")[2])
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert not await asyncio.wait_for(reader.read(), DEADLINE_S), "one more is hung up on"
        writer.close()
        silent.pop()[1].close()

        async def answers() -> bool:
            try:
                return bool((await scrape(url)).samples)
            except httpx.TransportError:
                return False

        await until(answers)
        worker = psutil.Process(service.workers[0].pid)
        listening = [each.laddr for each in worker.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
        assert listening == [("127.0.0.1", port)]
        begin = monotonic()
        assert await service.workers[0].stop(DEADLINE_S) == 0
        assert monotonic() - begin < 15, "nobody who is silent holds it up, for the 25 s that work is given"
        for _, writer in silent:
            writer.close()


async def test_a_worker_listens_nowhere_unless_it_is_told(service: Service) -> None:
    worker = psutil.Process(service.workers[0].pid)
    assert not [each for each in worker.net_connections("inet") if each.status == psutil.CONN_LISTEN]


async def test_a_port_that_is_taken_is_said_with_what_to_set(
    capfd: pytest.CaptureFixture[str], servers: Servers
) -> None:
    async with watched(servers.environment()) as (service, _):
        second = await service.start_worker()
        assert await asyncio.wait_for(second.wait(), DEADLINE_S) == 1
    assert "set IMGSVC_METRICS_PORT to a free one" in capfd.readouterr().err


def test_each_application_counts_for_itself() -> None:
    first, second, worker = ApiMetrics(), ApiMetrics(), WorkerMetrics()
    first.request("/upload", 202, 0.1)
    worker.ended("success")
    counts = [Scrape(each.exposition().decode()) for each in (first, second, worker)]
    assert [each.value("http_request_seconds_count", route="/upload", status="2xx") for each in counts] == [
        1,
        None,
        None,
    ]
    assert [each.value("jobs_ended_total", code="success") for each in counts] == [None, None, 1]


def test_the_operating_guide_explains_every_metric_and_no_other() -> None:
    api = ApiMetrics()
    api.depth = Depth(0, 0, 0, 0, 0, 0, {})
    there = {
        family.name
        for each in (api, WorkerMetrics())
        for family in text_string_to_metric_families(each.exposition().decode())
        if family.name.startswith("imgsvc_")
    }
    explained = set(re.findall(r"\bimgsvc_\w+", OPERATING.read_text("utf-8")))
    assert {re.sub(r"_(total|bucket|count)$", "", name) for name in explained} == there
