"""`/files`: processed variants over HTTP, as RFC 9110 says."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from urllib.parse import quote
from uuid import uuid4

import pytest
import pytest_asyncio

from tests import images
from tests.service import Service


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


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [("0-0", 0, 0), ("10-19", 10, 19), ("100-", 100, None), ("-7", -7, None), ("5-999999999", 5, None)],
)
async def test_a_single_range_is_served(
    service: Service, stored: Stored, wanted: str, first: int, last: int | None
) -> None:
    answer = await service.client.get(stored.path, headers={"range": f"bytes={wanted}"})
    size = len(stored.data)
    start, end = first % size, size - 1 if last is None else last
    assert answer.status_code == 206
    assert answer.content == stored.data[start : end + 1]
    assert answer.headers["content-range"] == f"bytes {start}-{end}/{size}"


@pytest.mark.parametrize("wanted", ["bytes=999999999-", "bytes=-0"])
async def test_a_range_beyond_the_file_is_416(service: Service, stored: Stored, wanted: str) -> None:
    answer = await service.client.get(stored.path, headers={"range": wanted})
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(stored.data)}"


@pytest.mark.parametrize("wanted", ["bytes=5-2", "bytes=-", "lines=1-2", "bytes=0-1,4-5", "bytes=a-b"])
async def test_a_range_that_cannot_be_read_is_ignored(service: Service, stored: Stored, wanted: str) -> None:
    answer = await service.client.get(stored.path, headers={"range": wanted})
    assert (answer.status_code, answer.content) == (200, stored.data)


async def test_a_copy_that_is_still_good_is_not_sent_again(service: Service, stored: Stored) -> None:
    for headers in (
        {"if-none-match": stored.etag},
        {"if-none-match": f'"other", W/{stored.etag}'},
        {"if-none-match": "*"},
        {"if-modified-since": stored.modified},
    ):
        for call in (service.client.get, service.client.head):
            answer = await call(stored.path, headers=headers)
            assert (answer.status_code, answer.content) == (304, b""), headers
            assert answer.headers["etag"] == stored.etag


async def test_a_copy_that_is_out_of_date_is_sent_again(service: Service, stored: Stored) -> None:
    for headers in (
        {"if-none-match": '"other"'},
        {"if-modified-since": "Mon, 01 Jan 2001 00:00:00 GMT"},
        {"if-modified-since": "no date"},
        {"if-none-match": '"other"', "if-modified-since": stored.modified},
    ):
        answer = await service.client.get(stored.path, headers=headers)
        assert (answer.status_code, answer.content) == (200, stored.data), headers


async def test_if_range_gives_the_part_only_of_the_same_file(service: Service, stored: Stored) -> None:
    for validator, status in ((stored.etag, 206), (stored.modified, 206), ('"other"', 200), (f"W/{stored.etag}", 200)):
        answer = await service.client.get(stored.path, headers={"range": "bytes=0-9", "if-range": validator})
        assert answer.status_code == status, validator


@pytest.mark.parametrize(
    "path",
    [
        "originals/{id}",
        "processed/{id}/..",
        "processed/{id}/../../originals/{id}",
        "processed/{id}/%2e%2e/x",
        "processed/{id}/a%2fb.jpeg",
        "processed/{id}/a%00.jpeg",
        "processed/{id}/",
        "/etc/passwd",
        "",
    ],
)
async def test_only_processed_files_can_be_reached(service: Service, path: str) -> None:
    upload_id = await service.upload(images.photo())
    answer = await service.client.get("/files/" + path.format(id=upload_id))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_an_unknown_file_is_404(service: Service, stored: Stored) -> None:
    for method in ("GET", "HEAD"):
        answer = await service.client.request(method, f"/files/processed/{uuid4()}/{quote('a.jpeg')}")
        assert answer.status_code == 404
