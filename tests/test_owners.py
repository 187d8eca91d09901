"""Owners: another's upload is as unknown as one that never was (row H16)."""

from contextlib import closing
from typing import Any
from uuid import uuid4

import httpx
from redis import Redis

from imgsvc.runtime.settings import MIB
from tests.support.callers import BLOG, ENVIRONMENT, PHOTO, SHOP, SHOP_NEXT, by, post, refusal, with_keys
from tests.support.service import Servers, Service


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
