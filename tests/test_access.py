"""Who may call: foreign pages never, another owner's uploads nobody, and a limit holds for its own owner alone."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from statistics import quantiles
from time import perf_counter
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest
import pytest_asyncio
from redis import Redis

from imgsvc.settings import MIB
from tests import images
from tests.service import Servers, Service, leftovers, until

PHOTO = images.photo(320, 240)
JPEG = {"content-type": "image/jpeg"}
SHOP, SHOP_NEXT, BLOG = "shop-key-0123456789", "shop-key-next-012345", "blog-key-0123456789"
KEYS = f"shop:{SHOP}, blog:{BLOG}, shop:{SHOP_NEXT}"
ENVIRONMENT = {"IMGSVC_API_KEYS": KEYS, "IMGSVC_SIGNING_SECRET": "a secret of 32 characters or more"}
APP = "https://app.example.com"


@pytest_asyncio.fixture(scope="module")
async def keyed(servers: Servers) -> AsyncGenerator[Service]:
    """A service with keys and public files, called by the shop unless a test says otherwise."""
    async with with_keys(servers, files="public", cors_origins=APP) as started:
        yield started


@asynccontextmanager
async def with_keys(servers: Servers, *, workers: int = 1, **settings: object) -> AsyncGenerator[Service]:
    async with Service.start(servers.environment() | ENVIRONMENT, workers=workers, **settings) as started:
        started.client.headers["authorization"] = f"Bearer {SHOP}"
        yield started


def by(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def post(service: Service, **headers: str) -> httpx.Response:
    return await service.client.post("/upload", content=PHOTO, headers=JPEG | headers)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def assert_nothing_new(service: Service, before: dict[str, list[str]]) -> None:
    """No job, no object, no key was added; the sweeper may have cleared what other tests left."""
    for kind, names in leftovers(service.environment).items():
        assert set(names) <= set(before[kind])


async def raw(service: Service, request: str) -> str:
    """The answer to a request that no client would write."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        writer.write(request.replace("\n", "\r\n").encode())
        return (await asyncio.wait_for(reader.read(), 10)).decode()
    finally:
        writer.close()


# while open


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.7", "[", ""],
)
async def test_h15_a_foreign_host_is_refused_while_open(service: Service, host: str) -> None:
    for path in ("/healthz", "/", f"/upload/{uuid4()}/status", "/files/processed/x"):
        assert refusal(await service.client.get(path, headers={"host": host})) == (403, "forbidden")
    assert refusal(await post(service, host=host)) == (403, "forbidden")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.8.9.1:80", "[::1]:8000", "[::1]"])
async def test_h15_loopback_is_known_by_all_its_names(service: Service, host: str) -> None:
    assert (await service.client.get("/healthz", headers={"host": host})).status_code == 200


async def test_h15_hosts_are_allowed_by_name(servers: Servers) -> None:
    async with Service.start(
        servers.environment(), workers=0, allowed_hosts="api, Images.example.com", host="0.0.0.0", allow_open=1
    ) as service:
        for host in ("api:8000", "images.example.com", "0.0.0.0"):
            assert (await service.client.get("/healthz", headers={"host": host})).status_code == 200
        for host in ("apis", "example.com", "x.images.example.com"):
            assert refusal(await service.client.get("/healthz", headers={"host": host})) == (403, "forbidden")


async def test_h15_every_host_is_allowed_by_a_star(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=0, allowed_hosts="*") as service:
        assert (await service.client.get("/healthz", headers={"host": "any.example"})).status_code == 200


async def test_h15_one_host_and_no_more(service: Service) -> None:
    for hosts in ("", "Host: localhost\nHost: evil.example\n", "Host: localhost\nHost: localhost\n"):
        answer = await raw(service, f"GET /healthz HTTP/1.1\n{hosts}Connection: close\n\n")
        assert answer.startswith(("HTTP/1.1 403", "HTTP/1.1 400")), hosts


