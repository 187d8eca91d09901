"""Idempotency-Key: a client that does not know whether its upload arrived may simply send it again."""

import asyncio
from collections import Counter

import httpx
import pytest

from tests.support import images
from tests.support.service import Servers, Service, leftovers, until

PHOTO = images.photo()
OTHER = images.encoded(images.scene(), "PNG")


async def post(service: Service, key: str, data: bytes = PHOTO, **fields: str) -> httpx.Response:
    files = {"file": ("sample.jpg", data)}
    return await service.client.post("/upload", files=files, data=fields, headers={"idempotency-key": key})


async def test_h19_the_same_upload_sent_again_gets_the_same_answer_and_one_job(service: Service) -> None:
    before = originals(service)
    first = await post(service, "order-17", preset="default", metadata='{"a": "b"}')
    await service.ended(first.json()["id"])
    again = await post(service, "order-17", preset="default", metadata='{"a": "b"}')
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert originals(service) - before == {f"originals/{first.json()['id']}"}


def originals(service: Service) -> set[str]:
    """What S3 keeps of uploads."""
    return {key for key in leftovers(service.environment)["objects"] if key.startswith("originals/")}


@pytest.mark.parametrize(
    "fields", [{"metadata": '{"a": "c"}'}, {"expires_in": "60"}, {"variants": '{"thumbnail": {"width": 200}}'}]
)
async def test_h19_the_key_of_another_upload_is_refused(service: Service, fields: dict[str, str]) -> None:
    key = f"mismatch-{'-'.join(fields)}"
    first = await post(service, key)
    for answer in (await post(service, key, OTHER), await post(service, key, PHOTO, **fields)):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")
    assert (await service.ended(first.json()["id"]))["status"] == "SUCCESS"


async def test_h19_variants_of_its_own_are_part_of_an_upload(service: Service) -> None:
    first = await post(service, "own", variants='{"card": {"width": 64, "height": 64}}')
    again = await post(service, "own", variants='{"card": {"height": 64, "width": 64, "blur": 0}}')
    other = await post(service, "own", variants='{"card": {"width": 64, "height": 65}}')
    assert (again.status_code, again.json()) == (202, first.json())
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


async def test_h19_fifty_at_once_make_one_job(service: Service) -> None:
    before = originals(service)
    answers = await asyncio.gather(*(post(service, "burst") for _ in range(50)))
    seen = Counter(answer.status_code for answer in answers)
    print(f"fifty at once: {dict(seen)}")
    assert set(seen) <= {202, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["code"] == "idempotency_in_flight"
            assert answer.headers["retry-after"]
    await service.ended(next(answer.json()["id"] for answer in answers if answer.status_code == 202))
    assert len(originals(service) - before) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "tab\there"])
async def test_h19_a_key_that_is_no_key_is_refused(service: Service, key: str) -> None:
    answer = await post(service, key)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")


async def test_a_refused_upload_leaves_its_key_free(service: Service) -> None:
    assert (await post(service, "again", b"no image")).status_code == 415
    assert (await post(service, "again")).status_code == 202


async def test_the_key_of_a_deleted_upload_is_free(service: Service) -> None:
    first = (await post(service, "deleted")).json()["id"]
    await service.client.delete(f"/upload/{first}")
    second = await post(service, "deleted", OTHER)
    assert second.status_code == 202
    assert second.json()["id"] != first


async def test_h1_a_killed_api_leaves_nothing_and_the_same_key_works_again(servers: Servers) -> None:
    environment = servers.environment()
    async with Service.start(environment, reservation_ttl_s=2, sweep_interval_s=0.2) as service:
        began = asyncio.Event()

        async def never_ending() -> object:
            yield PHOTO[:-1]
            began.set()
            await asyncio.Event().wait()

        headers = {"idempotency-key": "cut", "content-type": "image/jpeg"}
        upload = asyncio.create_task(service.client.post("/upload", content=never_ending(), headers=headers))  # pyright: ignore[reportArgumentType]

        async def reserved() -> bool:
            return any(key.startswith("imgsvc:upload:") for key in leftovers(environment)["keys"])

        await asyncio.gather(began.wait(), until(reserved))
        assert (await post(service, "cut")).json()["code"] == "idempotency_in_flight"
        await service.api.kill()
        upload.cancel()
        await service.start_api()
        await service.until_ready(1)
        answer = await post(service, "cut")

        async def accepted() -> bool:
            nonlocal answer
            answer = await post(service, "cut")
            return answer.status_code == 202

        await until(accepted, 10)
        upload_id = answer.json()["id"]
        await service.ended(upload_id)
        await service.client.delete(f"/upload/{upload_id}")

        async def clean() -> bool:
            found = leftovers(environment)
            return not (found["objects"] or found["uploads"] or await_sweep(found["keys"], upload_id))

        await until(clean, 10)


def await_sweep(keys: list[str], deleted: str) -> list[str]:
    """What is left besides the marks of a DELETE."""
    return [key for key in keys if key not in {f"imgsvc:deleted:{deleted}", "imgsvc:sweep"}]
