"""The service as tests meet it: real processes on free ports, against a real Valkey and a real S3 server."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import boto3
import httpx
import psutil
from redis import Redis

from imgsvc.local.embedded import ServerAddresses
from imgsvc.local.ports import free_port
from imgsvc.local.process import Child
from imgsvc.local.servers import Seaweed, SeaweedPorts, Valkey
from imgsvc.runtime.api_keys import first_key
from imgsvc.runtime.settings import Settings
from tests.support import images

DEADLINE_S = 30.0
POLL_S = 0.01
LASTING = 3
"""Services that are kept for all tests, at most."""

_ALWAYS = re.compile(rb"imgsvc:(workers|shares|minute:\d+)$")
"""Keys of Redis that stay when there is nothing to keep."""

UNHURRIED: dict[str, Any] = {"redis_timeout_s": 5, "s3_timeout_s": 12}
"""Deadlines, in seconds, of services whose tests are about something else: that a machine is busy is no outage."""


@dataclass
class Servers:
    """One Valkey and one S3 server; each service under test gets a database and a bucket of its own."""

    valkey: Valkey
    seaweed: Seaweed
    _given: int = field(default=0)
    _lasting: int = field(default=0)

    @classmethod
    @asynccontextmanager
    async def start(cls, folder: Path) -> AsyncGenerator["Servers"]:
        folder.mkdir(parents=True, exist_ok=True)
        valkey = Valkey(folder / "valkey", port=free_port(), log_file=folder / "valkey.log")
        seaweed = Seaweed(folder / "s3", ports=SeaweedPorts.free(), log_file=folder / "s3.log")
        try:
            await asyncio.gather(valkey.start(), seaweed.start())
            yield cls(valkey, seaweed)
        finally:
            await asyncio.gather(valkey.stop(), seaweed.stop())

    def environment(self, *, lasting: bool = False) -> dict[str, str]:
        """Settings for one more service.

        Those that are `lasting` keep their database; the others take turns with what Valkey has left of its 16.
        """
        number, self._given = self._given, self._given + 1
        if lasting:
            database, self._lasting = self._lasting, self._lasting + 1
            assert database < LASTING, "there are no more databases to keep"
        else:
            database = LASTING + number % (16 - LASTING)
        url = self.valkey.url.rpartition("/")[0] + f"/{database}"
        with closing(Redis.from_url(url)) as redis:
            redis.flushdb()
        services = ServerAddresses(url, self.seaweed.url, self.seaweed.access_key_id, self.seaweed.secret_access_key)
        return services.environment() | {"IMGSVC_S3_BUCKET": f"imgsvc-{number}"}


def leftovers(environment: Mapping[str, str]) -> dict[str, list[str]]:
    """Everything that a service keeps: keys in Redis, objects and unfinished uploads in S3."""
    settings = settings_of(environment)
    bucket = settings.s3_bucket
    with closing(Redis.from_url(settings.redis_url)) as redis, s3_client(environment) as s3:
        return {
            "keys": sorted(key.decode() for key in redis.scan_iter() if not _ALWAYS.match(key)),
            "objects": [item["Key"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", [])],
            "uploads": [item["Key"] for item in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])],
        }


def s3_client(environment: Mapping[str, str]) -> closing[Any]:
    """One that is not the service's own."""
    settings = settings_of(environment)
    assert settings.s3_access_key_id
    assert settings.s3_secret_access_key
    client: Any = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint_url,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key_id.get_secret_value(),
        aws_secret_access_key=settings.s3_secret_access_key.get_secret_value(),
    )
    return closing(client)


def settings_of(environment: Mapping[str, str]) -> Settings:
    return Settings(**{name.removeprefix("IMGSVC_").lower(): value for name, value in environment.items()})  # pyright: ignore[reportArgumentType]


