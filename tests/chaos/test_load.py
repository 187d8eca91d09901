"""Under too much load, and at the end: what cannot be served is said at once, what was begun is finished."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx

from tests.support import images
from tests.support.command import imgsvc
from tests.support.service import Servers, Service, leftovers, until

PHOTO = images.photo()
JPEG = {"content-type": "image/jpeg"}
MIB = 1024 * 1024
DRAIN_DELAY_S = 3.0
"""Long enough for a busy machine to ask within it."""


class Body:
    """A photo, of which the last byte is sent when told."""

    def __init__(self, photo: bytes = PHOTO) -> None:
        self._photo = photo
        self.asked_for = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.asked_for.set()
        yield self._photo[:-1]
        await self.go_on.wait()
        yield self._photo[-1:]


async def test_h24_uploads_are_refused_before_their_body_while_too_many_jobs_wait(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=0, max_queued=2) as service:
        waiting = [await service.upload(PHOTO) for _ in range(2)]
        head = b"POST /upload HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/jpeg\r\ncontent-length: 9999\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(head)  # and nothing of the body
        answer = await asyncio.wait_for(reader.readuntil(b"}"), 5)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: " in answer
        assert b'"code":"overloaded"' in answer
        await service.start_worker()
        for upload_id in waiting:
            assert (await service.ended(upload_id))["status"] == "SUCCESS"
        assert (await service.post(PHOTO)).status_code == 202


async def test_h24_uploads_are_refused_while_others_hold_all_the_memory(servers: Servers) -> None:
    photo = images.noise(300, 200)
    limits = {"max_upload_bytes": len(photo), "max_uploads_bytes": len(photo) * 3 // 2}
    async with Service.start(servers.environment(), workers=0, **limits) as service:
        body = Body(photo)
        headers = JPEG | {"content-length": str(len(photo))}
        first = asyncio.create_task(service.client.post("/upload", content=body, headers=headers))
        await body.asked_for.wait()

        async def refused() -> bool:
            return (await service.client.post("/upload", content=photo, headers=JPEG)).status_code == 503

        await until(refused)
        answer = await service.client.post("/upload", content=photo, headers=JPEG)
        assert (answer.json()["code"], "retry-after" in answer.headers) == ("overloaded", True)
        body.go_on.set()
        assert (await first).status_code == 202
        assert (await service.client.post("/upload", content=photo, headers=JPEG)).status_code == 202


async def test_h24_one_upload_is_taken_by_a_memory_that_has_room_for_one(servers: Servers) -> None:
    """However little one client's share of it is; a body of unknown length is expected to be the longest."""
    async with Service.start(servers.environment(), workers=0, max_uploads_bytes=20 * MIB) as service:
        body = Body()
        body.go_on.set()
        assert (await service.client.post("/upload", content=body, headers=JPEG)).status_code == 202


async def test_h24_a_memory_that_has_room_for_no_upload_is_refused_at_the_start(tmp_path: Path) -> None:
    env = {"IMGSVC_REDIS_URL": "redis://127.0.0.1:9/0", "IMGSVC_MAX_UPLOADS_BYTES": str(16 * MIB - 1)}
    ended = await imgsvc("api", cwd=tmp_path, env=env)
    assert ended.code == 1
    assert f"IMGSVC_MAX_UPLOADS_BYTES={16 * MIB - 1} is less than one upload may hold" in ended.err
    assert f"set it to {16 * MIB} or more" in ended.err


async def test_h24_the_least_memory_has_room_for_an_upload(servers: Servers) -> None:
    """Also where uploads are small, one of unknown length."""
    least = {"max_upload_bytes": MIB, "max_uploads_bytes": MIB + 64 * 1024}
    async with Service.start(servers.environment(), workers=0, **least) as service:
        body = Body()
        body.go_on.set()
        assert (await service.client.post("/upload", content=body, headers=JPEG)).status_code == 202


async def test_h62_a_stopping_api_says_so_at_once_though_redis_is_silent(servers: Servers) -> None:
    settings = {"redis_timeout_s": 20, "drain_delay_s": 15}
    async with Service.start(servers.environment(), workers=0, **settings) as service:
        os.kill(servers.valkey.pid, signal.SIGSTOP)
        try:
            stopping = asyncio.create_task(service.api.stop(60))

            async def draining() -> bool:
                with suppress(httpx.TimeoutException):
                    answer = await service.client.get("/readyz", timeout=2)
                    return (answer.status_code, answer.json()) == (503, {"status": "draining"})
                return False

            await until(draining, 10)
        finally:
            os.kill(servers.valkey.pid, signal.SIGCONT)
        await stopping


async def test_h25_a_stopping_api_says_so_first_and_finishes_its_uploads(servers: Servers) -> None:
    async with Service.start(servers.environment(), drain_delay_s=DRAIN_DELAY_S) as service:
        bodies = [Body() for _ in range(10)]
        uploads = [asyncio.create_task(service.client.post("/upload", content=body, headers=JPEG)) for body in bodies]
        await asyncio.gather(*(body.asked_for.wait() for body in bodies))
        stopping = asyncio.create_task(service.api.stop(30))

        async def draining() -> bool:
            answer = await service.client.get("/readyz")
            return (answer.status_code, answer.json()["status"]) == (503, "draining")

        await until(draining)

        async def closed() -> bool:
            try:
                async with httpx.AsyncClient(base_url=service.url) as other:
                    await other.get("/healthz")
            except httpx.TransportError:
                return True
            return False

        await until(closed)
        for body in bodies:
            body.go_on.set()
        answers = await asyncio.gather(*uploads)
        assert [answer.status_code for answer in answers] == [202] * 10
        assert await stopping == 0
        await service.start_api()
        await service.until_ready(1)
        for answer in answers:
            assert (await service.ended(answer.json()["id"]))["status"] == "SUCCESS"


async def test_h25_streams_and_answers_that_wait_end_with_a_stopping_api(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=0, drain_delay_s=DRAIN_DELAY_S) as service:
        upload_id = await service.upload(PHOTO)
        waits = [f"/upload/{upload_id}/{what}" for what in ("status?wait=60", "result?wait=60", "events")]
        waiting = [asyncio.create_task(service.client.get(path)) for path in waits * 3]
        await asyncio.wait(waiting, timeout=0.3)
        stopping = asyncio.create_task(service.api.stop(30))

        async def draining() -> bool:
            return (await service.client.get("/readyz")).status_code == 503

        await until(draining)
        assert not any(task.done() for task in waiting), "who comes again would come here again"
        answers = await asyncio.wait_for(asyncio.gather(*waiting), 15)  # and not after the 25 s of grace
        assert [answer.status_code for answer in answers] == [200, 202, 200] * 3
        assert all('"PENDING"' in answer.text for answer in answers)
        assert await asyncio.wait_for(stopping, 15) == 0


async def test_an_upload_that_outlasts_the_grace_is_cut_off_and_leaves_nothing(servers: Servers) -> None:
    environment = servers.environment()
    async with Service.start(environment, drain_s=1) as service:
        body = Body()
        upload = asyncio.create_task(service.client.post("/upload", content=body, headers=JPEG))
        await body.asked_for.wait()
        assert await service.api.stop(20) == 0
        upload.cancel()
        assert leftovers(environment)["objects"] == leftovers(environment)["uploads"] == []
