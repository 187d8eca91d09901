"""An upload's status as it changes: Server-Sent Events, and answers that wait."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from time import monotonic
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import orjson
import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from imgsvc.jobs import connections
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Failure
from imgsvc.jobs.types import Claim
from tests.support import images
from tests.support.fault_proxy import Fault, Proxy
from tests.support.service import Servers, Service, settings_of, until
from tests.support.streams import DEADLINE_S, Stream

PHOTO = images.photo()
FAILURE = Failure("decode_failed", "broken")
COMMENT_S = 0.3
STEPS = 2000


class Script:
    """A job whose worker is the test: each step is written when it says so."""

    def __init__(self, service: Service, queue: Queue) -> None:
        self.service = service
        self.queue = queue

    async def claimed(self) -> Claim:
        claims = await self.queue.claim("the test", 100)
        return claims[-1]

    async def begun(self) -> tuple[str, Claim]:
        upload_id = await self.service.upload(PHOTO)
        claim = await self.claimed()
        assert claim.id == upload_id
        return upload_id, claim

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.service.client.get(path, headers=headers)


@pytest_asyncio.fixture(scope="module")
async def environment(servers: Servers) -> dict[str, str]:
    return servers.environment() | {"IMGSVC_LEASE_S": "60", "IMGSVC_EVENTS_COMMENT_S": str(COMMENT_S)}


@pytest_asyncio.fixture(scope="module")
async def script(environment: dict[str, str]) -> AsyncGenerator[Script]:
    async with Service.start(environment, workers=0) as service, Queue.open(settings_of(environment)) as queue:
        yield Script(service, queue)


async def test_a_stream_begins_with_the_status_as_it_stands_and_ends_with_the_job(script: Script) -> None:
    upload_id, claim = await script.begun()
    async with Stream.open(script.service, upload_id) as stream:
        headers = stream.answer.headers
        assert stream.answer.status_code == 200
        assert headers["content-type"] == "text/event-stream"
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-cache, no-transform", "no")
        first = await stream.next()
        assert first is not None
        assert first.fields == {"retry": "2000"}
        assert await stream.status() == await script.service.status(upload_id)
        await script.queue.progress(claim, 60, "encode:thumbnail")
        document = await stream.status()
        assert (document["status"], document["progress"], document["step"]) == ("PROGRESS", 60, "encode:thumbnail")
        await script.queue.finish(claim, FAILURE)
        assert await stream.status() == await script.service.status(upload_id)
        assert await stream.rest() == []


async def test_every_move_is_told(script: Script) -> None:
    upload_id = await script.service.upload(PHOTO)
    async with Stream.open(script.service, upload_id) as stream:
        assert (await stream.status())["status"] == "PENDING"
        claim = await script.claimed()
        assert (await stream.status())["attempt"] == 1
        await script.queue.release(claim)
        await script.claimed()
        document = await stream.status()
        assert (document["status"], document["attempt"]) == ("PROGRESS", 2)
        await script.service.client.post(f"/upload/{upload_id}/cancel")
        assert (await stream.status())["status"] == "CANCELLED"
        assert await stream.rest() == []
    await script.service.client.post(f"/upload/{upload_id}/retry")
    async with Stream.open(script.service, upload_id) as stream:
        assert (await stream.status())["status"] == "PENDING", "a retried job has a stream again"
        await script.service.client.delete(f"/upload/{upload_id}")
        assert await stream.rest() == [], "nothing is told of what is deleted"


async def test_an_event_source_that_comes_again_after_the_end_is_told_to_stay_away(script: Script) -> None:
    upload_id, claim = await script.begun()
    await script.queue.finish(claim, FAILURE)
    async with Stream.open(script.service, upload_id) as stream:
        await stream.next()
        event = await stream.next()
        assert event is not None
        assert event.status["status"] == "FAILURE"
        assert await stream.next() is None
    async with Stream.open(script.service, upload_id, **{"last-event-id": event.fields["id"]}) as stream:
        assert stream.answer.status_code == 204
    async with Stream.open(script.service, upload_id, **{"last-event-id": "another"}) as stream:
        assert (await stream.status())["status"] == "FAILURE"


async def test_silence_is_filled_with_comments(script: Script) -> None:
    upload_id, _ = await script.begun()
    begin = monotonic()
    async with Stream.open(script.service, upload_id) as stream:
        await stream.status()
        for _ in range(3):
            event = await stream.next()
            assert event is not None
            assert event.is_comment
    assert monotonic() - begin >= 0.9 * 3 * COMMENT_S, "of silence alone"


async def test_there_is_no_stream_of_what_is_not_there(script: Script) -> None:
    for path in (f"/upload/{uuid4()}/events", "/upload/none/events"):
        answer = await script.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    upload_id = await script.service.upload(PHOTO, expires_in="1")

    async def expired() -> bool:
        async with Stream.open(script.service, upload_id) as stream:
            return stream.answer.status_code == 410

    await until(expired)


async def test_a_slow_reader_holds_nobody_up_and_misses_what_lies_between(script: Script) -> None:
    upload_id = await script.service.upload(PHOTO, metadata=orjson.dumps({"long": "x" * 4000}).decode())
    claim = await script.claimed()
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(("127.0.0.1", script.service.port))
    slow.sendall(f"GET /upload/{upload_id}/events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
    async with Stream.open(script.service, upload_id) as stream:
        for step in range(STEPS):
            await script.queue.progress(claim, 50, f"step {step}")
        await script.queue.finish(claim, FAILURE)
        assert (await stream.rest())[-1] == "FAILURE"
    reader, writer = await asyncio.open_connection(sock=slow, limit=64 * 1024 * 1024)
    text = await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), DEADLINE_S)
    writer.close()
    assert 0 < text.count(b"event: status") < STEPS
    assert b'"status":"FAILURE"' in text[-5000:]


@pytest.mark.parametrize("after", ["", "\r\n"])
@pytest.mark.parametrize("path", ["events", "status?wait=60", "result?wait=60"])
async def test_who_has_gone_costs_nothing_more(script: Script, path: str, after: str) -> None:
    upload_id, claim = await script.begun()
    _, writer = await asyncio.open_connection("127.0.0.1", script.service.port)
    writer.write(f"GET /upload/{upload_id}/{path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n{after}".encode())

    async def its_record_is_read() -> bool:
        return await reads(script) < await reads_of(10, script, claim)

    async def it_is_not() -> bool:
        return not await its_record_is_read()

    await until(its_record_is_read)
    writer.close()
    await until(it_is_not)


async def reads(script: Script) -> int:
    """Records that were ever read from this Redis."""
    async with Redis.from_url(settings_of(script.service.environment).redis_url) as redis:
        return (await redis.info("commandstats"))["cmdstat_hgetall"]["calls"]


async def reads_of(steps: int, script: Script, claim: Claim) -> int:
    for step in range(steps):
        await script.queue.progress(claim, 50, f"step {step}")
        await asyncio.sleep(0.01)
    return await reads(script)


async def test_all_streams_of_a_process_share_one_subscription(script: Script) -> None:
    upload_id, claim = await script.begun()
    async with Redis.from_url(settings_of(script.service.environment).redis_url) as redis, AsyncExitStack() as opened:
        before = await redis.pubsub_numsub("imgsvc:events")
        streams = [await opened.enter_async_context(Stream.open(script.service, upload_id)) for _ in range(20)]
        await asyncio.gather(*(stream.status() for stream in streams))
        assert await redis.pubsub_numsub("imgsvc:events") == before
        await script.queue.finish(claim, FAILURE)
        assert await asyncio.gather(*(stream.rest() for stream in streams)) == [["FAILURE"]] * 20


@pytest.mark.parametrize("header", [False, True])
async def test_an_answer_waits_for_the_end(script: Script, header: bool) -> None:
    upload_id, claim = await script.begun()
    query, headers = ("", {"prefer": "respond-async, wait=30"}) if header else ("?wait=30", {})
    waiting = [
        asyncio.create_task(script.get(f"/upload/{upload_id}/{what}{query}", **headers))
        for what in ("status", "result")
    ]
    await script.queue.progress(claim, 50, "encode")
    done, _ = await asyncio.wait(waiting, timeout=0.3)
    assert not done, "progress is no end"
    await script.queue.finish(claim, FAILURE)
    async with asyncio.timeout(15):  # and not after the 30 s
        status, result = await asyncio.gather(*waiting)
    assert (status.status_code, status.json()["status"]) == (200, "FAILURE")
    assert (result.status_code, result.json()["error"]["code"]) == (200, "decode_failed")
    assert status.headers.get("preference-applied") == ("wait=30" if header else None)


async def test_an_answer_waits_no_longer_than_it_was_asked_to(script: Script) -> None:
    upload_id, _ = await script.begun()
    begin = monotonic()
    answer = await script.get(f"/upload/{upload_id}/result?wait=.5")
    assert 0.5 <= monotonic() - begin < 15
    assert (answer.status_code, answer.json()["status"], answer.headers["retry-after"]) == (202, "PROGRESS", "1")
    answer = await script.get(f"/upload/{upload_id}/status", prefer="wait=1")
    assert (answer.json()["status"], answer.headers["preference-applied"]) == ("PROGRESS", "wait=1")


async def test_what_has_ended_or_is_not_there_is_not_waited_for(script: Script) -> None:
    upload_id, claim = await script.begun()
    await script.queue.finish(claim, FAILURE)
    async with asyncio.timeout(5):
        assert (await script.get(f"/upload/{upload_id}/status?wait=60")).json()["status"] == "FAILURE"
        assert (await script.get(f"/upload/{uuid4()}/status?wait=60")).status_code == 404


async def test_who_waits_for_an_upload_that_is_deleted_hears_of_it(script: Script) -> None:
    upload_id, _ = await script.begun()
    waiting = asyncio.create_task(script.get(f"/upload/{upload_id}/status?wait=60"))
    await asyncio.wait([waiting], timeout=0.2)
    await script.service.client.delete(f"/upload/{upload_id}")
    assert (await asyncio.wait_for(waiting, 5)).status_code == 404


@pytest.mark.parametrize("wait", ["", "-1", "61", "60.1", "1e1", "nan", "inf", "soon", "1_0", "\u0661", "9" * 400])
async def test_a_wait_that_is_none_is_refused(script: Script, wait: str) -> None:
    upload_id, _ = await script.begun()
    for what in ("status", "result"):
        answer = await script.service.client.get(f"/upload/{upload_id}/{what}", params={"wait": wait})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")


@pytest.mark.parametrize("prefer", ["wait", "wait=soon", "wait=-1", "respond-async", "return=minimal"])
async def test_a_preference_that_is_none_counts_for_nothing(script: Script, prefer: str) -> None:
    upload_id, _ = await script.begun()
    answer = await script.get(f"/upload/{upload_id}/status", prefer=prefer)
    assert (answer.status_code, "preference-applied" in answer.headers) == (200, False)


async def test_a_real_job_is_told_from_its_start_to_its_end(service: Service) -> None:
    upload_id = await service.upload(PHOTO)
    async with Stream.open(service, upload_id) as stream:
        told = await stream.rest()
    assert told[-1] == "SUCCESS"
    assert told == sorted(told, key=["PENDING", "PROGRESS", "SUCCESS"].index)


def through(proxy: Proxy, environment: dict[str, str]) -> dict[str, str]:
    return environment | {"IMGSVC_REDIS_URL": proxy.url(environment["IMGSVC_REDIS_URL"])}


async def test_streams_outlive_redis_and_catch_up_with_what_they_missed(servers: Servers) -> None:
    environment = servers.environment() | {"IMGSVC_LEASE_S": "60"}
    url = urlsplit(environment["IMGSVC_REDIS_URL"])
    assert url.hostname
    assert url.port
    async with (
        Proxy.to(url.hostname, url.port) as proxy,
        Queue.open(settings_of(environment)) as queue,
        Service.start(through(proxy, environment), workers=0, events_comment_s=COMMENT_S) as service,
    ):
        script = Script(service, queue)
        upload_id, claim = await script.begun()
        async with Stream.open(service, upload_id) as stream:
            await stream.status()
            proxy.refuse()
            await queue.progress(claim, 50, "decode")  # which the API cannot hear
            event = await stream.next()
            assert event is not None
            assert event.is_comment
            assert (await script.get(f"/upload/{upload_id}/events")).status_code == 503
            await proxy.accept()
            assert (await stream.status())["progress"] == 50
            proxy.reset()  # and at once again
            await queue.finish(claim, FAILURE)
            assert (await stream.status())["status"] == "FAILURE"
            assert await stream.rest() == []


async def test_a_subscription_that_is_silent_for_good_is_found_out(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "QUIET_S", 0.2)
    settings = settings_of(environment)
    url = urlsplit(settings.redis_url)
    assert url.hostname
    assert url.port
    async with (
        Proxy.to(url.hostname, url.port) as proxy,
        Redis.from_pool(connections.Pool.open(settings_of(through(proxy, environment)))) as redis,
        Redis.from_url(settings.redis_url) as other,
    ):

        async def say(word: str) -> None:
            await other.publish("imgsvc:echo", word)

        messages = connections.subscribe(redis, settings, "ours", say, "nothing is said here")
        assert await anext(messages) is None
        waiting = asyncio.ensure_future(anext(messages))
        done, _ = await asyncio.wait([waiting], timeout=1)
        assert not done, "it hears what is said"
        proxy.fault = Fault(silent=True)
        with pytest.raises(RedisConnectionError, match="silent"):
            await asyncio.wait_for(waiting, DEADLINE_S)