async def test_h15_no_header_and_no_absolute_uri_changes_a_link(service: Service, keyed: Service) -> None:
    forwarded = {
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "https",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-prefix": "/evil",
        "forwarded": "host=evil.example;proto=https",
        "x-original-url": "/evil",
    }
    answer = await post(service, **forwarded)
    assert answer.headers["location"] == f"/upload/{answer.json()['id']}/status"
    assert "evil" not in answer.text
    assert refusal(await post(service, **forwarded, host="evil.example")) == (403, "forbidden")
    path = f"/upload/{answer.json()['id']}/status"
    absolute = await raw(service, f"GET http://evil.example{path} HTTP/1.1\nHost: localhost\nConnection: close\n\n")
    assert absolute.startswith("HTTP/1.1 200")
    assert "evil" not in absolute
    # with keys any Host will do, and still none gets into an answer
    for path in ("/upload/", "/healthz/", f"/upload/{uuid4()}"):
        answer = await keyed.client.get(path, headers=forwarded | {"host": "evil.example"})
        assert refusal(answer) == (404, "not_found")
        assert "location" not in answer.headers
        assert "evil" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "https://evil.example", "sec-fetch-site": "same-origin"},
        {"origin": "https://evil.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    ],
)
async def test_h21_a_foreign_page_can_write_nothing(service: Service, headers: dict[str, str]) -> None:
    mine = await service.upload(PHOTO)
    await service.ended(mine)
    before = leftovers(service.environment)
    form = {"file": ("a.jpg", PHOTO)}  # what a form can send without asking first
    for answer in (
        await service.client.post("/upload", files=form, headers=headers),
        await service.client.post(f"/upload/{mine}/retry", headers=headers),
        await service.client.post(f"/upload/{mine}/cancel", headers=headers),
        await service.client.delete(f"/upload/{mine}", headers=headers),
    ):
        assert refusal(answer) == (403, "forbidden")
        assert "access-control-allow-origin" not in answer.headers
    assert_nothing_new(service, before)
    assert (await service.status(mine))["status"] == "SUCCESS"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "same-origin"},
        {"origin": "http://LOCALHOST:80", "host": "localhost:80", "sec-fetch-site": "same-origin"},
    ],
)
async def test_h21_clients_and_the_services_own_page_can_write(service: Service, headers: dict[str, str]) -> None:
    assert (await post(service, **headers)).status_code == 202


async def test_h21_a_page_that_rebinds_its_name_reads_nothing(service: Service) -> None:
    """To the browser it is one origin with the service, so that only the Host tells."""
    headers = {"host": "evil.example:8000", "origin": "http://evil.example:8000", "sec-fetch-site": "same-origin"}
    assert refusal(await service.client.get(f"/upload/{uuid4()}", headers=headers)) == (403, "forbidden")
    assert refusal(await post(service, **headers)) == (403, "forbidden")


async def preflight(service: Service, origin: str, method: str = "POST") -> httpx.Response:
    asks = {"access-control-request-method": method, "access-control-request-headers": "authorization,idempotency-key"}
    headers = {"origin": origin, "sec-fetch-site": "cross-site"} | asks
    # a preflight carries no key
    return await service.client.options("/upload", headers=headers | {"authorization": ""})


async def test_h21_a_foreign_page_is_told_nothing_by_a_preflight(service: Service, keyed: Service) -> None:
    for one in (service, keyed):
        for origin in ("https://evil.example", "null", f"{APP}.evil.example", "http://app.example.com"):
            answer = await preflight(one, origin)
            assert answer.status_code in {401, 405}
            assert not [name for name in answer.headers if name.startswith("access-control-")]
        reading = await one.client.get("/healthz", headers={"origin": "https://evil.example"})
        assert not [name for name in reading.headers if name.startswith("access-control-allow-")]


async def test_an_origin_that_is_listed_may_call(keyed: Service, servers: Servers) -> None:
    async with Service.start(
        servers.environment(), workers=0, cors_origins=f"http://localhost:3000, {APP}"
    ) as open_one:
        for one in (keyed, open_one):
            answer = await preflight(one, APP, "DELETE")
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-origin"] == APP
            assert "DELETE" in answer.headers["access-control-allow-methods"]
            assert "idempotency-key" in answer.headers["access-control-allow-headers"]
            answer = await post(one, origin=APP, **{"sec-fetch-site": "cross-site"})
            assert answer.status_code == 202
            assert answer.headers["access-control-allow-origin"] == APP
            assert {"Location", "X-Request-Id", "Retry-After"} <= set(
                answer.headers["access-control-expose-headers"].split(", ")
            )
            assert "origin" in answer.headers["vary"].lower()
        refused = await keyed.client.get("/presets", headers={"origin": APP, "authorization": ""})
        assert refused.headers["access-control-allow-origin"] == APP, "a page may read why it was refused"


