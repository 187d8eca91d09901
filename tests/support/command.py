"""Our commands, run as processes of their own."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.service import DEADLINE_S

Env = Mapping[str, str] | None


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """What --json wrote: one object a line, and nothing else."""
        return [json.loads(line) for line in self.out.splitlines()]


@asynccontextmanager
async def running(
    *args: str, cwd: Path, stdout: int = PIPE, stderr: int = PIPE, env: Env = None
) -> AsyncGenerator[Process]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("IMGSVC_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "imgsvc", *args),
        cwd=cwd,
        env=clean | dict(env or {}),
        stdin=PIPE,
        stdout=stdout,
        stderr=stderr,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def imgsvc(*args: str, cwd: Path, feed: bytes = b"", env: Env = None) -> Ended:
    async with running(*args, cwd=cwd, env=env) as process, asyncio.timeout(DEADLINE_S):
        out, err = await process.communicate(feed)
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())
