"""`/files`: processed variants over HTTP, as RFC 9110 says."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import monotonic
from uuid import uuid4

import pytest
import pytest_asyncio

from imgsvc.runtime.settings import MIB
from tests.support import images
from tests.support.fault_proxy import NONE, Fault, Proxy
from tests.support.service import Servers, Service, s3_client, settings_of, until
from tests.support.wire import Connection, metered, request

STALL_S = 1.0


@dataclass
class Stored:
    path: str
    data: bytes
    etag: str
    modified: str


@pytest_asyncio.fixture(scope="module")
async def stored(service: Service) -> AsyncGenerator[Stored]:
    upload_id = await service.upload(images.photo(), "näh.jpg")
    path = (await service.result(upload_id))["result"]["thumbnail"]
    answer = await service.client.get(path)
    yield Stored(path, answer.content, answer.headers["etag"], answer.headers["last-modified"])


async def test_a_file_comes_with_headers_that_are_safe_to_embed(service: Service, stored: Stored) -> None:
    headers = (await service.client.get(stored.path)).headers
    assert headers["content-type"] == "image/jpeg"
    assert headers["content-length"] == str(len(stored.data))
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["cross-origin-resource-policy"] == "cross-origin"
    assert headers["cache-control"] == "public, max-age=86400, immutable"
    assert headers["accept-ranges"] == "bytes"
    assert stored.etag.startswith('"')


async def test_a_file_is_named_inline_or_as_a_download(service: Service, stored: Stored) -> None:
    name = "filename=\"n_h_thumbnail.jpeg\"; filename*=UTF-8''n%C3%A4h_thumbnail.jpeg"
    inline = await service.client.get(stored.path)
    download = await service.client.get(stored.path, params={"download": "1"})
    assert inline.headers["content-disposition"] == f"inline; {name}"
    assert download.headers["content-disposition"] == f"attachment; {name}"


async def test_head_says_what_get_would(service: Service, stored: Stored) -> None:
    get, head = await service.client.get(stored.path), await service.client.head(stored.path)
    own = {"date", "x-request-id"}
    assert head.content == b""
    assert {k: v for k, v in head.headers.items() if k not in own} == {
        k: v for k, v in get.headers.items() if k not in own
    }


@dataclass
class Case:
    """A request's headers, in which {etag}, {modified} and {size} stand for the file's; and what is due to it."""

    section: str
    headers: dict[str, str]
    status: int
    span: tuple[int, int] | None = None
    """Of a 206: first and last byte, from the end where negative."""
    method: str = "GET"

    def __str__(self) -> str:
        return f"{self.section} {self.method} {self.headers} {self.status}"


OLD, NEW = "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
RFC_9110 = [
    Case("14.1.2 first and last", {"range": "bytes=0-0"}, 206, (0, 0)),
    Case("14.1.2 first and last", {"range": "bytes=10-19"}, 206, (10, 19)),
    Case("14.1.2 open-ended", {"range": "bytes=100-"}, 206, (100, -1)),
    Case("14.1.2 last beyond the end", {"range": "bytes=5-999999999"}, 206, (5, -1)),
    Case("14.1.2 last beyond all numbers", {"range": f"bytes=5-{'9' * 100}"}, 206, (5, -1)),
    Case("14.1.2 suffix", {"range": "bytes=-7"}, 206, (-7, -1)),
    Case("14.1.2 suffix longer than the file", {"range": "bytes=-999999999"}, 206, (0, -1)),
    Case("14.1 unit in capitals", {"range": "BYTES=0-9"}, 206, (0, 9)),
    Case("14.1.2 first beyond the end", {"range": "bytes={size}-"}, 416),
    Case("14.1.2 first beyond the end", {"range": "bytes=999999999-"}, 416),
    Case("14.1.2 empty suffix", {"range": "bytes=-0"}, 416),
    Case("14.2 last before first", {"range": "bytes=5-2"}, 200),
    Case("14.2 no numbers", {"range": "bytes=-"}, 200),
    Case("14.2 no numbers", {"range": "bytes=a-b"}, 200),
    Case("14.2 no numbers of ASCII", {"range": "bytes=\u0661-\u0662"}, 200),
    Case("14.2 a sign", {"range": "bytes=+1-2"}, 200),
    Case("14.2 nothing", {"range": ""}, 200),
    Case("14.2 another unit", {"range": "lines=1-2"}, 200),
    Case("14.2 several ranges", {"range": "bytes=0-1,4-5"}, 200),
    Case("14.2 not for HEAD", {"range": "bytes=0-1"}, 200, method="HEAD"),
    Case("14.2 not for HEAD", {"range": "bytes=999999999-"}, 200, method="HEAD"),
    Case("13.1.5 same tag", {"range": "bytes=0-9", "if-range": "{etag}"}, 206, (0, 9)),
    Case("13.1.5 same date", {"range": "bytes=0-9", "if-range": "{modified}"}, 206, (0, 9)),
    Case("13.1.5 other tag", {"range": "bytes=0-9", "if-range": '"other"'}, 200),
    Case("13.1.5 weak tag", {"range": "bytes=0-9", "if-range": "W/{etag}"}, 200),
    Case("13.1.5 earlier date", {"range": "bytes=0-9", "if-range": OLD}, 200),
    Case("13.1.5 later date", {"range": "bytes=0-9", "if-range": NEW}, 200),
    Case("13.1.5 neither tag nor date", {"range": "bytes=0-9", "if-range": "x"}, 200),
    Case("13.1.5 before the range is judged", {"range": "bytes=999999999-", "if-range": '"other"'}, 200),
    Case("13.1.5 without a range", {"if-range": '"other"'}, 200),
    Case("13.1.2 same tag", {"if-none-match": "{etag}"}, 304),
    Case("13.1.2 same tag", {"if-none-match": "{etag}"}, 304, method="HEAD"),
    Case("13.1.2 weak tag", {"if-none-match": "W/{etag}"}, 304),
    Case("13.1.2 list", {"if-none-match": '"other", W/{etag}'}, 304),
    Case("13.1.2 list with a comma in a tag", {"if-none-match": '"a,b",,{etag}'}, 304),
    Case("13.1.2 any", {"if-none-match": "*"}, 304),
    Case("13.1.2 any", {"if-none-match": "*"}, 304, method="HEAD"),
    Case("13.1.2 other tag", {"if-none-match": '"other"'}, 200),
    Case("13.1.2 no tag", {"if-none-match": "other"}, 200),
    Case("13.1.2 the tag as a part of another", {"if-none-match": '"x{etag}x"'}, 200),
    Case("13.1.3 same date", {"if-modified-since": "{modified}"}, 304),
    Case("13.1.3 same date", {"if-modified-since": "{modified}"}, 304, method="HEAD"),
    Case("13.1.3 later date", {"if-modified-since": NEW}, 304),
    Case("13.1.3 earlier date", {"if-modified-since": OLD}, 200),
    Case("5.6.7 asctime's date", {"if-modified-since": "Fri Jan  1 00:00:00 2100"}, 304),
    Case("5.6.7 RFC 850's date", {"if-modified-since": "Monday, 01-Jan-01 00:00:00 GMT"}, 200),
    Case("13.1.3 no date", {"if-modified-since": "no date"}, 200),
    Case("13.1.3 beyond all years", {"if-modified-since": f"Mon, 01 Jan {'9' * 30} 00:00:00 GMT"}, 200),
    Case("13.1.1 same tag", {"if-match": "{etag}"}, 200),
    Case("13.1.1 list", {"if-match": '"other", {etag}'}, 200),
    Case("13.1.1 any", {"if-match": "*"}, 200),
    Case("13.1.1 weak tag", {"if-match": "W/{etag}"}, 412),
    Case("13.1.1 other tag", {"if-match": '"other"'}, 412),
    Case("13.1.4 same date", {"if-unmodified-since": "{modified}"}, 200),
    Case("13.1.4 earlier date", {"if-unmodified-since": OLD}, 412),
    Case("13.1.4 no date", {"if-unmodified-since": "no date"}, 200),
    Case("13.2.2 If-Match before If-Unmodified-Since", {"if-match": "{etag}", "if-unmodified-since": OLD}, 200),
    Case("13.2.2 If-Match before If-None-Match", {"if-match": '"other"', "if-none-match": "{etag}"}, 412),
    Case("13.2.2 If-None-Match before the date", {"if-none-match": '"other"', "if-modified-since": NEW}, 200),
    Case("13.2.2 If-None-Match before the date", {"if-none-match": "{etag}", "if-modified-since": OLD}, 304),
    Case("13.2.2 If-None-Match before Range", {"if-none-match": "{etag}", "range": "bytes=0-9"}, 304),
    Case("13.2.2 If-None-Match before Range", {"if-none-match": "{etag}", "range": "bytes=999999999-"}, 304),
    Case("13.2.2 the date before Range", {"if-modified-since": "{modified}", "range": "bytes=0-9"}, 304),
    Case("13.2.2 Range where all holds", {"if-none-match": '"other"', "range": "bytes=0-9"}, 206, (0, 9)),
    Case("13.2.2 Range where all holds", {"if-match": "{etag}", "range": "bytes=0-9"}, 206, (0, 9)),
]


@pytest.mark.parametrize("case", RFC_9110, ids=str)
async def test_a_file_is_served_as_rfc_9110_says(service: Service, stored: Stored, case: Case) -> None:
    size = len(stored.data)
    own = {"{etag}": stored.etag, "{modified}": stored.modified, "{size}": str(size)}
    headers = [
        (name.encode(), re.sub(r"\{\w+\}", lambda m: own[m[0]], value).encode()) for name, value in case.headers.items()
    ]
    answer = await service.client.request(case.method, stored.path, headers=headers)
    assert answer.status_code == case.status
    if case.status in {200, 206, 304}:
        assert (answer.headers["etag"], answer.headers["last-modified"]) == (stored.etag, stored.modified)
        assert "cache-control" in answer.headers
    if case.status == 304 or case.method == "HEAD":
        assert answer.content == b""
    elif case.status == 200:
        assert answer.content == stored.data
    elif case.span:
        first, last = (at % size for at in case.span)
        assert answer.content == stored.data[first : last + 1]
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}"
        assert answer.headers["content-length"] == str(last - first + 1)
    elif case.status == 416:
        assert answer.json()["code"] == "range_not_satisfiable"
        assert answer.headers["content-range"] == f"bytes */{size}"
    else:
        assert answer.json()["code"] == "precondition_failed"


async def test_a_list_of_tags_may_stand_in_several_lines(service: Service, stored: Stored) -> None:
    lines = [("if-none-match", '"other"'), ("if-none-match", stored.etag)]
    assert (await service.client.get(stored.path, headers=lines)).status_code == 304


async def test_an_unknown_file_is_404_whatever_is_asked_of_it(service: Service) -> None:
    for method in ("GET", "HEAD"):
        for headers in ({}, {"range": "bytes=0-1"}, {"if-none-match": "*"}, {"if-match": "*"}):
            answer = await service.client.request(method, f"/files/processed/{uuid4()}/a.jpeg", headers=headers)
            assert answer.status_code == 404


TRAVERSALS = [
    "../{key}",
    "..%2f{key}",
    "%2e%2e/{key}",
    "%2e%2e%2f{key}",
    "%252e%252e%252f{key}",
    "..\\{key}",
    "..%5c{key}",
    "..%c0%af{key}",
    "..%ef%bc%8f{key}",
    "%e2%88%95{key}",
    "//{key}",
    "/{key}",
    "./{key}",
    "{key}/",
    "{key}/..",
    "{key}%00",
    "{key}%00.png",
    "{key}%20",
    "{key}%0a",
    "{key}%0d%0aX-Injected:%201",
    "{key}%3fversionId=1",
    "{key}%23",
    "{key};x",
    "{folder}/",
    "{folder}",
    "{folder}/.",
    "{folder}/..",
    "{folder}/../../originals/{id}",
    "{folder}/..%2f..%2foriginals%2f{id}",
    "{folder}/.hidden",
    "{folder}//{name}",
    "{folder}/%2e%2e/{id}/{name}",
    "originals/{id}",
    "processed/{ID}/{name}",
    "processed/{id}x/{name}",
    "processed/*/{name}",
    "/etc/passwd",
    "file:///etc/passwd",
    "http://127.0.0.1/{key}",
    "x" * 4096,
    "../" * 1000 + "etc/passwd",
    "",
]


@dataclass
class Apart:
    """A service, and the proxies in front of its S3 and of its Redis. `environment` goes past them."""

    service: Service
    s3: Proxy
    redis: Proxy
    environment: dict[str, str]


@pytest_asyncio.fixture(scope="module")
async def apart(servers: Servers) -> AsyncGenerator[Apart]:
    environment = servers.environment()
    async with (
        Proxy.to("127.0.0.1", servers.seaweed.ports.s3) as s3,
        Proxy.to("127.0.0.1", servers.valkey.port) as redis,
    ):
        through_proxies = {
            "IMGSVC_S3_ENDPOINT_URL": s3.url(servers.seaweed.url),
            "IMGSVC_REDIS_URL": redis.url(environment["IMGSVC_REDIS_URL"]),
        }
        async with Service.start(environment | through_proxies, send_idle_timeout_s=STALL_S) as service:
            yield Apart(service, s3, redis, environment)


async def test_h11_only_processed_files_are_ever_looked_up(apart: Apart) -> None:
    """Counted in front of S3. Raw requests, since client libraries tidy paths up."""
    upload_id = await apart.service.upload(images.photo())
    key = (await apart.service.result(upload_id))["result"]["thumbnail"].removeprefix("/files/")
    folder, _, name = key.rpartition("/")
    apart.s3.fault = Fault(on=b"/imgsvc-")  # harmless: it counts
    assert (await apart.service.client.get(f"/files/{key}")).status_code == 200
    assert apart.s3.struck == 1
    async with Connection.to(apart.service.port) as connection:
        for traversal in TRAVERSALS:
            path = traversal.format(key=key, folder=folder, name=name, id=upload_id, ID=upload_id.upper())
            for target in (f"/files/{path}", f"/upload/{path}", f"/upload/{path}/status"):
                await connection.send(request(f"GET {target} HTTP/1.1"))
                answer = await connection.answer()
                assert answer.status == 404, target
                answer.assert_problem(404, "not_found")
                assert "x-injected" not in answer.headers
    assert apart.s3.struck == 1
    apart.s3.fault = NONE


async def test_files_wait_for_nothing_while_redis_is_away(apart: Apart) -> None:
    path = (await apart.service.result(await apart.service.upload(images.photo())))["result"]["thumbnail"]
    with_redis = await median_s(apart.service, path)
    apart.redis.fault = Fault(silent=True)
    await apart.service.until_not_ready()
    silent = await median_s(apart.service, path)
    apart.redis.fault = NONE
    apart.redis.refuse()
    await apart.service.until_not_ready()
    refusing = await median_s(apart.service, path)
    await apart.redis.accept()
    await apart.service.until_ready(1)
    print(f"median of a file with Redis {with_redis * 1000:.1f} ms, ", end="")
    print(f"with a silent one {silent * 1000:.1f} ms, with none {refusing * 1000:.1f} ms")
    assert max(silent, refusing) < settings_of(apart.environment).redis_timeout_s / 3, "who asks Redis waits for that"


async def median_s(service: Service, path: str) -> float:
    found: list[float] = []
    for _ in range(50):
        begin = monotonic()
        assert (await service.client.get(path)).status_code == 200
        found.append(monotonic() - begin)
    return median(found)


async def test_a_slow_reader_takes_no_memory_and_one_that_stops_is_cut_off(apart: Apart) -> None:
    key = f"processed/{uuid4()}/big_thumbnail.jpeg"
    bucket = apart.environment["IMGSVC_S3_BUCKET"]
    with s3_client(apart.environment) as s3:
        s3.put_object(Bucket=bucket, Key=key, Body=bytes(64 * MIB), ContentType="image/jpeg")
    pid = apart.service.api.pid
    assert len((await apart.service.client.get(f"/files/{key}")).content) == 64 * MIB
    async with Connection.to(apart.service.port) as connection, metered(apart.service) as cost:

        async def cut_off() -> bool:
            return not connection.is_held_by(pid)

        await connection.send(request(f"GET /files/{key} HTTP/1.1"))
        for _ in range(20):
            read = 0
            while read < MIB:  # enough of it for the kernel between them to take more
                read += len(await connection.read_some(64 * 1024))
            await asyncio.sleep(STALL_S / 10)
        await until(lambda: connection.is_held_by(pid))  # it read, if slowly
        seconds = await until(cut_off, 10)  # and not after the 30 s that are the default
    print(f"{cost}; cut off {seconds:.2f} s after it stopped reading, of {STALL_S:g}")
    assert cost.memory < 2 * MIB


async def test_a_hundred_readers_that_stand_still_hold_up_nobody(service: Service) -> None:
    """More than there are connections to storage."""
    key = f"processed/{uuid4()}/big_thumbnail.jpeg"
    with s3_client(service.environment) as s3:
        s3.put_object(Bucket=service.environment["IMGSVC_S3_BUCKET"], Key=key, Body=bytes(32 * MIB))
    async with AsyncExitStack() as stack, metered(service) as cost:
        readers = [await stack.enter_async_context(Connection.to(service.port)) for _ in range(100)]
        for reader in readers:
            await reader.send(request(f"GET /files/{key} HTTP/1.1"))
            await reader.read_some()
        begin = monotonic()
        assert (await service.client.get("/readyz")).status_code == 200
        assert (await service.post(images.photo())).status_code == 202
        answer = await service.client.get(f"/files/{key}", headers={"range": f"bytes=0-{MIB}"})
        assert (answer.status_code, len(answer.content)) == (206, MIB + 1)
        seconds = monotonic() - begin
        for reader in (readers[0], readers[-1]):
            await until(partial(reader.is_held_by, service.api.pid))
    print(f"{cost}; three good requests in {seconds:.2f} s")
    assert seconds < 10, "whoever stands still is cut off after 30 s"
    assert cost.memory < 2 * 100 * 256 * 1024
