"""What an upload's webhook was sent can be seen by its owner, and sent again."""

import base64
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from standardwebhooks.webhooks import WebhookVerificationError

from imgsvc.runtime.webhook_secrets import WebhookKeys, secret_of
from tests.support import images
from tests.support.command import imgsvc
from tests.support.peers import Receiver
from tests.support.service import Servers, Service
from tests.test_webhooks import FAILED, GONE, HASTY, NO_CONTENT, until_webhook

SMALL = images.photo(160, 120)
KEYS = {"shop": "key-of-the-shop-0123456789", "blog": "key-of-the-blog-0123456789"}
SHOP, BLOG = ({"authorization": f"Bearer {key}"} for key in KEYS.values())
SETTINGS: dict[str, Any] = {
    "webhook_secret": "whsec_" + base64.b64encode(bytes(32)).decode(),
    "outbound_allow": "127.0.0.1",
    "api_keys": ",".join(f"{name}:{key}" for name, key in KEYS.items()),
    "files": "public",
}


@pytest_asyncio.fixture(scope="module")
async def shop(servers: Servers) -> AsyncGenerator[Service]:
    """A service that two owners share, with a worker in a hurry; the shop is the caller."""
    async with Service.start(servers.environment(), workers=0, decoders=1, **SETTINGS) as started:
        await started.start_worker(HASTY)
        await started.until_ready(1)
        started.client.headers.update(SHOP)
        yield started


async def deliveries(service: Service, upload_id: str) -> dict[str, Any]:
    answer = await service.client.get(f"/upload/{upload_id}/deliveries")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def replay(service: Service, upload_id: str, n: object = 1, **more: Any) -> httpx.Response:
    return await service.client.post(f"/upload/{upload_id}/deliveries/{n}/replay", **more)


async def test_each_attempt_is_listed_with_its_time_and_answer(shop: Service) -> None:
    async with Receiver.start(FAILED, NO_CONTENT) as receiver:
        upload_id = await shop.upload(SMALL, webhook_url=receiver.url)
        await until_webhook(shop, upload_id, "delivered")
        listed = await deliveries(shop, upload_id)
        status = await shop.status(upload_id)
    assert (listed["url"], listed["paused_until"]) == (receiver.url, None)
    (event,) = listed["deliveries"]
    attempts = event.pop("attempts")
    assert event == {
        "n": 1,
        "event": "upload.succeeded",
        "webhook_id": receiver.told[0].id,
        "ended_at": status["finished_at"],
        "state": "delivered",
        "next_at": None,
    }
    assert [(attempt["status"], attempt["error"]) for attempt in attempts] == [(500, None), (204, None)]
    assert status["finished_at"] <= attempts[0]["at"] < attempts[1]["at"]
    assert all(0 <= attempt["duration_ms"] < 3000 for attempt in attempts)


async def test_a_receiver_that_does_not_answer_is_seen_with_the_reason(shop: Service) -> None:
    async with Receiver.start(NO_CONTENT) as receiver:
        url = receiver.url  # and it is closed
    upload_id = await shop.upload(SMALL, webhook_url=url)
    await until_webhook(shop, upload_id, "gave_up")
    (event,) = (await deliveries(shop, upload_id))["deliveries"]
    assert {attempt["status"] for attempt in event["attempts"]} == {None}
    assert all("did not answer" in attempt["error"] for attempt in event["attempts"])


async def test_an_event_is_sent_again_under_the_same_id(shop: Service) -> None:
    async with Receiver.start(GONE, NO_CONTENT) as receiver:
        upload_id = await shop.upload(SMALL, webhook_url=receiver.url)
        await until_webhook(shop, upload_id, "gave_up")
        answer = await replay(shop, upload_id)
        assert (answer.status_code, answer.json()["deliveries"][0]["state"]) == (202, "pending")
        await until_webhook(shop, upload_id, "delivered")
        first, second = receiver.told
    assert (first.id, first.body) == (second.id, second.body)
    (event,) = (await deliveries(shop, upload_id))["deliveries"]
    assert [attempt["status"] for attempt in event["attempts"]] == [410, 204]


