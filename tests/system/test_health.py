"""`imgsvc health`, as a container engine runs it: an exit code, one line, and never a long wait."""

import asyncio
import shlex
import ssl
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import pytest
from redis import Redis

from imgsvc.cli import health as cli_health
from imgsvc.cli.health import DEADLINE_S
from imgsvc.jobs import scripts
from imgsvc.local.certificates import Certificates
from imgsvc.local.ports import free_port
from tests.support import callers
from tests.support.command import Ended, Env, imgsvc
from tests.support.peers import Listener
from tests.support.service import Servers, Service, freeze, settings_of, thaw, until

USER = "health"
PASSWORD = "a/b#c@d:e%"
ESCAPED = "a%2Fb%23c%40d%3Ae%25"
START_S = 10.0
"""How long a machine under load may take to start Python, beyond the deadline of the question."""


async def health(env: Env, *args: str) -> Ended:
    ended = await imgsvc("health", *args, cwd=Path("/"), env=env)
    assert len((ended.out + ended.err).splitlines()) == 1
    return ended


async def test_a_service_that_is_well_says_so(service: Service) -> None:
    asked = ((), ("--live",), ("api", "--live"), ("worker",))
    ended = await asyncio.gather(*(health(service.environment, *args) for args in asked))
    assert [(each.code, each.out) for each in ended] == [(0, "ready\n"), (0, "ok\n"), (0, "ok\n"), (0, "alive\n")]


async def test_a_worker_is_not_asked_for_what_it_has_not(service: Service) -> None:
    assert (await health(service.environment, "worker", "--live")).code == 2


@contextmanager
def frozen(service: Service) -> Generator[None]:
    children = [service.api, *service.workers]
    for child in children:
        freeze(child)
    try:
        yield
    finally:
        for child in children:
            thaw(child)


async def test_n14_what_is_frozen_or_has_ended_is_not_well_whoever_else_is(servers: Servers) -> None:
    environment = servers.environment() | {"IMGSVC_LEASE_S": "1"}
    async with Service.start(environment, decoders=1) as service:
        with closing(Redis.from_url(environment["IMGSVC_REDIS_URL"])) as redis:
            redis.zadd("imgsvc:workers", {"0123456789abcdef-01234567 full": 2**45})  # on another machine

        async def worker_is(code: int) -> Ended:
            async def so() -> bool:
                return (await health(service.environment, "worker")).code == code

            await until(so)
            return await health(service.environment, "worker")

        with frozen(service):
            lapsed = await worker_is(1)
            begin = monotonic()
            api = await health(service.environment)
            assert monotonic() - begin < DEADLINE_S + START_S
        assert lapsed.err == "imgsvc: worker: none on this machine has renewed its heartbeat in Redis for 1 s\n"
        assert (api.code, api.err) == (1, f"imgsvc: api: no answer within {DEADLINE_S:g} s\n")

        await worker_is(0)
        await service.stop()
        api, worker = await asyncio.gather(health(service.environment), health(service.environment, "worker"))
        assert (api.code, worker.code, worker.err) == (1, 1, lapsed.err)
        assert "Connection refused" in api.err


async def test_n14_an_api_is_asked_where_its_settings_put_it_and_says_what_it_lacks(
    servers: Servers, tmp_path: Path
) -> None:
    environment = servers.environment() | callers.ENVIRONMENT
    environment["IMGSVC_REDIS_URL"] = environment["IMGSVC_REDIS_URL"].replace("redis://:", "redis://:wrong")
    environment |= {"IMGSVC_UNIX_SOCKET": str(tmp_path / "api.sock"), "IMGSVC_BASE_PATH": "/images"}
    service = Service(environment)
    await service.start_api()
    try:

        async def lives() -> bool:
            return (await health(service.environment, "--live")).code == 0

        await until(lives)
        ended = await health(service.environment)
    finally:
        await service.stop()
    refused = "Redis refuses the user or password of IMGSVC_REDIS_URL"
    assert (ended.code, ended.err) == (1, f"imgsvc: api: not_ready; queue: {refused}\n")


