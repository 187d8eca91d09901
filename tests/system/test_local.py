"""`python -m imgsvc`: what it says of others in its way, and what becomes of its processes."""

from contextlib import closing
from pathlib import Path

import httpx

from imgsvc.local.supervisor import is_ready, readiness
from imgsvc.runtime.loading import load
from imgsvc.runtime.local_settings import LocalSettings
from tests.support import images
from tests.support.command import imgsvc
from tests.support.local import local, thumbnail
from tests.support.peers import Listener

PHOTO = images.photo()


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
