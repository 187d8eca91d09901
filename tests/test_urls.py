"""`POST /upload/url`: a worker fetches the original, and never from where it must not go."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.support import images
from tests.support.ledger import sha256
from tests.support.peers import EVIL_URLS, Listener, Peer
from tests.support.service import Servers, Service, leftovers

PHOTO = images.photo()
HASTY = "tests.support.hooks.hasty"
MAX_BYTES = 2 * 1024 * 1024
FETCH_TIMEOUT_S = 1.0


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def status(line: str) -> bytes:
    return f"HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n".encode()


def in_turn(*answers: bytes | None) -> Peer:
    """One answer a connection; None is none at all."""
    left = list(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = left.pop(0)
        if data is None:
            await reader.read()
        else:
            writer.write(data)

    return answer


@pytest_asyncio.fixture(scope="module")
async def fetching(servers: Servers) -> AsyncGenerator[Service]:
    """A service that fetches from 127.0.0.1, by a worker with one decoder that is in a hurry."""
    settings: dict[str, Any] = {
        "outbound_allow": "127.0.0.1",
        "max_upload_bytes": MAX_BYTES,
        "fetch_timeout_s": FETCH_TIMEOUT_S,
    }
    async with Service.start(servers.environment(), workers=0, decoders=1, lease_s=1, **settings) as started:
        await started.start_worker(HASTY)
        await started.until_ready(1)
        yield started


@pytest_asyncio.fixture(scope="module")
async def patient(servers: Servers) -> AsyncGenerator[Service]:
    """A service that fetches from 127.0.0.1, with a worker in no hurry: nothing ends before a test says so."""
    async with Service.start(
        servers.environment(), decoders=1, outbound_allow="127.0.0.1", fetch_timeout_s=60
    ) as started:
        yield started


@pytest_asyncio.fixture
async def canary() -> AsyncGenerator[Listener]:
    """Stands where nobody may get to."""
    async with Listener.start(ok(PHOTO)) as listener:
        yield listener
        assert listener.connections == 0


async def post(service: Service, url: str, **fields: object) -> httpx.Response:
    return await service.client.post("/upload/url", json={"url": url, **fields})


async def queued(service: Service, url: str, **fields: object) -> str:
    answer = await post(service, url, **fields)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


async def failure(service: Service, url: str) -> dict[str, Any]:
    document = await service.ended(await queued(service, url))
    assert document["status"] == "FAILURE", document
    return document


async def test_an_image_is_fetched_stored_and_processed(fetching: Service) -> None:
    async with Listener.start(ok(PHOTO)) as host:
        answer = await post(
            fetching,
            f"http://127.0.0.1:{host.port}/album/gr%C3%BCn.jpg?size=full",
            metadata={"order": "7"},
            expires_in=3600,
        )
        assert answer.status_code == 202, answer.text
        document = answer.json()
        assert (document["filename"], document["task_id"]) == ("gr\u00fcn.jpg", document["id"])
        assert answer.headers["location"] == document["status_url"]
        result = await fetching.result(document["id"])
    assert (
        result["original"].items()
        >= {
            "width": 480,
            "height": 320,
            "bytes": len(PHOTO),
            "content_type": "image/jpeg",
            "sha256": sha256(PHOTO),
            "frames": 1,
        }.items()
    )
    ended = await fetching.status(document["id"])
    assert (ended["metadata"], ended["attempt"]) == ({"order": "7"}, 1)
    assert ended["expires_at"]
    assert f"originals/{document['id']}" in leftovers(fetching.environment)["objects"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PUT"])
async def test_urls_are_posted_and_url_is_nobodys_id(service: Service, method: str) -> None:
    answer = await service.client.request(method, "/upload/url")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("url", EVIL_URLS)
async def test_h22_an_evil_url_is_refused_at_once(service: Service, canary: Listener, url: str) -> None:
    answer = await post(service, url.format(port=canary.port))
    assert (answer.status_code, answer.json()["code"]) == (422, "url_not_allowed")


async def test_h22_what_only_the_worker_can_tell_fails_the_job(servers: Servers, canary: Listener) -> None:
    """The worker knows of no allowance, as when a name is rebound after the API has judged it."""
    async with Service.start(servers.environment(), workers=0, decoders=1, outbound_allow="127.0.0.1") as service:
        upload_id = await queued(service, f"http://127.0.0.1:{canary.port}/")
        service.environment["IMGSVC_OUTBOUND_ALLOW"] = ""
        await service.start_worker()
        document = await service.ended(upload_id)
        assert (document["error"]["code"], document["attempt"]) == ("fetch_failed", 1)


async def test_h22_a_redirect_into_our_network_fails_the_job(fetching: Service, canary: Listener) -> None:
    redirect = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2:{canary.port}/\r\nContent-Length: 0\r\n\r\n"
    async with Listener.start(redirect.encode()) as host:
        document = await failure(fetching, f"http://127.0.0.1:{host.port}/")
    assert (document["error"]["code"], document["attempt"]) == ("fetch_failed", 1)


async def test_h22_ten_gigabytes_fail_the_job_at_the_limit(fetching: Service) -> None:
    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n" + PHOTO)
        while True:
            writer.write(bytes(64 * 1024))
            await writer.drain()

    async with Listener.start(endless) as host:
        document = await failure(fetching, f"http://127.0.0.1:{host.port}/")
    assert (document["error"]["code"], document["attempt"]) == ("fetch_failed", 1)
    assert str(MAX_BYTES) in document["error"]["message"]


async def test_h22_a_slow_drip_is_tried_again_and_fails_the_job_in_the_end(fetching: Service) -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + PHOTO[:1000])
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with Listener.start(drip) as host:
        document = await failure(fetching, f"http://127.0.0.1:{host.port}/")
        assert document["attempt"] == host.connections == 2
    assert document["error"]["code"] == "fetch_failed"


async def test_a_file_that_is_gone_fails_the_job_at_once(fetching: Service) -> None:
    async with Listener.start(status("404 Not Found")) as host:
        document = await failure(fetching, f"http://127.0.0.1:{host.port}/")
        assert host.connections == 1
    assert document["error"] == {"code": "fetch_failed", "message": "The URL's host answered with status 404."}


async def test_what_is_no_image_fails_the_job_at_once(fetching: Service) -> None:
    async with Listener.start(ok(b"<html>" * 100)) as host:
        document = await failure(fetching, f"http://127.0.0.1:{host.port}/")
    assert (document["error"]["code"], document["attempt"]) == ("unsupported_format", 1)


async def test_a_host_that_is_busy_is_asked_again_and_holds_up_no_other_job(patient: Service) -> None:
    is_busy = True

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(status("503 Service Unavailable") if is_busy else ok(PHOTO))

    async with Listener.start(answer) as host:
        upload_id = await queued(patient, f"http://127.0.0.1:{host.port}/")
        await host.until_asked()
        await patient.ended(await patient.upload(PHOTO))
        is_busy = False
        document = await patient.ended(upload_id)
    assert document["status"] == "SUCCESS"
    assert document["attempt"] == host.connections >= 2


async def test_slow_hosts_leave_a_worker_room_for_what_was_uploaded(patient: Service) -> None:
    async with Listener.start(in_turn(*[None] * 20)) as host:
        slow = [await queued(patient, f"http://127.0.0.1:{host.port}/") for _ in range(4)]
        await host.until_asked()
        await patient.ended(await patient.upload(PHOTO))
        assert [(await patient.status(upload_id))["error"] for upload_id in slow] == [None] * 4
        for upload_id in slow:
            await patient.client.delete(f"/upload/{upload_id}")


async def test_h22_a_worker_killed_while_it_fetches_is_followed_by_another(servers: Servers) -> None:
    async with (
        Service.start(servers.environment(), decoders=1, lease_s=1, outbound_allow="127.0.0.1") as service,
        Listener.start(in_turn(None, ok(PHOTO))) as host,
    ):
        upload_id = await queued(service, f"http://127.0.0.1:{host.port}/")
        await host.until_asked()
        await service.workers[0].kill()
        await service.start_worker()
        assert (await service.ended(upload_id))["attempt"] == 2
        assert (await service.result(upload_id))["original"]["sha256"] == sha256(PHOTO)


async def test_h19_a_repeat_with_its_idempotency_key_is_the_same_upload(fetching: Service) -> None:
    async with Listener.start(ok(PHOTO)) as host:
        key = {"idempotency-key": "a-fetch"}
        url = f"http://127.0.0.1:{host.port}/"
        first, second, other = [
            await fetching.client.post("/upload/url", json={"url": wanted}, headers=key)
            for wanted in (url, url, f"{url}other")
        ]
        assert (first.status_code, second.status_code) == (202, 202)
        assert first.json() == second.json()
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
        await fetching.result(first.json()["id"])
        assert host.connections == 1


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (b"{}", "text/plain", (415, "unsupported_media_type")),
        (b"{", "application/json", (400, "malformed_body")),
        (b"[]", "application/json", (400, "malformed_body")),
        (b"\xff", "application/json", (400, "malformed_body")),
        (b'{"url": "' + b"a" * 40_000 + b'"}', "application/json", (413, "upload_too_large")),
        (b"{}", "application/json", (422, "url_not_allowed")),
        (b'{"url": 7}', "application/json", (422, "url_not_allowed")),
        (b'{"uri": "https://example.com/"}', "application/json", (422, "unknown_field")),
        (b'{"url": "http://127.0.0.1/", "preset": "none"}', "application/json", (422, "invalid_preset")),
        (b'{"url": "http://127.0.0.1/", "metadata": {"n": 1}}', "application/json", (422, "invalid_field")),
        (b'{"url": "http://127.0.0.1/", "expires_in": -1}', "application/json", (422, "invalid_field")),
        (b'{"url": "http://127.0.0.1/", "keep_location": 1}', "application/json", (422, "invalid_field")),
        (b'{"url": "http://127.0.0.1/", "focus": {"x": 2, "y": 0}}', "application/json", (422, "invalid_field")),
        (
            b'{"url": "http://127.0.0.1/", "expires_in": true}',
            "application/json; charset=utf-8",
            (422, "invalid_field"),
        ),
        (b'{"url": "http://127.0.0.1/", "filename": null}', "application/json", (422, "invalid_field")),
        (b'{"url": "http://127.0.0.1/", "filename": {"a": 1}}', "application/json", (422, "invalid_field")),
        (b'{"url": "http://127.0.0.1/", "webhook_url": "x"}', "application/json", (422, "invalid_webhook_url")),
    ],
)
async def test_a_bad_request_is_named(fetching: Service, body: bytes, kind: str, expected: tuple[int, str]) -> None:
    answer = await fetching.client.post("/upload/url", content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["code"]) == expected
