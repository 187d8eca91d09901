"""Two services in one database, and a Redis user who may do no more than is needed, or less (R15 and R16)."""

import shlex
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis import Redis

from imgsvc.jobs import scripts
from imgsvc.local.servers import Valkey
from tests.support import images
from tests.support.callers import raw
from tests.support.chaos_valkey import disconnect_all, environment_of, redis_of
from tests.support.command import imgsvc
from tests.support.service import UNHURRIED, Servers, Service, leftovers, settings_of, until
from tests.support.streams import Stream

PHOTO = images.photo(64, 48)
USER = "app"
HEADERS_ALONE = "POST /upload HTTP/1.1\nHost: localhost\nContent-Type: image/jpeg\nContent-Length: 9999\n\n"
PATTERNS = (
    "upload:*",
    "queue",
    "sweep",
    "settling",
    "webhooks",
    "workers",
    "list:*",
    "key:*",
    "deleted:*",
    "rate:*",
    "quota:*",
)
CHANNELS = ("doorbell", "revoked", "events", "echo")


def rights(environment: Mapping[str, str]) -> list[str]:
    """The documented rule, as arguments of ACL SETUSER."""
    return shlex.split(scripts.acl_rule(settings_of(environment), USER))[3:]


def grant(environment: Mapping[str, str], *rules: str) -> None:
    with redis_of(environment) as redis:
        redis.execute_command("ACL", "SETUSER", USER, "reset", *rules)


def as_user(environment: Mapping[str, str]) -> dict[str, str]:
    rest = environment["IMGSVC_REDIS_URL"].rpartition("@")[2]
    timeout = {"IMGSVC_REDIS_TIMEOUT_S": str(UNHURRIED["redis_timeout_s"])}
    return dict(environment) | timeout | {"IMGSVC_REDIS_URL": f"redis://{USER}:password@{rest}"}


@pytest_asyncio.fixture(scope="module")
async def limited(servers: Servers, valkey: Valkey) -> AsyncGenerator[tuple[dict[str, str], Service]]:
    """A service whose Redis user is given and taken rights, and settings to do that by."""
    environment = environment_of(servers, valkey)
    grant(environment, *rights(environment))
    environment |= {"IMGSVC_RATE_LIMIT": "10000", "IMGSVC_QUOTA_BYTES": str(2**40), "IMGSVC_TOMBSTONE_TTL_S": "2"}
    async with Service.start(as_user(environment), decoders=1, s3_timeout_s=1, sweep_interval_s=0.2) as service:
        yield environment, service


async def test_r15_two_services_share_a_database_and_see_nothing_of_each_other(servers: Servers) -> None:
    environment = servers.environment()
    other = environment | {"IMGSVC_REDIS_PREFIX": "Other:one_2-x", "IMGSVC_S3_BUCKET": "imgsvc-other"}
    async with (
        Service.start(environment, workers=0) as first,
        Service.start(other, workers=1, decoders=1) as second,
    ):
        waits = await first.upload(PHOTO)
        assert (await second.ended(await second.upload(PHOTO)))["status"] == "SUCCESS"
        assert (await first.status(waits))["status"] == "PENDING", "the other's worker has nothing to do with it"
        assert (await second.client.get(f"/upload/{waits}/status")).status_code == 404
        ready = (await first.client.get("/readyz")).json()["checks"]["workers"]
        assert (ready["alive"], ready["queued"]) == (0, 1)
        async with Stream.open(first, waits) as stream:
            assert (await stream.status())["status"] == "PENDING"
            await first.start_worker()
            while (await stream.status())["status"] != "SUCCESS":
                pass
        with Redis.from_url(environment["IMGSVC_REDIS_URL"]) as redis:
            keys: Any = redis.keys()
    assert all(key.startswith((b"imgsvc:", b"Other:one_2-x:")) for key in keys)


