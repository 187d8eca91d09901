"""Owners who share a service: one with a heap of images, and one with a single image."""

from tests.support import callers
from tests.support.callers import BLOG, SHOP, by
from tests.support.service import Servers, freeze, thaw

HEAP = 150


async def test_f5_one_image_does_not_wait_for_the_heap_of_another_owner(servers: Servers) -> None:
    async with callers.with_keys(servers, decoders=1) as service:
        freeze(service.workers[0])
        heap = [await callers.post(service, **by(SHOP)) for _ in range(HEAP)]
        assert {answer.status_code for answer in heap} == {202}
        single = (await callers.post(service, **by(BLOG))).json()
        thaw(service.workers[0])
        waited = await service.client.get(f"{single['status_url']}?wait=60", headers=by(BLOG), timeout=70)
        assert waited.json()["status"] == "SUCCESS"
        left = await service.client.get("/uploads?status=PENDING&limit=200", headers=by(SHOP))
        assert len(left.json()["uploads"]) > HEAP / 2, "most of the heap still waits"
