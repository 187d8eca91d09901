"""What hook workers have in common: they say which job they enter, and whoever started them listens."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic_ns


def say_entered(job_id: str) -> None:
    print(job_id, monotonic_ns(), flush=True)


@dataclass(frozen=True, slots=True)
class Watched:
    """A hook worker in a process of its own."""

    process: Process

    @classmethod
    @asynccontextmanager
    async def start(cls, module: str, *arguments: str, env: Mapping[str, str]) -> AsyncGenerator["Watched"]:
        argv = [sys.executable, "-m", module, *arguments]
        process = await asyncio.create_subprocess_exec(*argv, env=os.environ | env, stdout=PIPE)
        try:
            yield cls(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def entered(self) -> tuple[str, int]:
        """The next job that it enters, and when: in nanoseconds of the monotonic clock, which all processes share."""
        assert self.process.stdout is not None
        job_id, at = (await self.process.stdout.readline()).decode().split()
        return job_id, int(at)