async def test_a_later_event_supersedes_an_earlier_one_and_both_are_listed(shop: Service) -> None:
    damaged = SMALL[: len(SMALL) // 2]
    async with Receiver.start(NO_CONTENT) as receiver:
        upload_id = await shop.upload(damaged, webhook_url=receiver.url)
        await until_webhook(shop, upload_id, "delivered")
        await shop.client.post(f"/upload/{upload_id}/retry")
        second = await receiver.until_told(2)
        await until_webhook(shop, upload_id, "delivered")
    newest, earlier = (await deliveries(shop, upload_id))["deliveries"]
    assert (newest["state"], newest["webhook_id"]) == ("delivered", second.id)
    assert (earlier["state"], earlier["webhook_id"], earlier["n"]) == ("superseded", receiver.told[0].id, 1)


async def test_the_event_of_a_derivation_has_the_number_of_its_revision(shop: Service) -> None:
    async with Receiver.start(NO_CONTENT) as receiver:
        upload_id = await shop.upload(SMALL, webhook_url=receiver.url)
        await receiver.until_told(1)
        for times in (2, 3):
            await until_webhook(shop, upload_id, "delivered")
            await shop.client.post(f"/upload/{upload_id}/variants", json={"preset": "default"})
            await receiver.until_told(times)
        await until_webhook(shop, upload_id, "delivered")
        listed = (await deliveries(shop, upload_id))["deliveries"]
        assert [(event["n"], event["state"]) for event in listed] == [
            (3, "delivered"),
            (2, "superseded"),
            (1, "delivered"),
        ]
        superseded = await replay(shop, upload_id, 2)
        assert (superseded.status_code, superseded.json()["code"]) == (409, "conflict")
        for number in (3, 1):
            assert (await replay(shop, upload_id, number)).status_code == 202
        await receiver.until_told(5)
    assert {told.id for told in receiver.told[3:]} == {listed[0]["webhook_id"], listed[2]["webhook_id"]}


async def test_a_replay_while_an_attempt_is_under_way_is_a_conflict(shop: Service) -> None:
    async with Receiver.start(None, NO_CONTENT) as receiver:
        upload_id = await shop.upload(SMALL, webhook_url=receiver.url)
        await receiver.until_told(1)
        assert (await replay(shop, upload_id)).status_code == 409
        await until_webhook(shop, upload_id, "delivered")


async def test_deliveries_are_seen_and_sent_again_by_their_owner_alone(shop: Service) -> None:
    async with Receiver.start(NO_CONTENT) as receiver:
        upload_id = await shop.upload(SMALL, webhook_url=receiver.url)
        await until_webhook(shop, upload_id, "delivered")
        for headers in (BLOG, {"authorization": "Bearer wrong-key-0123456789"}):
            wanted = 404 if headers is BLOG else 401
            assert (await replay(shop, upload_id, headers=headers)).status_code == wanted
            answer = await shop.client.get(f"/upload/{upload_id}/deliveries", headers=headers)
            assert answer.status_code == wanted
        await shop.client.delete(f"/upload/{upload_id}")
        assert (await replay(shop, upload_id)).status_code == 404
        assert len(receiver.told) == 1


async def test_an_event_that_there_is_none_of_is_not_found(shop: Service) -> None:
    async with Receiver.start(NO_CONTENT) as receiver:
        upload_id = await shop.upload(SMALL, webhook_url=receiver.url)
        await until_webhook(shop, upload_id, "delivered")
        for n in ("0", "-1", "2", "1.0", "01", "one", "1" * 5000, "%31%00", "\u0661", "999999999"):
            answer = await replay(shop, upload_id, n)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), n
        assert len(receiver.told) == 1


async def test_w8_what_an_owner_has_sent_to_the_receiver_of_another_fails_its_verification(shop: Service) -> None:
    async with Receiver.start(NO_CONTENT) as receiver_of_shop:
        await shop.upload(SMALL, webhook_url=receiver_of_shop.url)
        own = await receiver_of_shop.until_told(1)
        forged = {"webhook_url": receiver_of_shop.url}
        await shop.client.post("/upload", files={"file": ("a.jpg", SMALL)}, data=forged, headers=BLOG)
        foreign = await receiver_of_shop.until_told(2)
    own.verify(secret_for("shop"))
    foreign.verify(secret_for("blog"))
    assert (own.event["owner"], foreign.event["owner"]) == ("shop", "blog")
    for told, secret in ((foreign, secret_for("shop")), (own, SETTINGS["webhook_secret"])):
        with pytest.raises(WebhookVerificationError):
            told.verify(secret)


def secret_for(owner: str) -> str:
    return secret_of(WebhookKeys((bytes(32),)).of(owner, ())[0])


async def test_without_a_webhook_there_is_nothing_to_list_or_to_send(shop: Service) -> None:
    upload_id = await shop.upload(SMALL)
    await shop.ended(upload_id)
    assert await deliveries(shop, upload_id) == {"url": None, "paused_until": None, "deliveries": []}
    assert (await replay(shop, upload_id)).status_code == 404
    assert (await replay(shop, upload_id, params={"now": "1"})).json()["code"] == "unknown_field"
    assert (await replay(shop, str(uuid4()))).status_code == 404


async def test_the_command_line_shows_deliveries_and_sends_one_again(shop: Service, tmp_path: Path) -> None:
    env = {"IMGSVC_SERVER": shop.url, "IMGSVC_KEY": KEYS["shop"]}
    async with Receiver.start(GONE, NO_CONTENT) as receiver:
        upload_id = await shop.upload(SMALL, webhook_url=receiver.url)
        await until_webhook(shop, upload_id, "gave_up")
        shown = await imgsvc("deliveries", upload_id, cwd=tmp_path, env=env)
        again = await imgsvc("deliveries", upload_id, "--replay", "1", "--json", cwd=tmp_path, env=env)
        await until_webhook(shop, upload_id, "delivered")
    refused = await imgsvc("deliveries", upload_id, "--replay", "7", cwd=tmp_path, env=env)
    assert (shown.code, again.code, refused.code) == (0, 0, 1)
    assert receiver.url in shown.out
    assert "upload.succeeded  gave_up" in shown.out
    assert json.loads(again.out)["deliveries"][0]["state"] == "pending"
    assert "no such event" in refused.err
