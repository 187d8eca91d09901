"""How long things live: uploads with a time limit, records, and what nobody will ever ask for."""

import asyncio
from time import time

import pytest
from redis import Redis

from tests.support import images
from tests.support.service import Servers, Service, leftovers, settings_of, until

PHOTO = images.photo()
SWEEP_S = 0.2


async def test_an_upload_with_a_time_limit_is_gone_after_it(servers: Servers) -> None:
    environment = servers.environment()
    async with Service.start(environment, sweep_interval_s=SWEEP_S) as service:
        begin = time()
        upload_id = await service.upload(PHOTO, expires_in="6")
        status = await service.ended(upload_id)
        assert status["expires_at"] > status["created_at"]
        url = (await service.result(upload_id))["result"]["thumbnail"]
        answer = await service.client.get(url)
        kind, age = answer.headers["cache-control"].split(", max-age=")
        assert (kind, int(age) <= 6) == ("private", True), "no copy outlives the file"

        async def expired() -> bool:
            return (await service.client.get(f"/upload/{upload_id}/status")).status_code == 410

        await until(expired)
        assert time() - begin >= 6
        assert (await service.client.get(url)).status_code == 404
        assert (await service.client.get(f"/upload/{upload_id}/result")).json()["code"] == "expired"

        async def nothing_stored() -> bool:
            return not leftovers(environment)["objects"]

        await until(nothing_stored)
        assert (await service.client.get(f"/upload/{upload_id}/status")).json()["code"] == "expired"


async def test_the_operator_may_set_a_time_limit_for_all(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=0, files_ttl_s=60) as service:
        assert (await service.status(await service.upload(PHOTO)))["expires_at"] is not None


async def test_files_are_kept_unless_told_otherwise(service: Service) -> None:
    upload_id = await service.upload(PHOTO)
    assert (await service.ended(upload_id))["expires_at"] is None
    answer = await service.client.get((await service.result(upload_id))["result"]["thumbnail"])
    assert answer.headers["cache-control"] == "public, max-age=86400, immutable"


@pytest.mark.parametrize("expires_in", ["0", "-5", "soon", "1.5", "99999999999"])
async def test_a_time_limit_that_is_none_is_refused(service: Service, expires_in: str) -> None:
    answer = await service.post(PHOTO, expires_in=expires_in)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")
    assert "expires_in" in answer.json()["detail"]


async def test_a_job_whose_time_is_up_before_it_began_is_cancelled(servers: Servers) -> None:
    environment = servers.environment()
    async with Service.start(environment, workers=0, sweep_interval_s=SWEEP_S) as service:
        upload_id = await service.upload(PHOTO, expires_in="1")
        settings = settings_of(environment)
        with Redis.from_url(settings.redis_url) as redis:
            redis.zrem("imgsvc:waiting", upload_id)
            redis.zadd("imgsvc:jobs", {upload_id: (time() + 60) * 1000})  # not due before it expires
            await service.start_worker()

            async def cleared() -> bool:
                return not leftovers(environment)["objects"]

            await until(cleared)
            assert redis.zcard("imgsvc:jobs") == 0
            assert redis.hget(f"imgsvc:upload:{upload_id}", "status") == b"CANCELLED"


async def test_a_record_that_expired_before_its_files_says_so_until_they_are_deleted(servers: Servers) -> None:
    environment = servers.environment()
    async with Service.start(environment, record_ttl_s=1) as service:
        upload_id = await service.upload(PHOTO)

        async def expired() -> bool:
            return (await service.client.get(f"/upload/{upload_id}/status")).status_code == 410

        await until(expired)
        for _ in range(2):
            assert (await service.client.delete(f"/upload/{upload_id}")).status_code == 204
        assert (await service.client.get(f"/upload/{upload_id}/status")).status_code == 404
        assert leftovers(environment)["objects"] == []


async def test_the_sweeper_looks_once_more_behind_a_tombstone(servers: Servers) -> None:
    environment = servers.environment()
    async with Service.start(environment, tombstone_ttl_s=1, sweep_interval_s=SWEEP_S) as service:
        upload_id = await service.upload(PHOTO)
        await service.ended(upload_id)
        await service.client.delete(f"/upload/{upload_id}")

        async def forgotten() -> bool:
            return not leftovers(environment)["keys"]

        await until(forgotten)
        assert (await service.client.delete(f"/upload/{upload_id}")).status_code == 404


async def test_an_upload_that_takes_longer_than_its_reservation_is_left_alone(servers: Servers) -> None:
    environment = servers.environment()
    async with Service.start(environment, reservation_ttl_s=1.5, sweep_interval_s=0.1) as service:

        async def slowly() -> object:
            for at in range(8):  # together three times as long as a reservation
                yield PHOTO[len(PHOTO) * at // 8 : len(PHOTO) * (at + 1) // 8]
                await asyncio.sleep(0.6)

        headers = {"content-type": "image/jpeg"}
        answer = await service.client.post("/upload", content=slowly(), headers=headers)  # pyright: ignore[reportArgumentType]
        assert answer.status_code == 202
        assert (await service.ended(answer.json()["id"]))["status"] == "SUCCESS"