# with keys


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        SHOP,
        f"Basic {SHOP}",
        f"Bearer {SHOP[:-1]}",
        f"Bearer {SHOP}x",
        f"Bearer {SHOP.upper()}",
        f"Bearer {SHOP} {BLOG}",
        f"Bearer shop:{SHOP}",
        f"Bearer {hashlib.sha256(SHOP.encode()).hexdigest()}",
        "Bearer \u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9",
    ],
)
async def test_h17_a_wrong_key_is_refused(keyed: Service, authorization: str) -> None:
    wrong = {"authorization": authorization.encode("latin-1")}
    calls = [("POST", "/upload"), ("GET", "/presets"), ("GET", "/metrics"), ("GET", "/uploads"), ("GET", "/nowhere")]
    calls += [("DELETE", f"/upload/{uuid4()}"), ("GET", f"/upload/{uuid4()}/status"), ("GET", "/filesx"), ("GET", "//")]
    for method, path in calls:
        answer = await keyed.client.request(method, keyed.url + path, headers=wrong)  # pyright: ignore[reportArgumentType] (httpx takes bytes too)
        assert refusal(answer) == (401, "unauthorized"), path
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_h17_two_keys_at_once_are_none(keyed: Service) -> None:
    keys = f"Authorization: Bearer {SHOP}\nAuthorization: Bearer {BLOG}\n"
    answer = await raw(keyed, f"GET /presets HTTP/1.1\nHost: x\n{keys}Connection: close\n\n")
    assert answer.startswith("HTTP/1.1 401")


async def test_each_key_of_an_owner_is_as_good(keyed: Service) -> None:
    mine = (await post(keyed)).json()["id"]
    for authorization in (f"Bearer {SHOP_NEXT}", f"bearer  {SHOP}", f"BEARER {SHOP}"):
        answer = await keyed.client.get(f"/upload/{mine}", headers={"authorization": authorization})
        assert answer.status_code == 200


async def test_health_and_files_need_no_key(keyed: Service) -> None:
    files = (await keyed.result(await keyed.upload(PHOTO)))["result"].values()
    for path in ("/healthz", "/readyz", *files):
        assert (await keyed.client.get(path, headers={"authorization": ""})).status_code == 200
    for path in ("/", "/docs", "/openapi.json", "/files/x"):
        assert (await keyed.client.get(path, headers={"authorization": ""})).status_code in {200, 404}


async def test_a_write_from_anywhere_is_its_keys(keyed: Service) -> None:
    """No browser sends a key by itself, so that neither Host nor Origin matters."""
    answer = await post(keyed, host="images.example.com", origin="https://other.example")
    assert answer.status_code == 202


async def ask_everything(service: Service, upload_id: str, key: str) -> list[httpx.Response]:
    calls = [("GET", ""), ("GET", "/status"), ("GET", "/result"), ("GET", "/events"), ("POST", "/cancel")]
    calls += [("POST", "/retry"), ("DELETE", "")]
    return [await service.client.request(m, f"/upload/{upload_id}{path}", headers=by(key)) for m, path in calls]


def bodies(answers: list[httpx.Response], upload_id: str) -> list[dict[str, Any]]:
    """What they say, but for what names the request itself."""
    for answer in answers:
        assert refusal(answer) == (404, "not_found")
    own = {"request_id", "instance"}
    return [{name: value for name, value in answer.json().items() if name not in own} for answer in answers]


async def test_h16_anothers_upload_is_as_unknown_as_one_that_never_was(keyed: Service) -> None:
    theirs, unknown = (await post(keyed)).json()["id"], str(uuid4())
    before = await keyed.ended(theirs)
    answers = await ask_everything(keyed, theirs, BLOG)
    assert bodies(answers, theirs) == bodies(await ask_everything(keyed, unknown, BLOG), unknown)
    for answer in answers:
        assert theirs not in answer.text.replace(answer.json()["instance"], "")
    assert await keyed.status(theirs) == before, "nothing was done to it"
    assert (await keyed.client.get(f"/upload/{theirs}/result")).status_code == 200


async def test_h16_anothers_job_can_be_neither_cancelled_nor_retried(servers: Servers) -> None:
    async with with_keys(servers, workers=0) as service:
        waiting, cancelled = [await service.upload(PHOTO) for _ in range(2)]
        assert (await service.client.post(f"/upload/{cancelled}/cancel")).status_code == 200
        for upload_id in (waiting, cancelled):
            before = await service.status(upload_id)
            bodies(await ask_everything(service, upload_id, BLOG), upload_id)
            assert await service.status(upload_id) == before


