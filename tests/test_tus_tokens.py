"""An upload token at `/tus`: it makes one upload, within what it allows (row T17)."""

from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from tests.support import images
from tests.support.service import Service
from tests.support.tokens import issued
from tests.support.tus import Tus, assert_stored, described, id_of, kept_of, large_photo

PHOTO = images.photo()


@pytest_asyncio.fixture
async def page(keyed: Service) -> AsyncGenerator[Tus]:
    """Somebody without a key."""
    async with httpx.AsyncClient(base_url=keyed.url, timeout=30) as client:
        yield Tus(client)


async def created(page: Tus, url: str, length: int = len(PHOTO), **fields: str) -> httpx.Response:
    return await page.call("POST", url, None, upload_length=str(length), upload_metadata=described(**fields))


async def test_t17_a_token_makes_one_upload_under_the_id_that_it_names(keyed: Service, page: Tus) -> None:
    document = await issued(keyed, metadata={"sku": "81"})
    assert document["tus_url"] == f"/tus?token={document['token']}"
    answer = await created(page, document["tus_url"], filename="a.jpg")
    path = answer.headers["location"]
    assert (answer.status_code, path) == (201, f"/tus/{document['id']}?token={document['token']}")
    assert await page.added(path, 0, PHOTO[:1000]) == 1000
    assert await page.offset(path) == 1000
    assert await page.added(path, 1000, PHOTO[1000:]) == len(PHOTO)
    status = await assert_stored(keyed, path.partition("?")[0], PHOTO)
    assert (status["filename"], status["metadata"]) == ("a.jpg", {"sku": "81"})
    for refused, code in (
        (await created(page, document["tus_url"]), "token_used"),
        (await page.call("DELETE", path), "forbidden"),
        (await page.client.patch(f"/tus/{uuid4()}?token={document['token']}"), "forbidden"),
    ):
        assert refused.json()["code"] == code
    assert await page.offset(path) == len(PHOTO)


async def test_t17_who_lost_the_address_begins_again_and_the_try_before_changes_nothing(
    keyed: Service, page: Tus
) -> None:
    document, other = await issued(keyed), large_photo(20_000)
    first = (await created(page, document["tus_url"], len(other))).headers["location"]
    await page.added(first, 0, other[:9000])
    beside = await page.client.post(document["upload_url"], content=PHOTO, headers={"content-type": "image/jpeg"})
    assert (beside.status_code, beside.json()["code"]) == (409, "idempotency_in_flight")
    second = (await created(page, document["tus_url"])).headers["location"]
    assert second == first
    assert await page.offset(second) == 0
    assert (await page.patch(first, 9000, other[9000:])).status_code == 409
    await page.added(second, 0, PHOTO)
    await assert_stored(keyed, second.partition("?")[0], PHOTO)
    objects = kept_of(keyed.environment, id_of(second.partition("?")[0]))["objects"]
    assert len([key for key in objects if key.startswith("originals/")]) == 1
    given_up = await issued(keyed)
    path = (await created(page, given_up["tus_url"])).headers["location"]
    assert (await page.call("DELETE", path)).status_code == 204
    assert (await created(page, given_up["tus_url"])).status_code == 201, "the token is free"


@pytest.mark.parametrize(
    ("terms", "length", "fields", "status"),
    [
        ({"max_bytes": 1000}, 1001, {}, 413),
        ({"content_types": ["image/png"]}, 1000, {"filetype": "image/jpeg"}, 415),
        ({"preset": "default"}, 1000, {"preset": "default"}, 422),
        ({}, 1000, {"webhook_url": "https://example.com/"}, 422),
        ({}, 1000, {"expires_in": "60"}, 422),
    ],
)
async def test_t17_what_a_token_limits_is_refused_at_once(
    keyed: Service, page: Tus, terms: dict[str, Any], length: int, fields: dict[str, str], status: int
) -> None:
    document = await issued(keyed, **terms)
    assert (await created(page, document["tus_url"], length, **fields)).status_code == status


async def test_t17_limits_are_not_evaded_by_pieces_or_a_late_length(keyed: Service, page: Tus) -> None:
    document = await issued(keyed, content_types=["image/png"], max_bytes=5000)
    path = (await created(page, document["tus_url"], 5000)).headers["location"]
    await page.added(path, 0, PHOTO[:10])
    assert (await page.patch(path, 10, PHOTO[10:5000])).status_code == 415
    assert kept_of(keyed.environment, document["id"])["objects"] == []
    deferred = await page.call("POST", document["tus_url"], None, upload_defer_length="1")
    path = deferred.headers["location"]
    assert (await page.patch(path, 0, bytes(5001))).status_code == 413
    assert (await page.patch(path, 0, b"", upload_length="5001")).status_code == 413
    bare = document["token"]
    by_header = await page.call("HEAD", f"/tus/{document['id']}", None, authorization=f"Bearer {bare}")
    assert by_header.headers["upload-offset"] == "0"
