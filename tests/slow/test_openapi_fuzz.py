"""The real service, asked whatever its own document lets one ask: no bug shows, and nothing that is not described."""

import asyncio
import os
import sys
from pathlib import Path

from tests.support import images
from tests.support.peers import Listener
from tests.support.service import Servers, Service

SEED = 20261125
EXAMPLES = 30
BUDGET_S = 180
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


async def test_schemathesis_finds_no_5xx_and_no_answer_that_is_not_described(servers: Servers, tmp_path: Path) -> None:
    photo = images.photo()
    async with (
        Listener.start(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(photo), photo)) as host,
        Service.start(servers.environment(), outbound_allow="127.0.0.1", max_queued=100_000) as service,
    ):
        file = (await service.result(await service.upload(photo)))["result"]["thumbnail"]
        arguments = [
            f"{service.url}/openapi.json",
            f"--url={service.url}",
            f"--seed={SEED}",
            f"--checks={','.join(CHECKS)}",
        ]
        arguments += [f"--max-examples={EXAMPLES}", f"--max-time={BUDGET_S}", "--request-timeout=70", "--no-color"]
        report = await run(tmp_path, arguments, FUZZ_FILE=file, FUZZ_URL=f"http://127.0.0.1:{host.port}/photo.jpg")
    assert report.returncode == 0


async def run(folder: Path, arguments: list[str], **environment: str) -> asyncio.subprocess.Process:
    """Schemathesis says its seed and how to repeat what it found on standard output, which is ours."""
    here = Path(__file__).parents[2]
    known = os.environ | environment | {"SCHEMATHESIS_HOOKS": "tests.support.hooks.plausible", "PYTHONPATH": str(here)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "run", *arguments, cwd=folder, env=known
    )
    async with asyncio.timeout(2 * BUDGET_S):
        await process.wait()
    return process
