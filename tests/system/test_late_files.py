"""Files that are stored for a job after it was cancelled: they are swept (row Q21)."""

import psutil
from redis.asyncio import Redis

from imgsvc.jobs.queue import Queue
from tests.support import images
from tests.support.service import Servers, Service, begun, decoders, leftovers, s3_client, settings_of, until

PHOTO = images.photo()


async def test_q21_what_a_cancelled_job_stores_late_is_swept_too(servers: Servers) -> None:
    """The API has cleared its files, and says so, before the last of them are there."""
    environment = servers.environment()
    async with Service.start(environment, workers=0, sweep_interval_s=0.1, s3_timeout_s=2) as service:
        settings = settings_of(service.environment)
        upload_id = await service.upload(PHOTO)
        async with Queue.open(settings) as queue, Redis.from_url(settings.redis_url) as redis:
            assert [claim.id for claim in await queue.claim("stopped", 5)] == [upload_id]
            assert (await service.client.post(f"/upload/{upload_id}/cancel")).status_code == 200
            with s3_client(environment) as s3:
                s3.put_object(Bucket=settings.s3_bucket, Key=f"processed/{upload_id}/late.jpeg", Body=b"late")
                await service.start_worker()

                async def is_quiet() -> bool:
                    return not await redis.exists("imgsvc:sweep", "imgsvc:settling")

                await until(is_quiet)
                left = s3.list_objects_v2(Bucket=settings.s3_bucket, Prefix=f"processed/{upload_id}/")
        assert "Contents" not in left


async def test_files_that_a_straggler_stores_for_a_cancelled_job_are_swept(servers: Servers) -> None:
    environment = servers.environment()
    async with Service.start(environment, sweep_interval_s=0.2, decoders=1) as service:
        upload_id = await begun(service)
        (decoder,) = decoders(service.workers[0])
        worker = psutil.Process(service.workers[0].pid)
        worker.suspend()  # it does not hear that the job is cancelled, and has the image when it wakes
        decoder.resume()
        await service.client.post(f"/upload/{upload_id}/cancel")
        worker.resume()

        async def only_the_original_is_left() -> bool:
            found = leftovers(environment)
            swept = not any(key.startswith("imgsvc:sweep") for key in found["keys"])
            return swept and found["objects"] == [f"originals/{upload_id}"]

        await until(only_the_original_is_left)
        assert (await service.status(upload_id))["status"] == "CANCELLED"
