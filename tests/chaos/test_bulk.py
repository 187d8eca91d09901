"""Workers are killed in the middle of a bulk action (row A2)."""

from tests.support import images
from tests.support.service import Servers, Service, until

DAMAGED = images.photo()[:5000]
UPLOADS = 60
FEW = 5
"""Jobs that may wait at a time: the action goes on as these are done, and so is killed in its middle."""


async def test_a2_a_bulk_retry_goes_on_when_its_workers_are_killed_and_does_each_upload_once(servers: Servers) -> None:
    few = {"max_queued": FEW, "redis_timeout_s": 5, "s3_timeout_s": 12, "lease_s": 1}
    async with Service.start(servers.environment(), workers=1, **few) as service:
        ids: list[str] = []
        for _ in range(UPLOADS):
            ids.append(await service.upload(DAMAGED))
            await service.ended(ids[-1])
        begun = await service.client.post("/admin/retry", json={"where": {"code": "decode_failed"}})
        action = begun.headers["location"]

        async def done() -> int:
            return (await service.client.get(action)).json()["done"]

        for share in (0.1, 0.4, 0.7):

            async def is_so_far(share: float = share) -> bool:
                return await done() >= share * UPLOADS

            await until(is_so_far)
            assert await done() < UPLOADS
            await service.workers[-1].kill()
            await service.start_worker()

        async def has_ended() -> bool:
            return (await service.client.get(action)).json()["status"] == "DONE"

        await until(has_ended, 120)
        assert await done() == UPLOADS
        for upload_id in ids:
            await service.ended(upload_id)
            history = (await service.client.get(f"/admin/uploads/{upload_id}")).json()["history"]
            assert [note["event"] for note in history].count("failed") == 1, history
