"""The operators' calls: what they show, whom they refuse, and what they make of hostile questions."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
import pytest_asyncio

from imgsvc.domain.problems import JOB_FAILURES
from tests.support import callers, images
from tests.support.callers import refusal
from tests.support.hosts import ANYWHERE, drip, fetched_by
from tests.support.peers import Listener
from tests.support.service import Servers, Service, begun, leftovers, resume_decoders, until

PHOTO = images.photo(64, 48)
DAMAGED = images.photo()[:5000]
OPERATOR = "operations-key-0123456789"
CALLS = [
    ("GET", "/admin/stats"),
    ("GET", "/admin/uploads"),
    ("GET", "/admin/uploads/{id}"),
    ("GET", "/admin/count"),
    ("POST", "/admin/retry"),
    ("POST", "/admin/cancel"),
    ("GET", "/admin/actions"),
    ("GET", "/admin/actions/{id}"),
    ("POST", "/admin/actions/{id}/cancel"),
]


@pytest_asyncio.fixture(scope="module")
async def one(servers: Servers) -> AsyncGenerator[Service]:
    """One decoder, which a test may suspend."""
    async with Service.start(servers.environment(), decoders=1, redis_timeout_s=5, s3_timeout_s=12) as started:
        yield started


async def got(service: Service, path: str, **query: str | int) -> dict[str, Any]:
    answer = await service.client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


# What is shown


async def test_an_operator_sees_the_queue_the_workers_and_the_last_hour(one: Service) -> None:
    done, failed = await one.upload(PHOTO), await one.upload(DAMAGED)
    for upload_id in (done, failed):
        await one.ended(upload_id)
    running = await begun(one, filename="at-work.jpg")
    waiting = await one.upload(PHOTO, priority="low")
    stats = await got(one, "/admin/stats")
    assert stats["queue"]["leased"] >= 1
    assert stats["queue"]["max_queued"] == 10_000
    assert len(stats["minutes"]) == 60
    assert sum(minute["accepted"] for minute in stats["minutes"]) >= 4
    assert sum(minute["done"] for minute in stats["minutes"]) >= 1
    assert stats["failed"]["decode_failed"] >= 1
    assert stats["minutes"][-1]["queued"] == sum(stats["queue"][name] for name in ("waiting", "leased", "delayed"))
    assert stats["duration"]["p50_ms"] <= stats["duration"]["p95_ms"]
    assert stats["checks"]["storage"]["ok"]
    (worker,) = stats["workers"]
    assert worker["alive"]
    at_work = next(job for job in worker["jobs"] if job["id"] == running)
    assert (at_work["filename"], at_work["step"], at_work["attempt"]) == ("at-work.jpg", "decode", 1)
    resume_decoders(one.workers[0])
    for upload_id in (running, waiting):
        await one.ended(upload_id)


async def test_a_fetch_is_seen_at_the_worker_that_makes_it(servers: Servers) -> None:
    async with Service.start(servers.environment(), **ANYWHERE) as service, Listener.start(drip) as host:
        upload_id = await fetched_by(service, "", host)
        await until(lambda: host.connections == 1)
        (worker,) = (await got(service, "/admin/stats"))["workers"]
        assert worker["alive"]
        assert [job["id"] for job in worker["jobs"]] == [upload_id]


async def test_an_operator_finds_an_upload_and_reads_its_story(one: Service) -> None:
    name = f"{uuid4()}.jpg"
    answer = await one.client.post("/upload", files={"file": (name, DAMAGED)}, headers={"x-request-id": "story-0001"})
    upload_id = answer.json()["id"]
    await one.ended(upload_id)
    for query in ({"q": name.upper()}, {"q": upload_id[:20]}, {"q": name, "status": "FAILURE"}):
        page = await got(one, "/admin/uploads", **query)
        (row,) = page["uploads"]
        assert (row["id"], row["owner"], row["request_id"], row["error"]["code"]) == (
            upload_id,
            "",
            "story-0001",
            "decode_failed",
        )
        assert page["next"] is None
    assert (await got(one, "/admin/count", q=name))["count"] == 1
    assert (await got(one, "/admin/uploads", q=name, status="SUCCESS"))["uploads"] == []
    await one.client.post(f"/upload/{upload_id}/retry", headers={"x-request-id": "story-0002"})
    await one.ended(upload_id)
    story = await got(one, f"/admin/uploads/{upload_id}")
    (note,) = story["history"]
    assert (note["event"], note["detail"], note["request_id"]) == ("failed", "decode_failed", "story-0001")
    assert (story["request_id"], story["bytes"]) == ("story-0002", len(DAMAGED))
    assert story["worker"] == note["worker"]
    assert story["webhook"] is None


async def test_pages_follow_each_other(one: Service) -> None:
    prefix = uuid4().hex
    ids = [await one.upload(PHOTO, f"{prefix}-{number}.jpg") for number in range(5)]
    found: list[str] = []
    page = await got(one, "/admin/uploads", q=prefix, limit=2)
    while True:
        found += [row["id"] for row in page["uploads"]]
        if page["next"] is None:
            break
        page = await got(one, "/admin/uploads", q=prefix, limit=2, cursor=page["next"])
    assert found == ids[::-1]


async def test_all_that_failed_with_a_code_are_retried_by_the_workers(one: Service) -> None:
    ids = [await one.upload(DAMAGED) for _ in range(3)]
    for upload_id in ids:
        await one.ended(upload_id)
    where = {"status": "FAILURE", "code": "decode_failed", "owner": None}
    answer = await one.client.post("/admin/retry", json={"where": where})
    assert answer.status_code == 202
    begun = answer.json()
    assert answer.headers["location"] == f"/admin/actions/{begun['id']}"
    assert (begun["action"], begun["where"]["code"], begun["where"]["owner"]) == ("retry", "decode_failed", None)

    async def is_done() -> bool:
        return (await got(one, answer.headers["location"]))["status"] == "DONE"

    await until(is_done)
    seen = await got(one, answer.headers["location"])
    assert seen["done"] >= 3
    assert seen["finished_at"]
    assert begun["id"] in [action["id"] for action in (await got(one, "/admin/actions"))["actions"]]
    for upload_id in ids:
        await one.ended(upload_id)
        (note,) = (await got(one, f"/admin/uploads/{upload_id}"))["history"]
        assert note["event"] == "failed"


async def test_a_bulk_action_can_be_cancelled(one: Service) -> None:
    begun = (await one.client.post("/admin/cancel", json={"where": {"q": "nothing has this name"}})).json()
    answer = await one.client.post(f"/admin/actions/{begun['id']}/cancel")
    assert answer.status_code == 200
    assert answer.json()["status"] in {"CANCELLED", "DONE"}


async def test_a_key_with_admin_sees_all_owners_uploads_and_acts_on_them(servers: Servers, tmp_path: Path) -> None:
    owners = tmp_path / "owners.toml"
    owners.write_text(f'[operations]\nkeys = ["{OPERATOR}"]\nadmin = true\n')
    owners.chmod(0o600)
    async with callers.with_keys(servers, workers=0, owners_file=owners) as service:
        upload_id = await service.upload(PHOTO)
        assert refusal(await service.client.get("/admin/stats")) == (403, "forbidden")
        service.client.headers["authorization"] = f"Bearer {OPERATOR}"
        (row,) = (await got(service, "/admin/uploads", owner="shop"))["uploads"]
        assert (row["id"], row["owner"]) == (upload_id, "shop")
        assert (await got(service, "/admin/uploads", owner="operations"))["uploads"] == []
        assert (await service.client.post(f"/upload/{upload_id}/cancel")).status_code == 200
        begun = await service.client.post("/admin/retry", json={"where": {"status": "CANCELLED"}})
        assert begun.json()["by"] == "operations"


# Who is refused


@pytest.mark.parametrize("authorization", [f"Bearer {callers.SHOP}", "Bearer forged-key-0123456789", None])
async def test_a3_who_is_no_operator_is_refused_everything(keyed: Service, authorization: str | None) -> None:
    upload_id = await keyed.upload(PHOTO)
    await keyed.ended(upload_id)
    before = leftovers(keyed.environment)
    headers = {} if authorization is None else {"authorization": authorization}
    async with httpx.AsyncClient(base_url=keyed.url, headers=headers) as client:
        for method, path in CALLS:
            content = b'{"where": {}}' if method == "POST" and "{id}" not in path else None
            answer = await client.request(
                method,
                path.format(id=upload_id),
                content=content,
                headers={"content-type": "application/json"} if content else {},
            )
            if authorization == f"Bearer {callers.SHOP}":
                assert refusal(answer) == (403, "forbidden"), path
                assert "IMGSVC_OWNERS_FILE" in answer.json()["detail"], "it says how to become one"
            else:
                assert refusal(answer) == (401, "unauthorized"), path
        page = await client.get("/admin")
        assert page.status_code == (401 if authorization and "forged" in authorization else 200) or page.is_success
    callers.assert_nothing_new(keyed, before)
    assert (await keyed.status(upload_id))["status"] == "SUCCESS"


async def test_a3_a_service_that_is_open_beyond_its_machine_has_no_operators(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=0, host="0.0.0.0", allow_open="true") as service:
        answer = await service.client.get("/admin/stats")
    assert refusal(answer) == (403, "forbidden")
    assert "IMGSVC_OWNERS_FILE" in answer.json()["detail"]


async def test_a3_a_foreign_page_can_begin_nothing(service: Service) -> None:
    for path in ("/admin/retry", "/admin/cancel"):
        answer = await service.client.post(path, json={"where": {}}, headers={"sec-fetch-site": "cross-site"})
        assert refusal(answer) == (403, "forbidden")


# Hostile questions


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("status", value) for value in ("success", "", "RESERVED", "ABANDONED", "SUCCESS PENDING", "NaN")),
        *(("code", value) for value in ("", "none", 'decode_failed"', "x" * 5000)),
        *(("owner", value) for value in ("*", "Shop", "a b", "../x", "x" * 41, "shop:1", "\n")),
        *(("q", value) for value in ("x" * 101,)),
        *(
            ("created_before", value)
            for value in ("", "yesterday", "1764257000", "2026-11-25T10:35:00", "9999-99-99T00:00:00Z", "NaN", "-1")
        ),
        ("created_after", "0001-01-01T00:00:00+23:59"),
    ],
)
async def test_a4_a_filter_that_is_none_is_refused_and_says_what_is_allowed(
    service: Service, field: str, value: str
) -> None:
    for answer in (
        await service.client.get("/admin/uploads", params={field: value}),
        await service.client.get("/admin/count", params={field: value}),
        await service.client.post("/admin/retry", json={"where": {field: value}}),
    ):
        assert refusal(answer) == (422, "invalid_field")
        assert f"'{field}' must" in answer.json()["detail"]


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "201"},
        {"limit": "1e2"},
        {"cursor": "made up"},
        {"cursor": ""},
        {"cursor": "A" * 5000},
    ],
)
async def test_a4_pages_that_there_are_not_are_refused(service: Service, query: dict[str, str]) -> None:
    assert refusal(await service.client.get("/admin/uploads", params=query)) == (422, "invalid_field")


@pytest.mark.parametrize("text", ["%", "[(", "*", "\x00", "'; DROP", "\u202e", "ÄÖ", "%s%n", "a\tb", "-", "]]"])
async def test_a4_what_is_searched_for_is_text_and_nothing_else(service: Service, text: str) -> None:
    upload_id = await service.upload(PHOTO, f"{uuid4().hex}-plain.jpg")
    page = await got(service, "/admin/uploads", q=text)
    assert upload_id not in [row["id"] for row in page["uploads"]] or text == "-"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{}", 422, "invalid_field"),
        (b"[]", 400, "malformed_body"),
        (b"null", 400, "malformed_body"),
        (b"{", 400, "malformed_body"),
        (b'{"where": null}', 422, "invalid_field"),
        (b'{"where": []}', 422, "invalid_field"),
        (b'{"where": "all"}', 422, "invalid_field"),
        (b'{"where": {"status": 1}}', 422, "invalid_field"),
        (b'{"where": {"status": true}}', 422, "invalid_field"),
        (b'{"where": {"status": ["FAILURE"]}}', 422, "invalid_field"),
        (b'{"where": {"status": "SUCCESS"}}', 422, "invalid_field"),
        (b'{"where": {"created_before": NaN}}', 400, "malformed_body"),
        (b'{"where": {"created_before": 1e999}}', 400, "malformed_body"),
        (b'{"where": {"owner": {"a": {}}}}', 422, "invalid_field"),
        (b'{"where": {"everything": "yes"}}', 422, "unknown_field"),
        (b'{"where": {}, "and": 1}', 422, "unknown_field"),
        (b'{"where": {}, "where": {}}', 400, "malformed_body"),
        (b'{"where": {"q": "' + b"x" * 40_000 + b'"}}', 413, "upload_too_large"),
        (b'{"where": ' + b"[" * 100 + b"]" * 100 + b"}", 400, "malformed_body"),
    ],
)
async def test_a4_a_bulk_action_that_is_none_is_refused(service: Service, body: bytes, status: int, code: str) -> None:
    headers = {"content-type": "application/json"}
    for path in ("/admin/retry", "/admin/cancel"):
        if path == "/admin/retry" or b"SUCCESS" not in body:
            answer = await service.client.post(path, content=body, headers=headers)
            assert refusal(answer) == (status, code)


async def test_a4_an_action_or_upload_that_is_not_there_is_404(service: Service) -> None:
    for path in (f"/admin/actions/{uuid4()}", "/admin/actions/*", f"/admin/uploads/{uuid4()}", "/admin/uploads/none"):
        assert refusal(await service.client.get(path)) == (404, "not_found")
    assert refusal(await service.client.post(f"/admin/actions/{uuid4()}/cancel")) == (404, "not_found")


async def test_the_page_knows_the_codes_of_failures(service: Service) -> None:
    script = (await service.client.get("/static/admin/failure-codes.js")).text
    listed = script[script.index("[") : script.index("]") + 1].replace(",\n]", "]")
    assert orjson.loads(listed) == list(JOB_FAILURES)
