"""`imgsvc doctor`, as a process of its own: it finds what is wrong, and says what to do."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imgsvc.doctor.finding import Level
from imgsvc.doctor.redis import judge
from imgsvc.doctor.s3 import no_bucket
from imgsvc.jobs.redis_facts import RedisFacts
from imgsvc.local.ports import free_port
from imgsvc.runtime.loading import load
from imgsvc.runtime.settings import Settings
from imgsvc.storage import StorageError
from tests.support import images
from tests.support.doctor import examined
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


def levels(found: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {about: finding["level"] for about, finding in found.items()}


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


async def test_an_overlay_that_no_decoder_can_read_is_found(tmp_path: Path) -> None:
    file = tmp_path / "presets.toml"
    logo, bomb = images.encoded(images.plain("red"), "PNG"), images.png_header_bomb()
    for overlays, level, said in (
        ({"logo": logo, "bomb": bomb}, "fail", "not decoded: bomb"),
        ({"logo": logo}, "ok", "logo"),
    ):
        tables: list[str] = []
        for name, data in overlays.items():
            (tmp_path / name).write_bytes(data)
            tables.append(f'[overlays.{name}]\nfile = "{name}"\nsha256 = "{hashlib.sha256(data).hexdigest()}"\n')
        file.write_text("".join(tables))
        environment = {"IMGSVC_DATA_DIR": str(tmp_path / "data"), "IMGSVC_PRESETS_FILE": str(file)}
        _, found = await examined(tmp_path, environment)
        assert (found["overlays"]["level"], found["overlays"]["detail"]) == (level, said)


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