class Service:
    """An API and any number of workers."""

    def __init__(self, environment: Mapping[str, str], **settings: object) -> None:
        """`settings` are names and values as in Settings."""
        extra = {f"IMGSVC_{name.upper()}": str(value) for name, value in settings.items()}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        # nobody balances load over it, unless a test says so
        self.environment = {"IMGSVC_DRAIN_DELAY_S": "0"} | dict(environment) | extra | {"IMGSVC_PORT": str(self.port)}
        self.client = httpx.AsyncClient(base_url=self.url, timeout=DEADLINE_S)
        self.workers: list[Child] = []
        self.api: Child

    @classmethod
    @asynccontextmanager
    async def start(
        cls, environment: Mapping[str, str], *, workers: int = 1, **settings: object
    ) -> AsyncGenerator["Service"]:
        service = cls(environment, **settings)
        try:
            await service.start_api()
            for _ in range(workers):
                await service.start_worker()
            await service.until_ready(workers)
            yield service
        finally:
            await service.stop()

    async def start_api(self) -> None:
        self.api = await self._process("api", "-m", "imgsvc", "api")

    async def start_worker(self, module: str = "imgsvc.worker", *arguments: str) -> Child:
        worker = await self._process("worker", "-m", module, *arguments)
        self.workers.append(worker)
        return worker

    async def until_ready(self, workers: int) -> None:
        keys = self.environment.get("IMGSVC_API_KEYS")
        key = {"authorization": f"Bearer {first_key(keys)}"} if keys else {}

        async def ready() -> bool:
            try:
                answer = await self.client.get("/readyz", headers=key)
            except httpx.TransportError:
                return False
            return answer.status_code == 200 and answer.json()["checks"]["workers"]["alive"] >= workers

        await until(ready)

    async def until_not_ready(self) -> httpx.Response:
        """What /readyz says from then on: it asks the servers a few times a second."""
        answers: list[httpx.Response] = []

        async def refused() -> bool:
            answers.append(await self.client.get("/readyz"))
            return answers[-1].status_code == 503

        await until(refused)
        return answers[-1]

    async def stop(self) -> None:
        await self.client.aclose()
        await asyncio.gather(*(child.stop(DEADLINE_S) for child in (self.api, *self.workers) if child.running))

    async def post(self, data: bytes, filename: str = "sample.jpg", **fields: str) -> httpx.Response:
        return await self.client.post("/upload", files={"file": (filename, data)}, data=fields)

    async def upload(self, data: bytes, filename: str = "sample.jpg", **fields: str) -> str:
        """Uploads and returns the id."""
        answer = await self.post(data, filename, **fields)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    async def status(self, upload_id: str) -> dict[str, Any]:
        answer = await self.client.get(f"/upload/{upload_id}/status")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ended(self, upload_id: str) -> dict[str, Any]:
        """The status document once the job has ended."""
        return await self.until_status(upload_id, "SUCCESS", "FAILURE", "CANCELLED")

    async def until_status(self, upload_id: str, *wanted: str) -> dict[str, Any]:
        document: dict[str, Any] = {}

        async def there() -> bool:
            nonlocal document
            document = await self.status(upload_id)
            return document["status"] in wanted

        await until(there)
        return document

    async def result(self, upload_id: str) -> dict[str, Any]:
        """The result document of a job that succeeds."""
        status = await self.ended(upload_id)
        assert status["status"] == "SUCCESS", status
        return (await self.client.get(f"/upload/{upload_id}/result")).json()

    async def file(self, upload_id: str, variant: str) -> bytes:
        answer = await self.client.get((await self.result(upload_id))["result"][variant])
        assert answer.status_code == 200, answer.text
        return answer.content

    async def _process(self, name: str, *arguments: str) -> Child:
        return await Child.start(name, [sys.executable, *arguments], os.environ | self.environment)


DECODER_FDS = 4
"""Descriptors that a worker holds for each: three pipes and a pidfd."""


def decoders(worker: Child) -> list[psutil.Process]:
    """Those that it has started so far and that live; their parent is its fork server."""
    servers = psutil.Process(worker.pid).children()
    return [decoder for server in servers for decoder in server.children() if is_alive(decoder)]


def suspend_decoders(worker: Child) -> None:
    for decoder in decoders(worker):
        decoder.suspend()


def resume_decoders(worker: Child) -> None:
    for decoder in decoders(worker):
        decoder.resume()


async def begun(service: Service, **fields: str) -> str:
    """An upload whose job has begun and does not end, because its worker's decoders stand still."""
    suspend_decoders(service.workers[0])
    upload_id = await service.upload(images.photo(), **fields)

    await until_at_the_decoder(service, upload_id)
    return upload_id


async def until_at_the_decoder(service: Service, upload_id: str) -> None:
    async def there() -> bool:
        return (await service.status(upload_id))["step"] == "decode"

    await until(there)


async def until(condition: Callable[[], bool | Awaitable[bool]], deadline_s: float = DEADLINE_S) -> float:
    """Polls `condition`, a function or a coroutine function, until it holds. Returns the seconds that it took."""
    begin = monotonic()
    while not (held if isinstance(held := condition(), bool) else await held):
        assert monotonic() - begin < deadline_s, f"not within {deadline_s:g} s: {condition.__qualname__}"
        await asyncio.sleep(POLL_S)
    return monotonic() - begin


def is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE  # dead, where nobody reaps orphans
    return False


def freeze(child: Child) -> None:
    os.kill(child.pid, signal.SIGSTOP)


def thaw(child: Child) -> None:
    os.kill(child.pid, signal.SIGCONT)


def without_workers(servers: Servers) -> AbstractAsyncContextManager[Service]:
    """A service that may be given any number of uploads, which nobody processes."""
    secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
    return Service.start(servers.environment(), workers=0, webhook_secret=secret, **UNHURRIED)
