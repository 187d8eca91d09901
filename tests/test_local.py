"""`python -m imgsvc`: everything on one machine, from one command."""

import asyncio
import json
import signal
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from time import monotonic

import httpx
import psutil

from imgsvc.local.folder import DataFolder
from imgsvc.local.supervisor import is_ready, readiness
from imgsvc.runtime.loading import load
from imgsvc.runtime.local_settings import LocalSettings
from tests.support import images
from tests.support.command import imgsvc
from tests.support.local import DEADLINE_S, local
from tests.support.peers import Listener

PHOTO = images.photo()


async def test_a_photo_goes_through_and_survives_ctrl_c_and_kill_9(tmp_path: Path) -> None:
    async with local(tmp_path) as first:
        await first.until_printed("Stop it")
        async with httpx.AsyncClient(base_url=first.url) as client:
            upload_id = (await client.post("/upload", files={"file": ("a.jpg", PHOTO)})).json()["id"]
            path = await thumbnail(client, upload_id)
            thumbnail_bytes = (await client.get(path)).content
            token = (await client.post("/tokens", json={})).json()
        family = first.family()
        first.process.send_signal(signal.SIGINT)
        assert await first.ended() == 0
        assert psutil.wait_procs(family, timeout=10)[1] == []

    async with local(tmp_path) as second:
        begin = monotonic()
        await second.until_printed("Stop it")
        took = monotonic() - begin
        print(f"second start: ready after {took:.1f} s")
        async with httpx.AsyncClient(base_url=second.url) as client:
            assert (await client.get(path)).content == thumbnail_bytes
            by_token = await client.post(token["upload_url"], files={"file": ("b.jpg", PHOTO)})
            assert by_token.json()["id"] == token["id"], "what it signs with is kept"
            fresh = (await client.post("/upload", files={"file": ("b.jpg", PHOTO)})).json()["id"]
        family = second.family()
        second.process.kill()
        await second.process.wait()
        assert psutil.wait_procs(family, timeout=10)[1] == [], "nothing outlives it, even by kill -9"

    async with local(tmp_path) as third:
        await third.until_printed("Stop it")
        async with httpx.AsyncClient(base_url=third.url) as client:
            assert (await client.get(f"/upload/{upload_id}/status")).json()["status"] == "SUCCESS"
            assert (await client.get(await thumbnail(client, fresh))).status_code == 200


async def test_a_folder_of_an_earlier_version_gets_what_it_lacks_once(tmp_path: Path) -> None:
    kept = {"redis_password": "r", "s3_access_key_id": "i", "s3_secret_access_key": "s"}
    (tmp_path / "credentials.json").write_text(json.dumps(kept))
    folder = await DataFolder.open(tmp_path)
    try:
        first = folder.credentials()
        assert asdict(first) == kept | {"signing_secret": first.signing_secret}
        assert len(first.signing_secret) >= 32
        assert folder.credentials() == first
    finally:
        folder.close()


async def test_its_worker_is_asked_how_it_is_by_the_folder_alone(tmp_path: Path) -> None:
    async with local(tmp_path) as running:
        await running.until_printed("Stop it")
        own = {"IMGSVC_DATA_DIR": str(tmp_path)}
        ended = await imgsvc("health", "worker", cwd=tmp_path, env=own)
        assert (ended.code, ended.out) == (0, "alive\n"), ended.err


async def test_a_second_one_on_the_same_folder_says_so_in_one_line(tmp_path: Path) -> None:
    async with local(tmp_path) as first:
        await first.until_printed("Stop it")
        async with local(tmp_path) as second:
            assert await second.ended() == 1
            assert second.output.strip() == (
                f"imgsvc: another imgsvc (pid {first.process.pid}) is using {tmp_path}: "
                "stop it, or set IMGSVC_DATA_DIR to another folder"
            )


async def test_a_port_in_use_is_said_with_what_to_set(tmp_path: Path) -> None:
    import socket

    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        async with local(tmp_path, port) as refused:
            assert await refused.ended() == 1
    assert f"port {port}" in refused.output
    assert "IMGSVC_PORT" in refused.output
    assert "Traceback" not in refused.output
    assert list(tmp_path.iterdir()) == [], "nothing was started"


async def test_a_problem_instead_of_readiness_is_no_reason_to_give_up() -> None:
    problem = b'{"code": "overloaded"}'
    answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: %d\r\n\r\n%b" % (len(problem), problem)
    async with Listener.start(answer) as listener:
        assert not is_ready(await readiness(load(LocalSettings, port=str(listener.port)), None))


async def test_a_worker_that_is_killed_is_started_again(tmp_path: Path) -> None:
    async with local(tmp_path) as running:
        await running.until_printed("Stop it")
        (worker,) = [child for child in running.family() if "imgsvc.worker" in child.cmdline()]
        worker.kill()
        await running.until_printed("starting it again")
        async with httpx.AsyncClient(base_url=running.url) as client:
            upload_id = (await client.post("/upload", files={"file": ("a.jpg", PHOTO)})).json()["id"]
            assert await thumbnail(client, upload_id)


async def thumbnail(client: httpx.AsyncClient, upload_id: str) -> str:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            answer = await client.get(f"/upload/{upload_id}/result")
            if answer.status_code == 200:
                return answer.json()["result"]["thumbnail"]
            await asyncio.sleep(0.02)
