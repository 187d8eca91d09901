"""What uploads take of the API's memory."""

import asyncio
import os

from imgsvc.runtime.settings import MIB
from tests.support import images
from tests.support.memory import memory_peak
from tests.support.service import Servers, Service

PHOTO = images.photo()


async def test_uploads_stream_so_that_each_holds_less_than_24_mib(servers: Servers, full_length: bool) -> None:
    """Measured on a process of its own, by the most memory that it ever had."""
    together = 20 if full_length else 4
    image = PHOTO + os.urandom(64 * MIB - len(PHOTO))
    async with Service.start(servers.environment(), workers=0) as service:
        await service.upload(PHOTO)
        before = memory_peak(service.api.pid)
        await service.upload(image)
        one = memory_peak(service.api.pid) - before
        await asyncio.gather(*(service.upload(image) for _ in range(together)))
        all_ = memory_peak(service.api.pid) - before
    print(f"memory of one 64 MiB upload: {one / MIB:.1f} MiB; of {together} at once: {all_ / MIB:.1f} MiB")
    assert one < 24 * MIB
    assert all_ < together * 24 * MIB
