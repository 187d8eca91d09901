"""Redis itself, the Redis 7.0 of a distribution, where it refuses what is asked of it, in its own words (R17)."""

import shlex
import shutil
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from redis import Redis

from imgsvc.jobs import scripts
from imgsvc.local.servers import Valkey
from tests.support.chaos_valkey import PHOTO, configured, disconnect_all, environment_of, post, redis_of
from tests.support.ledger import Ledger
from tests.support.service import Servers, Service, settings_of, until

pytestmark = [
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="this machine has no redis-server"),
]

USER = "app"
REFUSED = "Redis refuses the user or password of IMGSVC_REDIS_URL"


class OwnRedis(Valkey):
    """The machine's own."""

    name = "Redis"

    def _command(self) -> list[str | Path]:
        return ["redis-server", "valkey.conf"]


@pytest_asyncio.fixture(scope="module")
async def redis_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[OwnRedis]:
    server = OwnRedis(tmp_path_factory.mktemp("redis") / "redis")
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="module")
async def environment(servers: Servers, redis_server: OwnRedis) -> dict[str, str]:
    """Of its administrator."""
    return environment_of(servers, redis_server)


@pytest_asyncio.fixture(scope="module")
async def ledger(environment: dict[str, str]) -> AsyncGenerator[Ledger]:
    """Of a service whose user may do what is documented."""
    rule = shlex.split(scripts.acl_rule(settings_of(environment), USER))
    with redis_of(environment) as redis:
        redis.execute_command(*rule)
    rest = environment["IMGSVC_REDIS_URL"].rpartition("@")[2]
    own = environment | {"IMGSVC_REDIS_URL": f"redis://{USER}:password@{rest}"}
    async with Service.start(own, decoders=1, lease_s=2) as started:
        started.environment |= environment  # the books at the end are its administrator's
        yield Ledger(started)


@contextmanager
def cannot_save(redis: Redis, folder: Path) -> Generator[None]:
    """Its snapshots fail: what they would be called is a folder. It tries again every few seconds."""
    blocked = folder / "dump.rdb"
    with configured(redis, "save", "1 1"):
        blocked.unlink(missing_ok=True)
        blocked.mkdir()
        yield
        blocked.rmdir()


@contextmanager
def is_full(redis: Redis, _: Path) -> Generator[None]:
    with configured(redis, "maxmemory", 1):
        yield


def user(*change: str, back: str) -> Callable[[Redis, Path], AbstractContextManager[None]]:
    """What may be done is changed, and seen by the next connections."""

    @contextmanager
    def changed(redis: Redis, _: Path) -> Generator[None]:
        redis.execute_command("ACL", "SETUSER", USER, *change)
        disconnect_all(redis)
        yield
        redis.execute_command("ACL", "SETUSER", USER, *back.split())

    return changed


FAULTS: Mapping[str, tuple[Callable[[Redis, Path], AbstractContextManager[None]], str]] = {
    "MISCONF": (cannot_save, "Redis cannot save its data to disk, and takes no writes"),
    "OOM": (is_full, "Redis has no memory left (maxmemory), and takes no writes"),
    "WRONGPASS": (user("resetpass", ">another", back="resetpass >password"), REFUSED),
    "a user who is off": (user("off", back="on"), REFUSED),
    "NOPERM of a command": (user("-evalsha", back="+evalsha"), "+evalsha"),
    "NOPERM of a key": (user("resetkeys", back="~imgsvc:*"), "~imgsvc:*"),
    "NOPERM of a database": (user("-select", back="+select"), "this Redis user lacks a right"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_r17_what_redis_refuses_is_said_and_goes_by_itself(
    environment: dict[str, str], redis_server: OwnRedis, ledger: Ledger, fault: str
) -> None:
    refuse, reason = FAULTS[fault]
    service = ledger.service
    assert (await post(ledger, PHOTO)).status == 202
    with redis_of(environment) as redis:
        with refuse(redis, redis_server.folder):
            ready: Any = (await service.until_not_ready()).json()
            refused = await post(ledger, PHOTO)
        await service.until_ready(1)
    assert reason in ready["checks"]["queue"]["error"]
    assert (refused.status, refused.code) == (503, "queue_unavailable")
    assert (await post(ledger, PHOTO)).status == 202
    await ledger.settle()


async def test_r17_a_password_that_is_not_given_is_said(environment: dict[str, str]) -> None:
    url = environment["IMGSVC_REDIS_URL"]
    stranger = Service(environment | {"IMGSVC_REDIS_URL": f"redis://{url.rpartition('@')[2]}"})
    await stranger.start_api()
    try:

        async def listens() -> bool:
            try:
                return (await stranger.client.get("/healthz")).status_code == 200
            except httpx.TransportError:
                return False

        await until(listens)
        ready = await stranger.until_not_ready()
        with redis_of(environment) as redis, configured(redis, "requirepass", ""):
            await stranger.until_ready(0)
    finally:
        await stranger.stop()
    assert ready.json()["checks"]["queue"]["error"] == REFUSED