async def test_h16_anothers_upload_stays_unknown_once_it_is_deleted(keyed: Service) -> None:
    theirs = (await post(keyed)).json()["id"]
    assert (await keyed.client.delete(f"/upload/{theirs}")).status_code == 204
    bodies(await ask_everything(keyed, theirs, BLOG), theirs)
    assert (await keyed.client.delete(f"/upload/{theirs}")).status_code == 204, "to its owner"


async def test_h16_anothers_upload_stays_unknown_once_its_record_has_expired(keyed: Service) -> None:
    for data in (PHOTO, PHOTO + bytes(9 * MIB)):  # the second in parts
        theirs = await keyed.upload(data)
        await keyed.ended(theirs)
        with closing(Redis.from_url(keyed.environment["IMGSVC_REDIS_URL"])) as redis:
            redis.delete(f"imgsvc:upload:{theirs}")
        bodies(await ask_everything(keyed, theirs, BLOG), theirs)
        assert refusal(await keyed.client.get(f"/upload/{theirs}/status")) == (410, "expired")
        assert (await keyed.client.delete(f"/upload/{theirs}")).status_code == 204


async def test_h16_a_list_has_its_callers_own_uploads_alone(keyed: Service) -> None:
    mine, theirs = (await post(keyed)).json()["id"], (await post(keyed, **by(BLOG))).json()["id"]
    for key, own, other in ((SHOP, mine, theirs), (SHOP_NEXT, mine, theirs), (BLOG, theirs, mine)):
        listed = (await keyed.client.get("/uploads", params={"limit": 200}, headers=by(key))).json()["uploads"]
        ids = {document["id"] for document in listed}
        assert own in ids
        assert other not in ids


async def test_h16_an_idempotency_key_is_its_owners_own(keyed: Service) -> None:
    first = await post(keyed, **{"idempotency-key": "1"})
    again = await post(keyed, **{"idempotency-key": "1"}, **by(SHOP_NEXT))
    other = await post(keyed, **{"idempotency-key": "1"}, **by(BLOG))
    assert [answer.status_code for answer in (first, again, other)] == [202] * 3
    assert first.json()["id"] == again.json()["id"] != other.json()["id"]


async def test_h16_what_was_uploaded_while_open_belongs_to_no_key(servers: Servers) -> None:
    environment = servers.environment()
    async with Service.start(environment) as open_one:
        upload_id = await open_one.upload(PHOTO)
        await open_one.ended(upload_id)
    async with Service.start(environment | ENVIRONMENT, workers=0) as service:
        service.client.headers.update(by(SHOP))
        bodies(await ask_everything(service, upload_id, SHOP), upload_id)


# load


async def measured(call: Callable[[], Awaitable[httpx.Response]], count: int, status: int) -> list[float]:
    """Seconds of each of `count` calls, one after the other."""
    seconds: list[float] = []
    for _ in range(count):
        begin = perf_counter()
        assert (await call()).status_code == status
        seconds.append(perf_counter() - begin)
    return seconds


def percentile(seconds: list[float], number: int) -> float:
    return quantiles(seconds, n=100, method="inclusive")[number - 1]


