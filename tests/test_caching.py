"""What caches may keep: files and the page's own parts, and nothing that is true only now (row H46)."""

from uuid import uuid4

import httpx
import pytest

from tests.support import images
from tests.support.callers import by
from tests.support.service import Service
from tests.support.wire import Connection, request

PHOTO = images.photo(64, 48)


async def test_h46_no_cache_keeps_a_document_or_a_refusal(service: Service) -> None:
    get, post = service.client.get, service.client.post
    accepted = await service.post(PHOTO)
    upload_id = accepted.json()["id"]
    await service.ended(upload_id)
    answers = [
        accepted,
        *[await get(f"/upload/{upload_id}{path}") for path in ("", "/status", "/result")],
        *[await get(path) for path in ("/uploads", "/presets", "/healthz", "/readyz", "/metrics")],
        *[await get(path) for path in ("/nowhere", f"/upload/{uuid4()}", "/static/page/nothing.js", "/%0a")],
        await get(f"/files/processed/{uuid4()}/early_thumbnail.jpeg"),
        await get("/healthz", headers={"host": "elsewhere.example"}),
        await service.client.put("/upload"),
        await service.client.head(f"/upload/{upload_id}/status"),
        await post("/upload", content=b"no image"),
        await post("/upload/url", json={}),
        await post(f"/upload/{upload_id}/cancel"),
        await service.client.delete(f"/upload/{upload_id}"),
    ]
    assert {answer.status_code for answer in answers} >= {200, 202, 204, 400, 403, 404, 405, 409, 415} - {400}
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store", (answer.request.url, answer.status_code)


async def test_h46_a_file_asked_for_too_early_is_found_later_through_a_cache(service: Service) -> None:
    """A cache keeps a 404 by itself where nobody says how long (RFC 9111, 4.2.2)."""
    path = f"/files/processed/{uuid4()}/x_thumbnail.jpeg"
    for answer in (await service.client.get(path), await service.client.head(path)):
        assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store")


async def test_h46_files_and_assets_are_kept_as_before(service: Service) -> None:
    path = (await service.result(await service.upload(PHOTO)))["result"]["thumbnail"]
    whole = await service.client.get(path)
    part = await service.client.get(path, headers={"range": "bytes=0-9"})
    same = await service.client.get(path, headers={"if-none-match": whole.headers["etag"]})
    for answer, status in ((whole, 200), (part, 206), (same, 304)):
        assert (answer.status_code, answer.headers["cache-control"]) == (status, "public, max-age=86400, immutable")
    beyond = await service.client.get(path, headers={"range": "bytes=9999999-"})
    other = await service.client.get(path, headers={"if-match": '"other"'})
    for answer, status in ((beyond, 416), (other, 412)):
        assert (answer.status_code, answer.headers["cache-control"]) == (status, "no-store")
    for path in ("/", "/docs", "/openapi.json", "/static/page/main.js", "/static/docs/docs.js"):
        first = await service.client.get(path)
        again = await service.client.get(path, headers={"if-none-match": first.headers["etag"]})
        assert (first.headers["cache-control"], again.headers["cache-control"]) == ("no-cache", "no-cache")
        assert again.status_code == 304


@pytest.mark.parametrize("wrong", [{}, {"authorization": "Bearer wrong-key-0123456789"}])
async def test_h46_nobody_is_told_a_caches_401(keyed: Service, wrong: dict[str, str]) -> None:
    async with httpx.AsyncClient(base_url=keyed.url) as client:
        answer = await client.get("/presets", headers=wrong)
        assert (answer.status_code, answer.headers["cache-control"]) == (401, "no-store")
        assert (await client.get("/presets", headers=by("shop-key-0123456789"))).status_code == 200


async def test_h46_an_event_stream_is_passed_on_as_it_is(service: Service) -> None:
    """A proxy that packs it would hold events back until it has enough of them."""
    upload_id = await service.upload(PHOTO)
    await service.ended(upload_id)
    answer = await service.client.get(f"/upload/{upload_id}/events", headers={"accept-encoding": "gzip"})
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"
    assert "content-encoding" not in answer.headers
    async with Connection.to(service.port) as connection:
        last = next(line for line in answer.text.splitlines() if line.startswith("id: ")).removeprefix("id: ")
        head = f"GET /upload/{upload_id}/events HTTP/1.1\nLast-Event-ID: {last}"
        await connection.send(request(head))
        over = await connection.answer()
    assert (over.status, over.headers["cache-control"]) == (204, "no-store")
