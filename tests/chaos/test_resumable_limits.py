"""Uploads that resume, by clients that are slow, endless, tiny or many (rows T7, T10 and T16)."""

import asyncio
from collections import Counter
from contextlib import closing
from time import monotonic
from typing import Any

from redis import Redis

from imgsvc.runtime.settings import MIB
from tests.support import images
from tests.support.memory import memory_peak
from tests.support.service import UNHURRIED, Servers, Service, leftovers, until
from tests.support.tus import PART, PIECE, Tus, assert_stored, described, kept_of, large_photo
from tests.support.wire import Connection, request

PHOTO = images.photo(64, 48)
LARGE = large_photo(PART - 1)


def head_of(path: str, offset: int, length: int) -> str:
    kind = f"Tus-Resumable: 1.0.0\nContent-Type: {PIECE['content-type']}\nUpload-Offset: {offset}"
    return f"PATCH {path} HTTP/1.1\n{kind}\nContent-Length: {length}"


async def test_t16_what_came_of_a_client_that_fell_silent_is_kept(servers: Servers) -> None:
    limits: dict[str, Any] = {"body_idle_timeout_s": 1, "max_upload_bytes": 2 * PART}
    async with Service.start(servers.environment(), **limits) as service:
        tus = Tus(service.client)
        path = await tus.begun(len(LARGE))
        async with Connection.to(service.port) as connection:
            await connection.send(request(head_of(path, 0, len(LARGE)), LARGE[:12_345]))
            (await connection.answer(20)).assert_problem(408, "request_timeout")
        assert await tus.offset(path) == 12_345
        async with Connection.to(service.port) as connection:
            await connection.send(request(head_of(path, 12_345, len(LARGE) - 12_345), LARGE[12_345:20_000]))

            async def there() -> bool:
                return b"writer" in await asyncio.to_thread(transfer_of, service, path)

            await until(there)
            connection.reset()
        assert await tus.offset(path) == 20_000, "also where the client resets its connection"
        await tus.added(path, 20_000, LARGE[20_000:])
        await assert_stored(service, path, LARGE)

        deferred = await tus.begun(None)
        endless = head_of(deferred, 0, 0).replace("Content-Length: 0", "Transfer-Encoding: chunked")
        async with Connection.to(service.port) as connection:
            chunks = [b"%x\r\n%b\r\n" % (len(LARGE), LARGE)] * 5
            sending = asyncio.create_task(connection.trickle([request(endless), *chunks], 0.05))
            (await connection.answer(30)).assert_problem(413, "upload_too_large")
            sending.cancel()
        assert await tus.offset(deferred) % PART == 0


def transfer_of(service: Service, path: str) -> dict[bytes, bytes]:
    with closing(Redis.from_url(service.environment["IMGSVC_REDIS_URL"])) as redis:
        found: Any = redis.hgetall(f"imgsvc:transfer:{path.rpartition('/')[2]}")
        return found


async def test_t16_many_at_once_stay_within_the_memory_for_uploads(servers: Servers) -> None:
    budget = 48 * MIB
    limits: dict[str, Any] = {"body_idle_timeout_s": 2, "upload_memory_bytes": budget, "client_share": 1}
    limits |= UNHURRIED
    async with Service.start(servers.environment(), **limits) as service:
        tus = Tus(service.client)
        await tus.create(len(PHOTO), PHOTO)
        before, codes = memory_peak(service.api.pid), Counter[str]()
        paths = [await tus.begun(len(LARGE)) for _ in range(60)]

        async def stalling(path: str) -> None:
            async with Connection.to(service.port) as connection:
                sending = asyncio.create_task(connection.send(request(head_of(path, 0, len(LARGE)), LARGE[:-1])))
                codes[(await connection.answer(30)).code] += 1
                sending.cancel()

        await asyncio.gather(*map(stalling, paths))
        grown = memory_peak(service.api.pid) - before
        print(f"T16: {dict(codes)}; memory grew by {grown / MIB:.0f} MiB, {budget // MIB} are for uploads")
        assert codes.keys() == {"request_timeout", "overloaded"}
        assert grown < 2.5 * budget, "what is held, a copy of what is being stored, and no more"
        offsets = [await tus.offset(path) for path in paths]
        assert len(LARGE) - 1 in offsets
        assert (await service.post(PHOTO)).status_code == 202


async def test_t7_a_thousand_pieces_of_a_byte(servers: Servers, full_length: bool) -> None:
    count = 5_000 if full_length else 400
    data = large_photo(count + 3_000)
    async with Service.start(servers.environment()) as service:
        tus = Tus(service.client)
        path, begin, most = await tus.begun(len(data)), monotonic(), 0
        for at in range(count):
            await tus.added(path, at, data[at : at + 1])
            if at % 100 == 99:
                most = max(most, len(kept_of(service.environment, path)["objects"]))
        each_ms = (monotonic() - begin) / count * 1000
        print(f"T7: {count} pieces of a byte, {each_ms:.1f} ms each, {most} objects at most")
        assert most <= 13
        await tus.added(path, count, data[count:])
        await assert_stored(service, path, data)


async def test_t10_uploads_begun_and_left_by_the_thousand_are_removed(servers: Servers, full_length: bool) -> None:
    count = 10_000 if full_length else 500
    settings: dict[str, Any] = {"resumable_ttl_s": 240 if full_length else 20, "sweep_interval_s": 0.3}
    environment = servers.environment()
    async with Service.start(environment, **settings) as service:
        tus, metadata = Tus(service.client), described(filename="photo.jpg", filetype="image/jpeg")
        with closing(Redis.from_url(environment["IMGSVC_REDIS_URL"])) as redis:

            def used() -> int:
                info: Any = redis.info("memory")
                return info["used_memory"]

            before = used()
            left = asyncio.Semaphore(8)

            async def begun() -> str:
                async with left:
                    answer = await tus.create(PART + 5000, upload_metadata=metadata)
                    assert answer.status_code == 201
                    return answer.headers["location"]

            paths = await asyncio.gather(*(begun() for _ in range(count)))
            each = (used() - before) / count
            for path in paths[:3]:
                await tus.added(path, 0, large_photo(PART + 3000))
            assert len(leftovers(environment)["uploads"]) == 3

            async def swept() -> bool:
                found = leftovers(environment)
                return not (found["objects"] or found["uploads"] or [key for key in found["keys"] if ":upload:" in key])

            seconds = await until(swept, 400)
            print(f"T10: {count} begun and left, {each:.0f} bytes of Redis each; gone after {seconds:.1f} s")
            assert each < 2_000
        assert (await tus.call("HEAD", paths[0])).status_code == 404
