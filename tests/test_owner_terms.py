"""What an owner of the owners file may do: its own limits and presets, and an administrator's reach."""

import hashlib
from collections.abc import AsyncGenerator
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from tests.support.callers import BLOG, ENVIRONMENT, JPEG, PHOTO, SHOP, SHOP_NEXT, by, post, refusal
from tests.support.service import Servers, Service

ADMIN, SLOW, SMALL = "admin-key-0123456789", "slow-key-01234567890", "small-key-0123456789"
OWNERS = f"""
[shop]
presets = ["shop"]
[root]
keys = "{ADMIN}"
admin = true
[slow]
keys = "{SLOW}"
rate_limit = 2
[small]
keys = "{SMALL}"
quota_bytes = 64000
rate_limit = 0
"""
PRESETS = f"""
[shop.card]
width = 64
[secret.big]
width = 80
overlay = {{name = "logo"}}
[overlays.logo]
file = "logo.jpg"
sha256 = "{hashlib.sha256(PHOTO).hexdigest()}"
"""
LARGEST = 64_000


@pytest_asyncio.fixture(scope="module")
async def service(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Service]:
    folder = tmp_path_factory.mktemp("owners")
    (folder / "owners.toml").write_text(OWNERS)
    (folder / "logo.jpg").write_bytes(PHOTO)
    (folder / "presets.toml").write_text(PRESETS)
    files = {"owners_file": folder / "owners.toml", "presets_file": folder / "presets.toml"}
    limits = {"rate_limit": 100, "max_upload_bytes": LARGEST, "outbound_allow": "127.0.0.1"}
    async with Service.start(servers.environment() | ENVIRONMENT, workers=0, **files, **limits) as started:
        yield started


async def upload(service: Service, key: str, **query: str) -> httpx.Response:
    return await service.client.post("/upload", params=query, content=PHOTO, headers=JPEG | by(key))


async def test_f23_an_owner_has_the_presets_that_it_is_allowed_and_no_variants_of_its_own(service: Service) -> None:
    for key in (SHOP, SHOP_NEXT):
        listed = (await service.client.get("/presets", headers=by(key))).json()
        assert (set(listed["presets"]), set(listed["overlays"])) == ({"shop"}, set())
    listed = (await service.client.get("/presets", headers=by(BLOG))).json()
    assert (set(listed["presets"]), set(listed["overlays"])) == ({"default", "shop", "secret"}, {"logo"})
    accepted = await upload(service, SHOP, preset="shop")
    assert accepted.status_code == 202
    unknown = (await upload(service, SHOP, preset="nothing")).json()["detail"]
    for preset in ("secret", "default"):
        answer = await upload(service, SHOP, preset=preset)
        assert refusal(answer) == (422, "invalid_preset")
        assert answer.json()["detail"] == unknown.replace("nothing", preset), "as for one that there is not"
        assert answer.json()["detail"].endswith("The presets are: shop.")
    assert refusal(await upload(service, SHOP)) == (422, "invalid_preset"), "default is none of its"
    own = await upload(service, SHOP, variants='{"a": {"width": 9}}')
    assert refusal(own) == (422, "invalid_variants")
    assert own.json()["detail"].endswith("one of shop.")
    assert (await upload(service, BLOG, variants='{"a": {"width": 9}}')).status_code == 202
    for body in ({"url": "http://127.0.0.1/a.jpg", "preset": "secret"}, {"url": "http://127.0.0.1/a.jpg"}):
        answer = await service.client.post("/upload/url", json=body, headers=by(SHOP))
        assert refusal(answer) == (422, "invalid_preset")
    url = f"{accepted.json()['url']}/variants"
    for body, code in (
        ({"preset": "secret"}, "invalid_preset"),
        ({"variants": {"a": {"width": 9}}}, "invalid_variants"),
    ):
        assert refusal(await service.client.post(url, json=body, headers=by(SHOP))) == (422, code)


async def test_f24_an_owners_own_limits_take_the_place_of_the_services(service: Service) -> None:
    answers = [await upload(service, SLOW) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert "Rate limit of 2 uploads a minute" in answers[2].json()["detail"]
    assert answers[2].headers["ratelimit-policy"] == '"uploads";q=2;w=60'
    small = [await upload(service, SMALL) for _ in range(LARGEST // len(PHOTO) + 1)]
    assert {answer.status_code for answer in small[:-1]} == {202}
    assert refusal(small[-1]) == (429, "quota_exceeded")
    assert small[-1].headers["ratelimit-policy"] == f'"bytes";q={LARGEST};qu="content-bytes";w=86400', "no rate"
    assert (await upload(service, BLOG)).headers["ratelimit-policy"] == '"uploads";q=100;w=60'


async def test_f25_an_administrator_sees_and_acts_on_any_upload_by_its_id(service: Service) -> None:
    theirs = (await upload(service, BLOG)).json()["id"]
    for path in ("", "/status", "/result"):
        answer = await service.client.get(f"/upload/{theirs}{path}", headers=by(ADMIN))
        assert answer.status_code in {200, 202}
    cancelled = await service.client.post(f"/upload/{theirs}/cancel", headers=by(ADMIN))
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "CANCELLED")
    retried = await service.client.post(f"/upload/{theirs}/retry", headers=by(ADMIN))
    assert retried.status_code in {202, 409}, "409 while its files are being removed"
    changed = await service.client.patch(f"/upload/{theirs}", json={"focus": {"x": 0.5, "y": 0.5}}, headers=by(ADMIN))
    assert changed.status_code == 200
    for _ in range(2):
        assert (await service.client.delete(f"/upload/{theirs}", headers=by(ADMIN))).status_code == 204
    assert (await service.client.delete(f"/upload/{theirs}", headers=by(BLOG))).status_code == 204, "still its own"
    assert (await service.client.delete(f"/upload/{theirs}", headers=by(SLOW))).status_code == 404
    for method, path in (("GET", "/status"), ("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")):
        answer = await service.client.request(method, f"/upload/{uuid4()}{path}", headers=by(ADMIN))
        assert refusal(answer) == (404, "not_found")


async def test_f25_a_list_is_the_callers_own_unless_an_administrator_asks_for_another_owners(service: Service) -> None:
    theirs, own = (await upload(service, BLOG)).json()["id"], (await upload(service, ADMIN)).json()["id"]

    async def listed(key: str, **query: str) -> set[str]:
        answer = await service.client.get("/uploads", params={"limit": "200", **query}, headers=by(key))
        return {document["id"] for document in answer.json()["uploads"]}

    assert own in await listed(ADMIN)
    assert theirs not in await listed(ADMIN)
    assert theirs in await listed(ADMIN, owner="blog")
    assert own not in await listed(ADMIN, owner="blog")
    assert theirs in await listed(BLOG, owner="blog")
    assert await listed(ADMIN, owner="nobody") == set()
    for asked in ("root", "shop", "", "*"):
        answer = await service.client.get("/uploads", params={"owner": asked}, headers=by(BLOG))
        assert refusal(answer) == (403, "forbidden")
    for asked in ("", "*", "Shop", "a" * 41, "a\n", "blog:x"):
        answer = await service.client.get("/uploads", params={"owner": asked}, headers=by(ADMIN))
        assert refusal(answer) == (422, "invalid_field")


async def test_f25_who_is_no_administrator_reaches_no_others_upload(service: Service) -> None:
    theirs = (await upload(service, ADMIN)).json()["id"]
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")):
        answer = await service.client.request(method, f"/upload/{theirs}{path}", headers=by(BLOG))
        assert refusal(answer) == (404, "not_found")
    assert (await post(service, **by(BLOG))).status_code == 202