@pytest.mark.parametrize("tries", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_h17_wrong_keys_by_the_thousand_slow_no_valid_one_and_leave_nothing(keyed: Service, tries: int) -> None:
    mine = await keyed.upload(PHOTO)
    await keyed.ended(mine)
    kept, api = leftovers(keyed.environment), psutil.Process(keyed.api.pid)

    async def valid() -> httpx.Response:
        return await keyed.client.get(f"/upload/{mine}/status")

    await measured(valid, 50, 200)
    alone = await measured(valid, 300, 200)
    memory = api.memory_info().rss
    guessing = asyncio.create_task(guess(keyed, tries))
    during: list[float] = []
    while not guessing.done():
        during += await measured(valid, 10, 200)
    refused = await guessing
    after = await measured(valid, 300, 200)
    p95 = [percentile(seconds, 95) * 1000 for seconds in (alone, during, after)]
    print(
        f"p95 of a valid call before, during, after: {p95[0]:.1f}, {p95[1]:.1f}, {p95[2]:.1f} ms ({len(during)} during)"
    )
    assert refused == tries
    assert p95[1] <= 2 * p95[0] + 10
    assert p95[2] <= 2 * p95[0] + 2
    assert_nothing_new(keyed, kept)
    assert api.memory_info().rss - memory < 5 * MIB


async def guess(service: Service, count: int) -> int:
    """Tries so many wrong keys, one after the other, each near the right one; returns how many were refused."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    refused = 0
    for number in range(count):
        key = SHOP[: number % len(SHOP)] + f"{number:020d}"
        writer.write(f"GET /presets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
        refused += (await answered(reader))[0] == 401
    writer.close()
    return refused


async def test_h18_a_burst_over_the_rate_is_turned_away_and_slows_nobody_else(servers: Servers) -> None:
    async with with_keys(servers, workers=0, rate_limit=200) as service:

        async def upload() -> httpx.Response:
            return await post(service, **by(BLOG))

        await measured(upload, 10, 202)
        alone = await measured(upload, 80, 202)
        statuses: list[int] = []
        bursting = asyncio.create_task(burst(service, statuses))

        async def over_the_limit() -> bool:
            return 429 in statuses

        await until(over_the_limit)
        during = await measured(upload, 80, 202)
        bursting.cancel()
        seen = Counter(statuses)
        p99 = [percentile(seconds, 99) * 1000 for seconds in (alone, during)]
        print(f"p99 of another owner's uploads before and during: {p99[0]:.1f}, {p99[1]:.1f} ms; burst: {dict(seen)}")
        assert seen.keys() == {202, 429}
        assert seen[429] > 100
        # of 80 uploads the 99th percentile is the one that the machine disturbed most
        p90 = [percentile(seconds, 90) * 1000 for seconds in (alone, during)]
        assert p90[1] <= 2 * p90[0] + 10


async def burst(service: Service, statuses: list[int]) -> None:
    """Uploads by the shop, one after the other on one connection; notes the status of each."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    head = f"POST /upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SHOP}\r\nContent-Type: image/jpeg\r\n"
    try:
        while True:
            writer.write(head.encode() + f"Content-Length: {len(PHOTO)}\r\n\r\n".encode() + PHOTO)
            statuses.append((await answered(reader))[0])
    finally:
        writer.close()


async def answered(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next answer on a connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    body = await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    return int(head.split()[1]), body


async def test_h18_who_waits_for_as_long_as_told_is_let_in(servers: Servers) -> None:
    async with with_keys(servers, workers=0, rate_limit=30) as service:
        answers = await asyncio.gather(*(post(service) for _ in range(40)))
        refused = [answer for answer in answers if answer.status_code != 202]
        assert len(refused) >= 8, "ten, but for what has become free meanwhile"
        for answer in refused:
            assert refusal(answer) == (429, "rate_limited")
            assert 1 <= int(answer.headers["retry-after"]) <= 2, "60 s / 30"
        assert (await post(service, **by(BLOG))).status_code == 202, "each owner has a limit of its own"
        wait_s = int((await post(service)).headers["retry-after"])
        await asyncio.sleep(wait_s)
        assert (await post(service)).status_code == 202


async def test_h18_an_upload_over_the_rate_is_refused_before_its_body(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=0, rate_limit=1) as service:
        assert (await post(service)).status_code == 202, "an open service has one limit for all"
        lines = "POST /upload HTTP/1.1\nHost: localhost\nContent-Type: image/jpeg\nContent-Length: 99999\n\n"
        assert (await raw(service, lines)).startswith("HTTP/1.1 429")


async def test_h18_a_quota_is_of_bytes_and_refused_uploads_count_for_nothing(servers: Servers) -> None:
    size = len(PHOTO)
    quota = 4 * size + size // 2
    async with with_keys(servers, workers=0, max_upload_bytes=size, quota_bytes=quota) as service:
        for _ in range(10):
            answer = await service.client.post("/upload", content=b"no image", headers=JPEG)
            assert refusal(answer) == (415, "unsupported_media_type")

        async def unannounced() -> AsyncGenerator[bytes]:
            yield PHOTO[: size // 2]

        half = await service.client.post("/upload", content=unannounced(), headers=JPEG)
        assert half.status_code == 202, "it announces no length, and counts as what it has"
        answers = [await post(service) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [202] * 4 + [429]
        assert refusal(answers[4]) == (429, "quota_exceeded")
        wait_s = int(answers[4].headers["retry-after"])
        assert -30 < wait_s - 86_400 * size / quota < 1, "until as much has leaked as it would be too much"
        assert (await post(service, **by(BLOG))).status_code == 202, "each owner has a quota of its own"
