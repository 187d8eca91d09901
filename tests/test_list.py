"""The list of uploads: newest first, by status, page by page."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from imgsvc.api.uploads.list import from_cursor, to_cursor
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Failure
from tests.support import images
from tests.support.service import Servers, Service, leftovers, settings_of, until
from tests.support.submissions import submission

PHOTO = images.photo()
FAILURE = Failure("decode_failed", "broken")


class Shelf:
    """A service without workers: an upload moves when the test says so."""

    def __init__(self, service: Service, queue: Queue, redis: Redis) -> None:
        self.service = service
        self.queue = queue
        self.redis = redis

    @classmethod
    @asynccontextmanager
    async def open(cls, environment: dict[str, str], **settings: object) -> AsyncGenerator["Shelf"]:
        async with Service.start(environment, workers=0, lease_s=60, **settings) as service:
            mine = settings_of(service.environment)
            async with Queue.open(mine) as queue, Redis.from_url(mine.redis_url) as redis:
                yield cls(service, queue, redis)

    async def submitted(self, count: int) -> list[str]:
        """Uploads that never had a body, the newest first."""
        ids = [str(uuid4()) for _ in range(count)]
        for upload_id in ids:
            await self.queue.reserve(upload_id)
            await self.queue.submit(submission(upload_id))
            await asyncio.sleep(0.002)  # order is by the millisecond
        return ids[::-1]

    async def ended(self, count: int) -> list[str]:
        ids = await self.submitted(count)
        for claim in await self.queue.claim("the test", 1000):
            await self.queue.finish(claim, FAILURE)
        return ids

    async def page(self, **query: str | int) -> dict[str, Any]:
        answer = await self.service.client.get("/uploads", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ids(self, **query: str | int) -> list[str]:
        """Of all pages."""
        found: list[str] = []
        page = await self.page(**query)
        while True:
            found += [document["id"] for document in page["uploads"]]
            if page["next"] is None:
                return found
            page = await self.page(**query, cursor=page["next"])


@pytest_asyncio.fixture(scope="module")
async def shelf_for_all(servers: Servers) -> AsyncGenerator[Shelf]:
    async with Shelf.open(servers.environment()) as opened:
        yield opened


@pytest_asyncio.fixture
async def shelf(shelf_for_all: Shelf) -> Shelf:
    """One with nothing on it."""
    await shelf_for_all.redis.flushdb()
    return shelf_for_all


async def test_the_list_tells_each_upload_as_its_status_does(shelf: Shelf) -> None:
    assert await shelf.page() == {"uploads": [], "next": None}
    older = await shelf.service.upload(PHOTO, "older.jpg", metadata='{"k": "v"}')
    newer = await shelf.service.upload(PHOTO, "newer.jpg")
    assert await shelf.page() == {
        "uploads": [await shelf.service.status(upload_id) for upload_id in (newer, older)],
        "next": None,
    }


async def test_pages_follow_each_other_without_gap_or_repeat(shelf: Shelf) -> None:
    ids = await shelf.submitted(23)
    first = await shelf.page(limit=10)
    assert [document["id"] for document in first["uploads"]] == ids[:10]
    assert await shelf.ids(limit=10) == await shelf.ids(limit=1) == await shelf.ids(limit=23) == ids
    assert (await shelf.page(limit=23))["next"] is None


async def test_a_page_is_of_50_unless_told_otherwise(shelf: Shelf) -> None:
    ids = await shelf.submitted(201)
    assert len((await shelf.page())["uploads"]) == 50
    assert [document["id"] for document in (await shelf.page(limit=200))["uploads"]] == ids[:200]


async def test_a_cursor_stands_still_while_uploads_come_go_and_move(shelf: Shelf) -> None:
    ids = await shelf.submitted(12)
    first = await shelf.page(limit=5)
    await shelf.submitted(3)  # newer than all that was seen
    for gone in (ids[4], ids[0], ids[7]):  # the one that the cursor was made of, too
        await shelf.service.client.delete(f"/upload/{gone}")
    for claim in await shelf.queue.claim("the test", 4):
        await shelf.queue.finish(claim, FAILURE)
    second = await shelf.page(limit=5, cursor=first["next"])
    assert [document["id"] for document in second["uploads"]] == [ids[at] for at in (5, 6, 8, 9, 10)]
    third = await shelf.page(limit=5, cursor=second["next"])
    assert ([document["id"] for document in third["uploads"]], third["next"]) == ([ids[11]], None)


async def test_uploads_of_one_millisecond_are_told_apart(shelf: Shelf) -> None:
    ids = await shelf.submitted(9)
    for upload_id in ids:
        await shelf.redis.execute_command("HSET", f"imgsvc:upload:{upload_id}", "created_at", 1000)
    await shelf.redis.delete("imgsvc:list:PENDING:")
    assert len(await shelf.queue.claim("the test", 5)) == 5
    await shelf.redis.zadd("imgsvc:list:PENDING:", dict.fromkeys(await pending(shelf, ids), 1000))
    for limit in (1, 2, 4, 9):
        assert await shelf.ids(limit=limit) == sorted(ids, reverse=True)


async def pending(shelf: Shelf, ids: list[str]) -> list[str]:
    return [upload_id for upload_id in ids if (await shelf.service.status(upload_id))["status"] == "PENDING"]


async def test_the_list_can_be_of_one_status(shelf: Shelf) -> None:
    failed = await shelf.ended(3)
    waiting = await shelf.submitted(3)
    cancelled = waiting.pop()
    await shelf.service.client.post(f"/upload/{cancelled}/cancel")
    (claim,) = await shelf.queue.claim("the test", 1)
    waiting.remove(claim.id)
    lists = {"FAILURE": failed, "PENDING": waiting, "CANCELLED": [cancelled], "PROGRESS": [claim.id], "SUCCESS": []}
    assert {status: await shelf.ids(status=status, limit=2) for status in lists} == lists
    await shelf.service.client.post(f"/upload/{cancelled}/retry")
    assert await shelf.ids(status="CANCELLED") == []
    assert cancelled in await shelf.ids(status="PENDING")


async def test_what_is_deleted_or_given_up_is_on_no_list(shelf: Shelf) -> None:
    deleted, abandoned, *rest = await shelf.submitted(4)
    await shelf.queue.delete(deleted)
    await shelf.queue.abort(abandoned)
    reserved = str(uuid4())
    await shelf.queue.reserve(reserved)
    assert await shelf.ids() == rest
    for upload_id in rest:
        await shelf.queue.delete(upload_id)
    assert not any("list" in key for key in leftovers(shelf.service.environment)["keys"])


async def test_what_has_expired_is_on_no_list_and_leaves_nothing(servers: Servers) -> None:
    async with Shelf.open(servers.environment(), record_ttl_s=4) as shelf:
        ended = await shelf.ended(5)
        short = await shelf.service.upload(PHOTO, expires_in="4")
        kept = await shelf.service.upload(PHOTO)
        assert await shelf.ids() == [kept, short, *ended]

        async def expired() -> bool:
            return await shelf.ids() == [kept]

        await until(expired)
        await until_gone(shelf, "imgsvc:list:FAILURE:")
        assert await shelf.redis.zrange("imgsvc:list:PENDING:", 0, -1) == [kept.encode()]


async def until_gone(shelf: Shelf, key: str) -> None:
    async def gone() -> bool:
        return not await shelf.redis.exists(key)

    await until(gone)


async def test_a_list_that_goes_on_growing_is_rid_of_what_has_expired(servers: Servers) -> None:
    async with Shelf.open(servers.environment(), record_ttl_s=1) as shelf:
        old = await shelf.ended(5)

        async def expired() -> bool:
            return not await shelf.redis.exists(*(f"imgsvc:upload:{upload_id}" for upload_id in old))

        while not await expired():
            new = await shelf.ended(1)
        new = await shelf.ended(1)
        left = await shelf.redis.zrange("imgsvc:list:FAILURE:", 0, -1)
        assert new[0].encode() in left
        assert not {upload_id.encode() for upload_id in old} & set(left)


async def test_pages_that_are_read_while_jobs_run_repeat_none(service: Service) -> None:
    uploads = [await service.upload(PHOTO) for _ in range(12)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while len(seen) < len(uploads):
        page = (await service.client.get("/uploads", params={"limit": "3"} | cursor)).json()
        seen += [document["id"] for document in page["uploads"]]
        cursor = {"cursor": page["next"]}
    assert seen == uploads[::-1]
    assert max(Counter(seen).values()) == 1


@pytest.mark.parametrize("limit", ["", "0", "-1", "201", "1.5", "ten", "9" * 400])
async def test_a_limit_that_is_none_is_refused(service: Service, limit: str) -> None:
    await refused(service, "limit", limit)


@pytest.mark.parametrize("status", ["", "success", "RESERVED", "DONE"])
async def test_a_status_that_is_none_is_refused(service: Service, status: str) -> None:
    await refused(service, "status", status)


async def test_a_cursor_that_was_tampered_with_is_refused(service: Service) -> None:
    good = to_cursor((1_764_000_000_000, str(uuid4())))
    assert to_cursor(from_cursor(good)) == good
    changed = [good[:at] + ("B" if good[at] == "A" else "A") + good[at + 1 :] for at in range(len(good))]
    for cursor in ["", "x", "é", good[:-4], good + "AAAA", good + "=", good * 10, *changed]:
        await refused(service, "cursor", cursor)


async def refused(service: Service, name: str, value: str) -> None:
    answer = await service.client.get("/uploads", params={name: value})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field"), value
    assert f"'{name}'" in answer.json()["detail"]


async def test_what_else_is_asked_is_let_through(service: Service) -> None:
    assert (await service.client.get("/uploads?sort=size&limit=1")).status_code == 200