async def test_r16_the_documented_rule_suffices_for_all_that_a_service_does(
    limited: tuple[dict[str, str], Service],
) -> None:
    environment, service = limited
    headers = {"idempotency-key": "k", "content-type": "image/jpeg"}
    answers = [await service.client.post("/upload", content=PHOTO, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    upload_id = answers[0].json()["id"]
    assert (await service.ended(upload_id))["status"] == "SUCCESS"
    failed = await service.upload(images.photo()[:5000])
    await service.ended(failed)
    assert (await service.client.post(f"/upload/{failed}/retry")).status_code == 202
    await service.ended(failed)
    assert len((await service.client.get("/uploads")).json()["uploads"]) == 2
    for gone in (upload_id, failed):
        assert [(await service.client.delete(f"/upload/{gone}")).status_code for _ in range(2)] == [204, 204]
    assert (await service.client.get("/readyz")).status_code == 200
    with redis_of(environment) as redis:
        redis.script_flush()
    assert (await service.ended(await service.upload(PHOTO)))["status"] == "SUCCESS"
    with redis_of(environment) as redis:
        denied: Any = redis.acl_log()
    assert denied == []


LACKING = [
    *(f"-{command.lower()}" for command in sorted(scripts.commands() - {"SELECT"})),
    *(f"~{pattern}" for pattern in PATTERNS),
    *(f"&{channel}" for channel in CHANNELS),
]


def without(environment: Mapping[str, str], lacking: str) -> list[str]:
    """The rule less one right: a command, a pattern of keys, or a channel."""
    rules = rights(environment)
    if lacking.startswith("-"):
        return [*rules, lacking]
    whole, names = ("~imgsvc:*", PATTERNS) if lacking.startswith("~") else ("&imgsvc:*", CHANNELS)
    rest = [f"{lacking[0]}imgsvc:{name}" for name in names if name != lacking[1:]]
    return [rule for rule in rules if rule != whole] + rest


@pytest.mark.parametrize("lacking", LACKING)
async def test_r16_a_right_that_lacks_is_said_before_anything_is_written(
    limited: tuple[dict[str, str], Service], lacking: str
) -> None:
    """503 to the headers alone, no ghost, and the service goes on when the right is given. Rights are tried by each
    new connection; what a script that runs is denied is so once at most.
    """
    environment, service = limited
    before = await settled(environment)
    grant(environment, *without(environment, lacking))
    with redis_of(environment) as redis:
        disconnect_all(redis)
    try:
        answers = [await raw(service, HEADERS_ALONE) for _ in range(2)]
        ready = await service.until_not_ready()
    finally:
        grant(environment, *rights(environment))
    for answer in answers:
        assert answer.startswith("HTTP/1.1 503"), answer[:400]
        assert "queue_unavailable" in answer
    said = ready.json()["checks"]["queue"]["error"]
    named = {"-": lacking.replace("-", "+", 1), "~": "~imgsvc:*", "&": "&imgsvc:*"}[lacking[0]]
    assert named in said or lacking in {"-subscribe", "-unsubscribe"}, said
    await service.until_ready(1)
    assert await settled(environment) == before


async def settled(environment: Mapping[str, str]) -> dict[str, list[str]]:
    """What is kept once the sweeper has done its work."""

    async def is_quiet() -> bool:
        with redis_of(environment) as redis:
            return not redis.exists("imgsvc:sweep", "imgsvc:settling", "imgsvc:obsolete")

    await until(is_quiet)
    found = leftovers(environment)
    return found | {"keys": [key for key in found["keys"] if ":rate:" not in key and ":quota:" not in key]}


@pytest.mark.parametrize("lacking", ["-hincrby", "~webhooks", "&events", "-info", "-evalsha", "-select"])
async def test_r16_the_doctor_names_the_right_and_the_rule(
    servers: Servers, valkey: Valkey, tmp_path: Path, lacking: str
) -> None:
    environment = environment_of(servers, valkey)
    grant(environment, *without(environment, lacking))
    ended = await imgsvc("doctor", "--json", cwd=tmp_path, env=as_user(environment))
    grant(environment, *rights(environment))
    (document,) = ended.objects
    found = next(
        check for check in document["checks"] if check["about"].startswith("redis") and check["level"] == "fail"
    )
    named = {"-": lacking[1:], "~": "~imgsvc:*", "&": "&imgsvc:*"}[lacking[0]]
    assert named in found["detail"]
    assert "ACL SETUSER" in found["advice"]
    assert "'~imgsvc:*'" in found["advice"]
    healthy = await imgsvc("doctor", "--json", cwd=tmp_path, env=as_user(environment))
    (document,) = healthy.objects
    assert healthy.code == 0, document
