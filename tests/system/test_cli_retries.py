"""`imgsvc upload` where the service is busy or the connection breaks: it is tried again, and nothing is made twice."""

import asyncio
import json
from pathlib import Path
from time import monotonic

from tests.support import images
from tests.support.command import imgsvc, running
from tests.support.peers import Listener
from tests.support.service import DEADLINE_S, Servers, Service, decoders, until


async def test_while_the_service_is_overloaded_an_upload_is_tried_again(servers: Servers, folder: Path) -> None:
    async with Service.start(servers.environment(), max_queued=1, lease_s=2) as service:
        for decoder in decoders(service.workers[0]):
            decoder.suspend()
        first = await service.upload(images.photo())
        async with running(
            "upload", "photo.jpg", "--wait", "--json", cwd=folder, env={"IMGSVC_SERVER": service.url}
        ) as process:
            await until(lambda: has_refused(service))
            assert process.returncode is None, "503 overloaded is no end"
            for decoder in decoders(service.workers[0]):
                decoder.resume()
            async with asyncio.timeout(DEADLINE_S):
                out, _ = await process.communicate()
        assert process.returncode == 0
        assert json.loads(out)["status"] == "SUCCESS"
        assert json.loads(out)["id"] != first


async def test_retry_after_is_honoured_and_the_key_goes_along(folder: Path) -> None:
    upload_id = "3f0c4f1e-8a57-4c0f-9d43-0b1c5f1c2a77"
    asked: list[float] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(monotonic())
        if len(asked) == 1:
            writer.write(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
            return
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = int(headers(listener.requests[-1])["content-length"])
        assert images.photo() in await reader.readexactly(length)
        body = json.dumps({"id": upload_id, "status_url": f"/upload/{upload_id}/status"}).encode()
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with Listener.start(answer) as listener:
        env = {"IMGSVC_SERVER": f"http://127.0.0.1:{listener.port}", "IMGSVC_KEY": "s3cret"}
        ended = await imgsvc("upload", "photo.jpg", "--json", cwd=folder, env=env)
    assert ended.code == 0
    assert ended.objects[0]["id"] == upload_id
    first, second = map(headers, listener.requests)
    assert asked[1] - asked[0] >= 1
    assert first["authorization"] == second["authorization"] == "Bearer s3cret"
    assert first["idempotency-key"] == second["idempotency-key"], "a repeat is known as one"
    assert "s3cret" not in ended.out + ended.err


def headers(request: bytes) -> dict[str, str]:
    lines = (line.partition(": ") for line in request.decode().split("\r\n")[1:] if line)
    return {name.lower(): value for name, _, value in lines}


async def has_refused(service: Service) -> bool:
    """Whether an upload was answered 503, which nobody but the command can have been."""
    told = (await service.client.get("/metrics")).text
    return 'imgsvc_http_request_seconds_count{route="/upload",status="5xx"}' in told


async def test_an_upload_whose_answer_was_lost_is_not_made_twice(servers: Servers, folder: Path) -> None:
    """A proxy cuts the first connection when the answer comes."""
    async with Service.start(servers.environment()) as service:
        cut: list[bytes] = []

        async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", service.port)
            far_writer.write(listener.requests[-1])

            async def there() -> None:
                while data := await reader.read(65536):
                    far_writer.write(data)
                    await far_writer.drain()

            up = asyncio.create_task(there())
            try:
                while data := await far_reader.read(65536):
                    if b" 202 " in data and not cut:
                        cut.append(data)
                        return
                    writer.write(data)
                    await writer.drain()
            finally:
                up.cancel()
                far_writer.close()

        async with Listener.start(between) as listener:
            server = f"http://127.0.0.1:{listener.port}"
            ended = await imgsvc("upload", "photo.jpg", "--wait", "--json", cwd=folder, env={"IMGSVC_SERVER": server})
        assert ended.code == 0
        assert len(cut) == 1
        assert ended.objects[0]["id"].encode() in cut[0], "the repeat found the first one"
