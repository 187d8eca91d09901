"""`imgsvc doctor` before servers and machines with one thing wrong each: it finds that, and says what to do."""

import os
import signal
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from time import monotonic

import pytest
import pytest_asyncio
from redis import Redis

from imgsvc.local.folder import DataFolder
from imgsvc.local.ports import free_port
from imgsvc.local.servers import Valkey
from imgsvc.storage import Storage
from tests.support.command import imgsvc
from tests.support.doctor import examined, in_time
from tests.support.fault_proxy import Fault, Proxy
from tests.support.service import Servers, settings_of


@pytest_asyncio.fixture(scope="module")
async def environment(servers: Servers) -> dict[str, str]:
    """Settings of a service that has its bucket."""
    environment = servers.environment()
    async with Storage.open(settings_of(environment)) as storage:
        await storage.ensure_bucket()
    return environment


@asynccontextmanager
async def own_valkey(tmp_path: Path) -> AsyncGenerator[Valkey]:
    valkey = Valkey(tmp_path / "valkey", port=free_port(), log_file=tmp_path / "valkey.log")
    await valkey.start()
    try:
        yield valkey
    finally:
        await valkey.stop()


async def test_people_read_one_line_a_check(servers: Servers, tmp_path: Path) -> None:
    ended = await imgsvc("doctor", cwd=tmp_path, env=in_time(servers.environment()))
    assert ended.code == 0, "that the bucket is still missing is a warning"
    lines = ended.out.splitlines()
    assert "ok   redis policy     noeviction" in lines
    (missing,) = [number for number, line in enumerate(lines) if line.startswith("warn s3")]
    assert "start the API, which makes it" in lines[missing + 1]


async def test_a_redis_that_evicts_and_keeps_nothing_is_found(servers: Servers, tmp_path: Path) -> None:
    async with own_valkey(tmp_path) as valkey:
        with closing(Redis.from_url(valkey.url)) as redis:
            redis.config_set("maxmemory-policy", "allkeys-lru")
            redis.config_set("appendonly", "no")
        ended, found = await examined(tmp_path, servers.environment() | {"IMGSVC_REDIS_URL": valkey.url})
    assert ended.code == 1
    assert found["redis policy"]["level"] == "fail"
    assert found["redis policy"]["advice"].startswith("Set maxmemory-policy to noeviction")
    assert found["redis on disk"]["level"] == "warn"


@pytest.mark.parametrize(("appendfsync", "level"), [("always", "ok"), ("everysec", "warn"), ("no", "warn")])
async def test_how_a_redis_syncs_its_file_is_read_from_it(
    servers: Servers, tmp_path: Path, appendfsync: str, level: str
) -> None:
    async with own_valkey(tmp_path) as valkey:
        with closing(Redis.from_url(valkey.url)) as redis:
            redis.config_set("appendfsync", appendfsync)
        _, found = await examined(tmp_path, servers.environment() | {"IMGSVC_REDIS_URL": valkey.url})
    assert found["redis on disk"]["level"] == level
    assert appendfsync in found["redis on disk"]["detail"], "and not taken as untold"


async def test_a_redis_that_forbids_config_passes_with_its_sync_untold(servers: Servers, tmp_path: Path) -> None:
    async with own_valkey(tmp_path) as valkey:
        with closing(Redis.from_url(valkey.url)) as redis:
            redis.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-config")
        url = f"redis://app:secret@127.0.0.1:{valkey.port}/0"
        ended, found = await examined(tmp_path, servers.environment() | {"IMGSVC_REDIS_URL": url})
    assert ended.code == 0
    assert "its appendfsync cannot be read" in found["redis on disk"]["detail"]


async def test_a_replica_is_found_to_take_no_writes(servers: Servers, tmp_path: Path) -> None:
    async with own_valkey(tmp_path) as valkey:
        with closing(Redis.from_url(valkey.url)) as redis:
            redis.replicaof("127.0.0.1", str(free_port()))
        _, found = await examined(tmp_path, servers.environment() | {"IMGSVC_REDIS_URL": valkey.url})
    assert found["redis writes"]["level"] == "fail"
    assert "read only replica" in found["redis writes"]["detail"]


async def test_a_frozen_redis_is_given_up_in_time(servers: Servers, tmp_path: Path) -> None:
    async with own_valkey(tmp_path) as valkey:
        os.kill(valkey.pid, signal.SIGSTOP)
        frozen = {"IMGSVC_REDIS_URL": valkey.url, "IMGSVC_REDIS_TIMEOUT_S": "1.5"}
        begin = monotonic()
        ended, found = await examined(tmp_path, servers.environment() | frozen)
        took = monotonic() - begin
        os.kill(valkey.pid, signal.SIGCONT)
    print(f"took {took:.1f} s")
    assert (ended.code, found["redis"]["level"]) == (1, "fail")
    assert took < 25


@pytest.mark.parametrize(
    ("refused", "about", "advice"),
    [
        (b"PUT /", "s3 objects", "s3:PutObject"),
        (b"GET /.*/object", "s3 objects", "s3:GetObject"),
        (b"POST /.*uploads", "s3 multipart", "s3:PutObject for uploads in parts"),
        (b"GET /.*uploads", "s3 clearing", "s3:ListBucketMultipartUploads"),
        (b"DELETE /", "s3 clearing", "s3:DeleteObject"),
    ],
)
async def test_a_right_that_s3_does_not_give_is_named(
    servers: Servers, environment: dict[str, str], tmp_path: Path, refused: bytes, about: str, advice: str
) -> None:
    async with Proxy.to("127.0.0.1", servers.seaweed.ports.s3) as s3:
        s3.fault = Fault(on=refused, statuses=(403,))
        url = s3.url(environment["IMGSVC_S3_ENDPOINT_URL"])
        ended, found = await examined(tmp_path, environment | {"IMGSVC_S3_ENDPOINT_URL": url})
    assert ended.code == 1
    assert found[about]["level"] == "fail"
    assert advice in found[about]["advice"]


async def test_a_sandbox_that_is_off_is_a_warning(tmp_path: Path) -> None:
    environment = {"IMGSVC_DATA_DIR": str(tmp_path), "IMGSVC_PORT": str(free_port())}
    ended, found = await examined(tmp_path, environment | {"IMGSVC_SANDBOX": "off"})
    assert ended.code == 0
    assert found["sandbox"] == {
        "about": "sandbox",
        "level": "warn",
        "detail": "decoders are not locked down",
        "advice": "Set IMGSVC_SANDBOX to auto or require.",
    }


async def test_a_port_that_is_taken_and_a_folder_that_cannot_be_are_found(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        _, found = await examined(tmp_path, {"IMGSVC_DATA_DIR": str(file / "data"), "IMGSVC_PORT": port})
    assert (found["port"]["level"], found["data folder"]["level"]) == ("fail", "fail")
    assert f"port {port}" in found["port"]["detail"]


async def test_an_imgsvc_that_is_running_is_no_fault(tmp_path: Path) -> None:
    folder = await DataFolder.open(tmp_path / "data")
    try:
        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            port = str(taken.getsockname()[1])
            ended, found = await examined(tmp_path, {"IMGSVC_DATA_DIR": str(folder.path), "IMGSVC_PORT": port})
    finally:
        folder.close()
    assert ended.code == 0
    assert "in use by imgsvc (pid" in found["data folder"]["detail"]
