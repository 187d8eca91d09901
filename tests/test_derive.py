"""What clients meet who have variants made anew of what they uploaded: `POST /upload/{id}/variants`."""

from collections.abc import AsyncGenerator
from contextlib import closing
from io import BytesIO
from typing import Any
from uuid import uuid4

import orjson
import pytest
import pytest_asyncio
from PIL import Image
from redis import Redis

from tests.support import callers, images
from tests.support.images import near, pixel
from tests.support.peers import Receiver
from tests.support.service import (
    UNHURRIED,
    Servers,
    Service,
    leftovers,
    resume_decoders,
    s3_client,
    settings_of,
    suspend_decoders,
    until,
)
from tests.test_webhooks import NO_CONTENT, SETTINGS

PHOTO = images.photo()
CARD = {"card": {"width": 64, "height": 64, "fit": "cover"}}
SMALLER = {"thumbnail": {"width": 50, "height": 50, "fit": "cover", "format": "png"}}


@pytest_asyncio.fixture(scope="module")
async def one(servers: Servers) -> AsyncGenerator[Service]:
    """One worker with one decoder, which sends webhooks and sweeps often."""
    settings = SETTINGS | UNHURRIED
    async with Service.start(servers.environment(), decoders=1, sweep_interval_s=0.2, **settings) as started:
        yield started


async def done(service: Service, **fields: str) -> str:
    upload_id = await service.upload(PHOTO, **fields)
    assert (await service.ended(upload_id))["status"] == "SUCCESS"
    return upload_id