async def test_n14_another_server_at_its_port_is_not_taken_for_it() -> None:
    async with Listener.start() as listener:
        ended = await health({"IMGSVC_PORT": str(listener.port)})
    assert ended.code == 1
    assert "answers 200, and not as imgsvc does" in ended.err


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("[]", "answers 200, and not as imgsvc does\n"),
        ('{"status": ["ready"]}', "answers 200, and not as imgsvc does\n"),
        ('{"status": null}', "answers 200, and not as imgsvc does\n"),
        ("[" * 5000, "answers 200, and not as imgsvc does\n"),
        ('{"status": "draining", "checks": 1}', "draining\n"),
        ('{"status": "not_ready", "checks": {"queue": true, "storage": {"ok": "no"}}}', "not_ready\n"),
        ('{"status": "not_ready", "checks": {"queue": {"ok": false, "error": 5}}}', "queue: it cannot be reached\n"),
        (
            '{"status": "not_ready", "checks": {"queue": {"ok": false, "error": "a\\n\\u001b[2Jb"}}}',
            "queue: a; ?[2Jb\n",
        ),
    ],
    ids=[str(number) for number in range(8)],
)
async def test_n14_whatever_another_server_answers_is_said_in_a_line(
    document: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(document)}\r\n\r\n{document}".encode())

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        monkeypatch.setenv("IMGSVC_PORT", str(server.sockets[0].getsockname()[1]))
        assert await asyncio.to_thread(cli_health.health, "api", live=False) == 1
    assert capsys.readouterr().err.endswith(said)


async def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    nobodys = {"IMGSVC_DATA_DIR": str(tmp_path)}
    api, worker = await asyncio.gather(health({"IMGSVC_PORT": "http"}), health(nobodys, "worker"))
    assert (api.code, worker.code) == (1, 1)
    assert api.err.startswith("imgsvc: api: IMGSVC_PORT is wrong")
    no_redis = f"IMGSVC_REDIS_URL is not set, and no imgsvc keeps its data in {tmp_path} now"
    assert worker.err == f"imgsvc: worker: {no_redis}\n"


@contextmanager
def granted(environment: Mapping[str, str]) -> Generator[None]:
    """A user of this Redis who may do what is documented, and no more."""
    rule = shlex.split(scripts.acl_rule(settings_of(environment), USER))
    with closing(Redis.from_url(environment["IMGSVC_REDIS_URL"])) as redis:
        redis.execute_command(*(f">{PASSWORD}" if word == ">password" else word for word in rule))
        try:
            yield
        finally:
            redis.acl_deluser(USER)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with closing(writer):
        while data := await reader.read(65536):
            writer.write(data)


@asynccontextmanager
async def in_front_of(url: str, folder: Path, kind: str) -> AsyncGenerator[str]:
    """Leads to the Redis at `url` by TLS or by a Unix socket; the URL of that, without its user and path."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(url)
        there = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer), return_exceptions=True)

    if kind == "unix":
        server = await asyncio.start_unix_server(connected, folder / "redis.sock")
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        own = Certificates.within(folder)
        context.load_cert_chain(own.cert, own.key)
        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"{folder}/redis.sock" if kind == "unix" else f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("tls", "rediss://{user}:{password}@{there}/0?ssl_ca_certs={folder}/grpc-ca.pem"),
        ("unix", "unix://{user}:{password}@{there}?db=0"),
    ],
    ids=["tls", "unix"],
)
async def test_n14_a_worker_is_found_by_every_kind_of_redis_url(
    service: Service, tmp_path: Path, kind: str, form: str
) -> None:
    """With a user who may do no more than a worker, a password of odd characters, and all of it in a file."""
    secret = tmp_path / "url"
    environment = {name: value for name, value in service.environment.items() if name != "IMGSVC_REDIS_URL"}
    environment["IMGSVC_REDIS_URL_FILE"] = str(secret)

    async def asked(password: str) -> Ended:
        secret.write_text(form.format(user=USER, password=password, there=there, folder=tmp_path) + "\n")
        return await health(environment, "worker")

    url = service.environment["IMGSVC_REDIS_URL"]
    async with in_front_of(url, tmp_path, kind) as there:
        with granted(service.environment):
            assert (await asked(ESCAPED)).code == 0
            refused = await asked("wrong")
    assert refused.err == ("imgsvc: worker: cannot ask Redis: Redis refuses the user or password of IMGSVC_REDIS_URL\n")
    gone = await asked(ESCAPED)
    assert gone.code == 1
    assert PASSWORD not in gone.err
    assert ESCAPED not in gone.err


async def test_n14_a_redis_that_is_away_or_silent_is_said_in_time(service: Service) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.read()

    begin = monotonic()
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        silences = [(port, "0.5"), (port, "60"), (free_port(), "60")]
        environments = [
            service.environment | {"IMGSVC_REDIS_URL": f"redis://127.0.0.1:{port}", "IMGSVC_REDIS_TIMEOUT_S": timeout_s}
            for port, timeout_s in silences
        ]
        ended = await asyncio.gather(*(health(environment, "worker") for environment in environments))
    assert monotonic() - begin < DEADLINE_S + START_S
    said = ("cannot ask Redis: Timeout", f"no answer within {DEADLINE_S:g} s", "cannot ask Redis: Error 111")
    for each, words in zip(ended, said, strict=True):
        assert each.code == 1
        assert each.err.startswith(f"imgsvc: worker: {words}")
