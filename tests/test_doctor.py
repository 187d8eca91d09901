"""`imgsvc doctor`, as a process of its own: it finds what is wrong, and says what to do."""

import os
import signal
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from redis import Redis

from imgsvc.doctor.finding import Level
from imgsvc.doctor.redis import judge
from imgsvc.doctor.s3 import no_bucket
from imgsvc.jobs.redis_facts import RedisFacts
from imgsvc.local.folder import DataFolder
from imgsvc.local.ports import free_port
from imgsvc.local.servers import Valkey
from imgsvc.runtime.loading import load
from imgsvc.runtime.settings import Settings
from imgsvc.storage import StorageError
from tests.support.command import Ended, imgsvc
from tests.support.fault_proxy import Fault, Proxy
from tests.support.service import Servers, Service, leftovers

HEALTHY = RedisFacts(
    name="Redis 7.4.1",
    version="7.4.1",
    policy="noeviction",
    appendonly=True,
    appendfsync="always",
    cluster=False,
    skew_s=0.01,
    refusal=None,
)


async def examined(cwd: Path, environment: Mapping[str, str]) -> tuple[Ended, dict[str, dict[str, Any]]]:
    """How it ended, and what it found, by what that is about."""
    ended = await imgsvc("doctor", "--json", cwd=cwd, env=environment)
    assert ended.err == ""
    (document,) = ended.objects
    assert document["ok"] is (ended.code == 0)
    return ended, {finding["about"]: finding for finding in document["checks"]}


def levels(found: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {about: finding["level"] for about, finding in found.items()}


@asynccontextmanager
async def own_valkey(tmp_path: Path) -> AsyncGenerator[Valkey]:
    valkey = Valkey(tmp_path / "valkey", port=free_port(), log_file=tmp_path / "valkey.log")
    await valkey.start()
    try:
        yield valkey
    finally:
        await valkey.stop()


async def test_a_healthy_service_passes_every_check_and_nothing_is_left_of_it(servers: Servers, tmp_path: Path) -> None:
    environment = servers.environment()
    async with Service.start(environment, workers=0):
        before = leftovers(environment)
        ended, found = await examined(tmp_path, environment)
        assert (ended.code, set(levels(found).values())) == (0, {"ok"}), found
        assert leftovers(environment) == before
    assert found.keys() == {
        *("settings", "redis", "redis policy", "redis writes", "redis on disk", "redis clock"),
        *("s3", "s3 objects", "s3 clock", "s3 multipart", "s3 clearing"),
        *("sandbox", "formats read", "formats written"),
    }


async def test_people_read_one_line_a_check(servers: Servers, tmp_path: Path) -> None:
    ended = await imgsvc("doctor", cwd=tmp_path, env=servers.environment())
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
    assert "does not tell its appendfsync" in found["redis on disk"]["detail"]


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
        begin = monotonic()
        ended, found = await examined(tmp_path, servers.environment() | {"IMGSVC_REDIS_URL": valkey.url})
        took = monotonic() - begin
        os.kill(valkey.pid, signal.SIGCONT)
    print(f"took {took:.1f} s")
    assert (ended.code, found["redis"]["level"]) == (1, "fail")
    assert took < 15


async def test_credentials_that_s3_refuses_are_found(servers: Servers, tmp_path: Path) -> None:
    wrong = {"IMGSVC_S3_SECRET_ACCESS_KEY": "not-the-secret"}
    ended, found = await examined(tmp_path, servers.environment() | wrong)
    assert (ended.code, found["s3"]["level"]) == (1, "fail")
    assert "403" in found["s3"]["detail"]
    assert "credentials" in found["s3"]["advice"]


def test_only_an_answer_of_404_says_that_there_is_no_bucket() -> None:
    settings = load(Settings, redis_url="redis://localhost")
    for said, level in (
        ("An error occurred (404) when calling the HeadBucket operation: Not Found", Level.WARN),
        ('Could not connect to the endpoint URL: "http://localhost:4040/imgsvc"', Level.FAIL),
    ):
        error = StorageError()
        error.__cause__ = OSError(said)
        assert no_bucket(error, settings).level is level


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
    servers: Servers, tmp_path: Path, refused: bytes, about: str, advice: str
) -> None:
    environment = servers.environment()
    async with (
        Service.start(environment, workers=0),
        Proxy.to("127.0.0.1", servers.seaweed.ports.s3) as s3,
    ):
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


async def test_every_wrong_setting_is_named(tmp_path: Path) -> None:
    (tmp_path / "presets.toml").write_text("[shop.card]\nwidth = 9000\n")
    ended, _ = await examined(tmp_path, {"IMGSVC_PORT": "http", "IMGSVC_REDIS_URI": "redis://x"})
    assert ended.code == 1
    assert [finding["detail"].split()[0] for finding in ended.objects[0]["checks"]] == [
        "IMGSVC_REDIS_URI",
        "IMGSVC_PORT",
    ]
    _, found = await examined(tmp_path, {"IMGSVC_PRESETS_FILE": str(tmp_path / "presets.toml")})
    assert "shop.card.width must be" in found["settings"]["detail"]


async def test_without_a_redis_the_machine_itself_is_checked(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    environment = {"IMGSVC_DATA_DIR": str(folder), "IMGSVC_PORT": str(free_port())}
    ended, found = await examined(tmp_path, environment)
    assert ended.code == 0
    assert {"servers", "data folder", "disk", "port", "sandbox", "formats read"} <= found.keys()
    assert not folder.exists(), "it only looks"


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


@pytest.mark.parametrize(
    ("facts", "about", "level"),
    [
        (replace(HEALTHY, version="6.0.16"), "redis", Level.FAIL),
        (replace(HEALTHY, version="6.2.0"), "redis", Level.OK),
        (replace(HEALTHY, version="10.0.1"), "redis", Level.OK),
        (replace(HEALTHY, cluster=True), "redis cluster", Level.FAIL),
        (replace(HEALTHY, appendfsync="everysec"), "redis on disk", Level.WARN),
        (replace(HEALTHY, appendfsync=None), "redis on disk", Level.OK),
        (replace(HEALTHY, skew_s=-3600.0), "redis clock", Level.WARN),
        (replace(HEALTHY, skew_s=3.0), "redis clock", Level.WARN),
    ],
)
def test_what_makes_a_redis_fit_for_jobs(facts: RedisFacts, about: str, level: Level) -> None:
    (finding,) = [finding for finding in judge(facts) if finding.about == about]
    assert finding.level is level
    assert bool(finding.advice) is (level is not Level.OK), "what is wrong comes with what to do"