async def asked(service: Service, upload_id: str, **body: Any) -> dict[str, Any]:
    """The status document that answers a derivation which is accepted."""
    answer = await service.client.post(f"/upload/{upload_id}/variants", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def derived(service: Service, upload_id: str, **body: Any) -> dict[str, Any]:
    """The status document when the derivation has ended."""
    await asked(service, upload_id, **body)
    answer = await service.client.get(f"/upload/{upload_id}/status", params={"wait": "30"})
    assert answer.json()["derivation"]["finished_at"], "wait follows the newest derivation"
    return answer.json()


async def begun(service: Service, upload_id: str, **body: Any) -> None:
    """A derivation that is under way and does not end, because the worker's decoders stand still."""
    suspend_decoders(service.workers[0])
    await asked(service, upload_id, **body)

    async def at_the_decoder() -> bool:
        return ((await service.status(upload_id))["derivation"] or {})["step"] == "decode"

    await until(at_the_decoder)


def objects(service: Service, upload_id: str) -> set[str]:
    """Names of the files that are stored of an upload."""
    found = leftovers(service.environment)["objects"]
    return {key.rpartition("/")[2] for key in found if key.startswith(f"processed/{upload_id}/")}


async def test_variants_are_made_of_what_was_uploaded_before_and_the_others_stay(one: Service) -> None:
    upload_id = await done(one)
    before = await one.result(upload_id)
    status = await derived(one, upload_id, variants=CARD | SMALLER)
    assert (status["status"], status["progress"], status["preset"]) == ("SUCCESS", 100, "default")
    derivation = status["derivation"]
    assert derivation == {
        "revision": 2,
        "status": "SUCCESS",
        "variants": ["thumbnail", "card"],
        "progress": 100,
        "step": None,
        "attempt": 1,
        "created_at": derivation["created_at"],
        "started_at": derivation["started_at"],
        "finished_at": derivation["finished_at"],
        "error": None,
    }
    after = await one.result(upload_id)
    assert after["result"] == {
        "resized_compressed": before["result"]["resized_compressed"],
        "thumbnail": f"/files/processed/{upload_id}/sample_thumbnail.2.png",
        "card": f"/files/processed/{upload_id}/sample_card.2.jpeg",
    }
    assert after["variants"]["resized_compressed"] == before["variants"]["resized_compressed"]
    assert (after["original"], after["placeholder"]) == (before["original"], before["placeholder"])
    with Image.open(BytesIO(await one.file(upload_id, "thumbnail"))) as thumbnail:
        assert (thumbnail.format, thumbnail.size) == ("PNG", (50, 50))
    replaced = await one.client.get(before["result"]["thumbnail"])
    assert replaced.status_code == 200, "caches and pages may name it for a day"


async def test_only_some_variants_of_a_preset_are_made(one: Service) -> None:
    upload_id = await done(one, variants=orjson.dumps(CARD).decode())
    status = await derived(one, upload_id, preset="default", only=["thumbnail"])
    assert status["derivation"]["variants"] == ["thumbnail"]
    assert list((await one.result(upload_id))["result"]) == ["card", "thumbnail"]
    again = await derived(one, upload_id, preset="default", only=["thumbnail"])
    assert again["derivation"]["revision"] == 3
    assert (await one.result(upload_id))["result"]["thumbnail"].endswith("_thumbnail.3.jpeg")


async def test_files_are_served_until_the_new_ones_are_whole_and_one_derivation_runs_at_a_time(one: Service) -> None:
    upload_id = await done(one)
    before = await one.result(upload_id)
    await begun(one, upload_id, variants=SMALLER)
    result = await one.client.get(f"/upload/{upload_id}/result")
    assert (result.status_code, result.json()) == (200, before)
    for path in before["result"].values():
        assert (await one.client.get(path)).status_code == 200
    answer = await one.client.post(f"/upload/{upload_id}/variants", json={"preset": "default"})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    answer = await one.client.post(f"/upload/{upload_id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "SUCCESS")
    assert answer.json()["derivation"]["status"] == "CANCELLED"
    assert (await one.client.get(f"/upload/{upload_id}/result")).json() == before
    assert objects(one, upload_id) == {"sample_resized_compressed.jpeg", "sample_thumbnail.jpeg"}
    answer = await one.client.post(f"/upload/{upload_id}/retry")
    assert (answer.status_code, answer.json()["derivation"]["revision"]) == (202, 3)
    stream = (await one.client.get(f"/upload/{upload_id}/events")).text
    last = orjson.loads(stream.strip().splitlines()[-1].removeprefix("data: "))
    assert (last["derivation"]["status"], last["derivation"]["revision"]) == ("SUCCESS", 3), "events follow it"
    assert (await one.result(upload_id))["result"]["thumbnail"].endswith("_thumbnail.3.png")


async def test_a_derivation_that_fails_changes_nothing_and_leaves_no_file(one: Service) -> None:
    upload_id = await done(one)
    before = await one.result(upload_id)
    bucket, key = settings_of(one.environment).s3_bucket, f"originals/{upload_id}"
    with s3_client(one.environment) as s3:
        s3.put_object(Bucket=bucket, Key=key, Body=PHOTO[:-1] + b"x")
        status = await derived(one, upload_id, variants=CARD | SMALLER)
        assert (status["status"], status["error"]) == ("SUCCESS", None)
        assert (status["derivation"]["status"], status["derivation"]["error"]["code"]) == ("FAILURE", "source_corrupt")
        assert await one.result(upload_id) == before
        assert objects(one, upload_id) == {"sample_resized_compressed.jpeg", "sample_thumbnail.jpeg"}
        s3.put_object(Bucket=bucket, Key=key, Body=PHOTO)
    await one.client.post(f"/upload/{upload_id}/retry")
    answer = await one.client.get(f"/upload/{upload_id}/status", params={"wait": "30"})
    derivation = answer.json()["derivation"]
    assert (derivation["status"], derivation["revision"], derivation["error"]) == ("SUCCESS", 3, None)
    assert list((await one.result(upload_id))["result"]) == ["resized_compressed", "thumbnail", "card"]


async def test_what_is_replaced_is_removed_when_its_time_is_over(servers: Servers) -> None:
    settings: dict[str, Any] = {"replaced_ttl_s": 1, "sweep_interval_s": 0.1, "decoders": 1}
    async with Service.start(servers.environment(), **settings) as service:
        upload_id = await done(service)
        await derived(service, upload_id, variants=SMALLER)
        stays = {"sample_resized_compressed.jpeg", "sample_thumbnail.2.png"}
        await until(lambda: objects(service, upload_id) == stays)
        assert not any("obsolete" in key for key in leftovers(service.environment)["keys"])


async def test_q27_what_a_late_worker_stored_is_removed_unless_it_is_what_was_given_out(one: Service) -> None:
    upload_id = await done(one)
    for _ in range(2):  # the second one replaces files of the first
        await derived(one, upload_id, variants=SMALLER)
    given_out = {"sample_thumbnail.jpeg", "sample_thumbnail.2.png", "sample_thumbnail.3.png"}
    settings = settings_of(one.environment)
    with s3_client(one.environment) as s3:
        for name in ("sample_card.2.webp", "sample_thumbnail.3.jpeg", "sample_card.4.png"):
            s3.put_object(Bucket=settings.s3_bucket, Key=f"processed/{upload_id}/{name}", Body=b"late")
    with closing(Redis.from_url(settings.redis_url)) as redis:
        redis.zadd("imgsvc:obsolete", {f"{upload_id}:{revision}:1": 1 for revision in (2, 3, 4)})
    await until(lambda: objects(one, upload_id) == given_out | {"sample_resized_compressed.jpeg"})


async def test_q25_a_delete_during_a_derivation_wins_and_leaves_nothing(one: Service) -> None:
    upload_id = await done(one)
    await begun(one, upload_id, variants=CARD)
    assert (await one.client.delete(f"/upload/{upload_id}")).status_code == 204
    assert (await one.client.get(f"/upload/{upload_id}/status")).status_code == 404
    assert (await one.client.post(f"/upload/{upload_id}/variants", json={"variants": CARD})).status_code == 404
    await done(one)  # by the same worker, after it was stopped
    assert not [key for key in leftovers(one.environment)["objects"] if upload_id in key]


async def test_q25_an_expiry_during_a_derivation_wins_and_leaves_no_object(one: Service) -> None:
    upload_id = await done(one, expires_in="3")
    await begun(one, upload_id, variants=CARD)

    async def expired() -> bool:
        return (await one.client.get(f"/upload/{upload_id}/status")).status_code == 410

    await until(expired)
    await until(lambda: not [key for key in leftovers(one.environment)["objects"] if upload_id in key])
    resume_decoders(one.workers[0])
    answer = await one.client.post(f"/upload/{upload_id}/variants", json={"variants": CARD})
    assert answer.status_code == 410


async def test_a_receiver_hears_of_a_derivation(one: Service) -> None:
    async with Receiver.start(NO_CONTENT) as receiver:
        upload_id = await done(one, webhook_url=receiver.url)
        await receiver.until_told()
        await derived(one, upload_id, variants=CARD)
        told = await receiver.until_told(2)
    assert told.event["type"] == "upload.derived"
    assert told.event["timestamp"] == told.event["data"]["status"]["derivation"]["finished_at"]
    assert "card" in told.event["data"]["result"]["result"]


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ({}, "invalid_variants", "'preset' or 'variants'"),
        ({"only": ["card"]}, "invalid_variants", "'preset' or 'variants'"),
        ({"preset": "none"}, "invalid_preset", "none"),
        ({"preset": 7}, "invalid_preset", "string"),
        ({"preset": "default", "variants": CARD}, "invalid_variants", "not both"),
        ({"variants": {}}, "invalid_variants", "1 to"),
        ({"variants": {"card": {"width": True}}}, "invalid_variants", "card.width"),
        ({"variants": {"../card": {"width": 1}}}, "invalid_variants", "name"),
        ({"variants": orjson.dumps(CARD).decode()}, "invalid_variants", "1 to"),
        ({"variants": CARD, "only": []}, "invalid_field", "'only'"),
        ({"variants": CARD, "only": "card"}, "invalid_field", "'only'"),
        ({"variants": CARD, "only": [{}]}, "invalid_field", "'only'"),
        ({"variants": CARD, "only": ["thumbnail"]}, "invalid_field", "card"),
        ({"variants": CARD, "metadata": {}}, "unknown_field", "metadata"),
        ({"variants": CARD, "revision": 7}, "unknown_field", "revision"),
    ],
)
async def test_what_is_no_derivation_is_refused_with_the_reason(
    service: Service, body: dict[str, Any], code: str, says: str
) -> None:
    upload_id = await done(service)
    answer = await service.client.post(f"/upload/{upload_id}/variants", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert says in answer.json()["detail"]
    assert (await service.status(upload_id))["derivation"] is None


async def test_an_upload_has_so_many_files_and_no_more(one: Service) -> None:
    upload_id = await done(one)
    batches = [{f"v{batch}{number}": {"width": 8} for number in range(10)} for batch in range(4)]
    for more in batches[:3]:
        await derived(one, upload_id, variants=more)
    answer = await one.client.post(f"/upload/{upload_id}/variants", json={"variants": batches[3]})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_variants")
    assert "40" in answer.json()["detail"]


async def test_what_was_never_uploaded_or_has_made_nothing_is_not_derived(service: Service) -> None:
    answer = await service.client.post(f"/upload/{uuid4()}/variants", json={"variants": CARD})
    assert answer.status_code == 404
    upload_id = await service.upload(b"GIF89a" + bytes(100))
    await service.ended(upload_id)
    answer = await service.client.post(f"/upload/{upload_id}/variants", json={"variants": CARD})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "FAILURE" in answer.json()["detail"]


async def test_a_repeated_upload_gets_the_same_answer_after_a_derivation(one: Service) -> None:
    key, own = {"idempotency-key": str(uuid4())}, {"variants": orjson.dumps(CARD).decode()}
    first = await one.client.post("/upload", files={"file": ("a.jpg", PHOTO)}, data=own, headers=key)
    await one.ended(first.json()["id"])
    await derived(one, first.json()["id"], variants={"card": {"width": 9}})
    again = await one.client.post("/upload", files={"file": ("a.jpg", PHOTO)}, data=own, headers=key)
    assert (again.status_code, again.json()) == (202, first.json())


FOCUSED = {
    "square": {"width": 40, "height": 40, "fit": "cover", "gravity": "focus", "format": "png"},
    "point": {"width": 40, "height": 40, "fit": "cover", "gravity": {"x": 0.9, "y": 0.5}, "format": "png"},
    "whole": {"width": 40, "height": 40, "gravity": "focus", "format": "png"},
}
LEFT, RIGHT = {"x": 0.1, "y": 0.5}, {"x": 0.9, "y": 0.5}


async def focused(service: Service, upload_id: str, point: object) -> dict[str, Any]:
    """The status document when what a new focus asks for is made."""
    answer = await service.client.patch(f"/upload/{upload_id}", json={"focus": point})
    assert answer.status_code == 202, answer.text
    return (await service.client.get(f"/upload/{upload_id}/status", params={"wait": "30"})).json()


async def colour(service: Service, upload_id: str, variant: str) -> tuple[int, ...]:
    return pixel(images.opened(await service.file(upload_id, variant)))


def halves() -> bytes:
    """Blue at the left, red at the right."""
    image = Image.new("RGB", (400, 100), "blue")
    image.paste("red", (200, 0, 400, 100))
    return images.encoded(image, "PNG")


async def test_another_focus_makes_anew_what_is_cut_by_it_and_nothing_else(one: Service) -> None:
    upload_id = await one.upload(halves(), variants=orjson.dumps(FOCUSED).decode(), focus=orjson.dumps(LEFT).decode())
    before = await one.result(upload_id)
    assert near(await colour(one, upload_id, "square"), (0, 0, 255))
    status = await focused(one, upload_id, RIGHT)
    assert (status["focus"], status["derivation"]["variants"]) == (RIGHT, ["square"])
    after = await one.result(upload_id)
    assert near(await colour(one, upload_id, "square"), (255, 0, 0))
    assert {name for name, path in after["result"].items() if path != before["result"][name]} == {"square"}
    again = await one.client.patch(f"/upload/{upload_id}", json={"focus": RIGHT})
    assert (again.status_code, again.json()) == (200, status), "it has that focus already"
    status = await focused(one, upload_id, None)
    assert (status["focus"], status["derivation"]["revision"]) == (None, 3)


async def test_a_focus_that_cuts_nothing_is_only_noted(service: Service) -> None:
    upload_id = await done(service)
    answer = await service.client.patch(f"/upload/{upload_id}", json={"focus": LEFT})
    assert (answer.status_code, answer.json()["focus"], answer.json()["derivation"]) == (200, LEFT, None)
    later = {"square": FOCUSED["square"]}
    assert (await derived(service, upload_id, variants=later))["focus"] == LEFT


async def test_a_focus_counts_when_its_derivation_has_succeeded_and_may_be_sent_twice(one: Service) -> None:
    upload_id = await one.upload(PHOTO, variants=orjson.dumps(FOCUSED).decode())
    await one.ended(upload_id)
    suspend_decoders(one.workers[0])
    first, again, other, other_variants = [
        await one.client.patch(f"/upload/{upload_id}", json={"focus": LEFT}),
        await one.client.patch(f"/upload/{upload_id}", json={"focus": LEFT}),
        await one.client.patch(f"/upload/{upload_id}", json={"focus": RIGHT}),
        await one.client.post(f"/upload/{upload_id}/variants", json={"variants": CARD}),
    ]
    assert [answer.status_code for answer in (first, again, other, other_variants)] == [202, 202, 409, 409]
    assert (again.json()["focus"], again.json()["derivation"]["revision"]) == (None, 2)
    assert (await one.client.patch(f"/upload/{upload_id}", json={"focus": None})).status_code == 409
    await one.client.post(f"/upload/{upload_id}/cancel")
    assert (await one.status(upload_id))["focus"] is None
    assert (await focused(one, upload_id, LEFT))["derivation"]["revision"] == 3


async def test_a_focus_may_change_until_the_job_begins_and_again_when_it_has_failed(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=0, decoders=1) as service:
        key = {"idempotency-key": "the-key"}
        own = {"variants": orjson.dumps(FOCUSED).decode()}
        upload = await service.client.post("/upload", files={"file": ("a.png", halves())}, data=own, headers=key)
        upload_id = upload.json()["id"]
        answer = await service.client.patch(f"/upload/{upload_id}", json={"focus": LEFT})
        assert (answer.status_code, answer.json()["status"], answer.json()["focus"]) == (200, "PENDING", LEFT)
        again = await service.client.post("/upload", files={"file": ("a.png", halves())}, data=own, headers=key)
        assert (again.status_code, again.json()) == (202, upload.json())
        await service.client.post(f"/upload/{upload_id}/cancel")
        answer = await service.client.patch(f"/upload/{upload_id}", json={"focus": RIGHT})
        assert (answer.status_code, answer.json()["focus"]) == (200, RIGHT)
        worker = await service.start_worker()
        await service.until_ready(1)
        suspend_decoders(worker)
        await service.client.post(f"/upload/{upload_id}/retry")
        await service.until_status(upload_id, "PROGRESS")
        answer = await service.client.patch(f"/upload/{upload_id}", json={"focus": LEFT})
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        resume_decoders(worker)
        assert near(await colour(service, upload_id, "square"), (255, 0, 0))


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        *(
            (f'{{"focus": {point}}}', 422, "invalid_field")
            for point in ('{"x": 0.5}', '{"x": 2, "y": 0}', '{"x": true, "y": 0}', '"center"', "[]", "0", "{}")
        ),
        ('{"focus": "{\\"x\\": 0.5, \\"y\\": 0.5}"}', 422, "invalid_field"),
        ('{"focus": {"x": 0.5, "y": 0.5, "z": 0}}', 422, "invalid_field"),
        ('{"focus": {"x": ' + "9" * 10_000 + ', "y": 0}}', 400, "malformed_body"),
        ('{"focus": {"x": 1e999, "y": 0}}', 400, "malformed_body"),
        ('{"focus": {"x": NaN, "y": 0}}', 400, "malformed_body"),
        ('{"focus": null, "focus": null}', 400, "malformed_body"),
        ("[" * 9000, 400, "malformed_body"),
        ("{}", 422, "invalid_field"),
        ("[]", 400, "malformed_body"),
        ('{"focus": null, "preset": "default"}', 422, "unknown_field"),
        ('{"focus": null, "status": "SUCCESS"}', 422, "unknown_field"),
        (" " * 40_000, 413, "upload_too_large"),
    ],
)
async def test_what_is_no_focus_is_refused_and_changes_nothing(
    service: Service, body: str, status: int, code: str
) -> None:
    upload_id = await done(service)
    before = await service.status(upload_id)
    headers = {"content-type": "application/json"}
    answer = await service.client.patch(f"/upload/{upload_id}", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert await service.status(upload_id) == before


async def test_a_change_is_for_the_uploads_owner(keyed: Service) -> None:
    upload_id = await keyed.upload(PHOTO)
    other = callers.by(callers.BLOG)
    for method, path, body in (
        ("PATCH", f"/upload/{upload_id}", {"focus": LEFT}),
        ("POST", f"/upload/{upload_id}/variants", {"variants": CARD}),
    ):
        assert (await keyed.client.request(method, path, json=body, headers=other)).status_code == 404
