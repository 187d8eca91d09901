"""The three services side by side: each its API and its workers, on the same Valkey and the same S3 server."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from imgsvc.local.ports import free_port
from imgsvc.local.process import Child
from imgsvc.runtime.cores import available_cores
from tests.bench.load import load
from tests.bench.peers import toolchain
from tests.support import images
from tests.support.service import DEADLINE_S, Servers, Service, s3_client, settings_of, until

LARGE_AND_SMALL = {"resized_compressed": 1024, "thumbnail": 200}
"""The longest side of each variant of a photograph."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A running service, by the settings that ours would have in its place."""

    name: str
    url: str
    environment: Mapping[str, str]
    processes: Sequence[Child]

    async def prove(self) -> None:
        """Raises AssertionError unless one upload makes what all of them are asked for."""
        photo = images.photo(1600, 1200)
        (upload,) = await load(self.url, photo, count=1, in_flight=1)
        async with aiohttp.ClientSession(self.url) as session, session.get(upload.result_url) as answer:
            document = await answer.json()
        assert document["status"] == "SUCCESS", document
        sides = {name: max(self._stored(path)) for name, path in document["result"].items()}
        assert sides == LARGE_AND_SMALL, f"{self.name} made {sides}"

    def _stored(self, path: str) -> tuple[int, int]:
        bucket = settings_of(self.environment).s3_bucket
        with s3_client(self.environment) as s3:
            data = s3.get_object(Bucket=bucket, Key=path.removeprefix("/files/"))["Body"].read()
        return images.opened(data).size


@asynccontextmanager
async def imgsvc(servers: Servers, _logs: Path) -> AsyncGenerator[Stack]:
    async with Service.start(servers.environment(), log_level="warning") as service:
        yield Stack("imgsvc", service.url, service.environment, [service.api, *service.workers])


@asynccontextmanager
async def celery(servers: Servers, logs: Path) -> AsyncGenerator[Stack]:
    python = str(await asyncio.to_thread(toolchain.python_of, "celery"))
    port = free_port()
    api = [python, "-m", "uvicorn", "api:app", "--port", str(port), "--log-level", "warning", "--no-access-log"]
    quiet = ["--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    worker = [python, "-m", "celery", "-A", "tasks", "worker", "--concurrency", str(available_cores()), *quiet]
    folder = toolchain.PEERS / "celery"
    async with _peer("celery", servers, port, folder, {"worker": worker, "api": api}, logs) as stack:
        yield stack


@asynccontextmanager
async def bullmq(servers: Servers, logs: Path) -> AsyncGenerator[Stack]:
    folder = await asyncio.to_thread(toolchain.node_folder)
    programs = {role: [toolchain.node(), f"{role}.mjs"] for role in ("worker", "api")}
    async with _peer("bullmq", servers, free_port(), folder, programs, logs) as stack:
        yield stack


STACKS: Mapping[str, Callable[[Servers, Path], AbstractAsyncContextManager[Stack]]] = {
    "imgsvc": imgsvc,
    "celery": celery,
    "bullmq": bullmq,
}


@asynccontextmanager
async def _peer(
    name: str, servers: Servers, port: int, folder: Path, programs: Mapping[str, Sequence[str]], logs: Path
) -> AsyncGenerator[Stack]:
    """Its programs, run in `folder`; they are stopped, the last one first, on leaving."""
    ours = servers.environment()
    url = f"http://127.0.0.1:{port}"
    environment = {
        "PATH": os.defpath,
        "NODE_ENV": "production",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PORT": str(port),
        "REDIS_URL": ours["IMGSVC_REDIS_URL"],
        "S3_ENDPOINT": servers.seaweed.url,
        "S3_ACCESS_KEY": servers.seaweed.access_key_id,
        "S3_SECRET_KEY": servers.seaweed.secret_access_key,
        "S3_BUCKET": ours["IMGSVC_S3_BUCKET"],
    }
    async with AsyncExitStack() as running:
        processes: list[Child] = []
        for role, argv in programs.items():
            child = await Child.start(f"{name} {role}", argv, environment, logs / f"{name}-{role}.log", cwd=folder)
            running.push_async_callback(child.stop, DEADLINE_S)
            processes.append(child)
        await _until_up(url, processes)
        yield Stack(name, url, ours, processes)


async def _until_up(url: str, processes: Sequence[Child]) -> None:
    async with aiohttp.ClientSession(url) as session:

        async def up() -> bool:
            for process in processes:
                if not process.running:
                    raise process.ended()
            try:
                async with session.get("/healthz") as answer:
                    return answer.status == 200
            except aiohttp.ClientConnectionError:
                return False

        await until(up)
