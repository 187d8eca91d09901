"""`python -m imgsvc`, and what it prints."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil

from imgsvc.local.ports import free_port

DEADLINE_S = 30


class Local:
    """A running `python -m imgsvc`, and what it printed."""

    def __init__(self, process: Process, url: str) -> None:
        self.process = process
        self.url = url
        self.output = ""

    async def until_printed(self, text: str) -> None:
        assert self.process.stdout
        async with asyncio.timeout(DEADLINE_S):
            while text not in self.output:
                line = await self.process.stdout.readline()
                assert line, f"ended before it said {text!r}: {self.output}"
                self.output += line.decode()

    async def ended(self) -> int:
        assert self.process.stdout
        async with asyncio.timeout(DEADLINE_S):
            self.output += (await self.process.stdout.read()).decode()
            return await self.process.wait()

    def family(self) -> list[psutil.Process]:
        me = psutil.Process(self.process.pid)
        return [me, *me.children(recursive=True)]


@asynccontextmanager
async def local(
    data_dir: Path, port: int | None = None, environment: Mapping[str, str] | None = None
) -> AsyncGenerator[Local]:
    port = port or free_port()
    env = os.environ | {"IMGSVC_DATA_DIR": str(data_dir), "IMGSVC_PORT": str(port), **(environment or {})}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "imgsvc", env=env, stdout=PIPE, stderr=STDOUT, start_new_session=True
    )
    try:
        yield Local(process, f"http://127.0.0.1:{port}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def thumbnail(client: httpx.AsyncClient, upload_id: str) -> str:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            answer = await client.get(f"/upload/{upload_id}/result")
            if answer.status_code == 200:
                return answer.json()["result"]["thumbnail"]
            await asyncio.sleep(0.02)
