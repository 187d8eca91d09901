"""A process that renders what it is asked for, and tells what that cost; see runner.py for its requests and replies."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from imgsvc.domain.model import Variant

# as the decoder's child sets it for itself (decoder/child.py); sharp is no faster with it
_OUR_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024), "MALLOC_TRIM_THRESHOLD_": str(128 * 1024 * 1024)}
_REPLY_TIMEOUT_S = 300.0

Command = tuple[Sequence[str], Mapping[str, str]]
"""What to run, and what to add to its environment."""

OURS: Command = ((sys.executable, "-m", "tests.bench.runner", "ours"), _OUR_MALLOC)
PILLOW: Command = ((sys.executable, "-m", "tests.bench.runner", "pillow"), {})


class CannotError(Exception):
    """The contender cannot do this one; the message says why."""


class Contender:
    def __init__(self, name: str, process: asyncio.subprocess.Process, out: Path) -> None:
        self.name = name
        self._process = process
        self._out = out

    @classmethod
    @asynccontextmanager
    async def start(
        cls, name: str, command: Sequence[str], environment: Mapping[str, str], out: Path
    ) -> AsyncGenerator[Self]:
        """Its results are written into the new folder `out`."""
        out.mkdir()
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=os.environ | environment
        )
        try:
            yield cls(name, process, out)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def render(self, source: Path, variants: Sequence[Variant], count: int) -> tuple[float, list[Path]]:
        """CPU in ms for each of `count` times that it made the variants, and the files that came of it.

        Raises:
            CannotError: it does not know how.
        """
        asked = [asdict(variant) for variant in variants]
        request: dict[str, Any] = {"path": str(source), "out": str(self._out), "count": count, "variants": asked}
        assert self._process.stdin
        assert self._process.stdout
        async with asyncio.timeout(_REPLY_TIMEOUT_S):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            await self._process.stdin.drain()
            reply = json.loads(await self._process.stdout.readline())
        if "error" in reply:
            raise CannotError(f"{self.name}: {reply['error']}")
        return reply["cpu_ms"], [Path(file) for file in reply["files"]]
