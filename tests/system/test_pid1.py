"""As PID 1 of a container without an init: a SIGTERM at any moment ends a process, and no zombie stays."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic

import psutil
import pytest

from imgsvc.local.ports import free_port
from tests.support.service import DEADLINE_S, Servers, until

UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def can_unshare() -> bool:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, timeout=10).returncode == 0


pytestmark = pytest.mark.skipif(not can_unshare(), reason="PID namespaces want Linux and root")

ROLES = {
    "api": ["-m", "imgsvc", "api"],
    "worker": ["-m", "imgsvc.worker"],
    "worker by its command": ["-m", "imgsvc", "worker"],
}
AFTER_MS = (0, 10, 30, 60, 100, 200, 400, 700, 1100)


@asynccontextmanager
async def as_pid_1(arguments: Sequence[str], env: dict[str, str]) -> AsyncGenerator[psutil.Process]:
    """A process that is PID 1 in a namespace of its own, as soon as its interpreter has come to our first lines."""
    unshare = await asyncio.create_subprocess_exec(
        *UNSHARE, sys.executable, *arguments, env=os.environ | env, stdout=subprocess.DEVNULL
    )
    try:
        found: list[psutil.Process] = []

        def there() -> bool:
            found[:] = psutil.Process(unshare.pid).children()
            return bool(found) and bool(found[0].children())

        await until(there)
        yield found[0]
    finally:
        with suppress(ProcessLookupError):
            unshare.kill()
        await unshare.wait()


async def ends(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        await asyncio.to_thread(process.wait, DEADLINE_S)
    return not process.is_running()


@pytest.mark.parametrize("role", ROLES)
async def test_n6_a_sigterm_at_any_moment_ends_pid_1(servers: Servers, role: str) -> None:
    env = servers.environment() | {"IMGSVC_PORT": str(free_port()), "IMGSVC_DRAIN_DELAY_S": "0"}
    for after_ms in AFTER_MS:
        async with as_pid_1(ROLES[role], env) as process:
            await asyncio.sleep(after_ms / 1000)
            begin = monotonic()
            process.send_signal(signal.SIGTERM)
            assert await ends(process), f"{after_ms} ms after it began"
            print(f"{role}: SIGTERM after {after_ms} ms: gone within {monotonic() - begin:.2f} s")


async def test_n6_pid_1_is_there_before_anything_is_imported(servers: Servers) -> None:
    env = servers.environment()
    async with as_pid_1(ROLES["worker"], env) as process:
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        assert "site-packages" not in maps, "no library was loaded in it"
        await until(lambda: len(process.children()) == 1)


@pytest.mark.parametrize("after_ms", [0, 300, 900, 1500, 2500, 6000])
async def test_n6_everything_on_one_machine_ends_as_pid_1(tmp_path: Path, after_ms: int) -> None:
    env = {"IMGSVC_DATA_DIR": str(tmp_path), "IMGSVC_PORT": str(free_port())}
    async with as_pid_1(["-m", "imgsvc"], env) as process:
        await asyncio.sleep(after_ms / 1000)
        process.send_signal(signal.SIGTERM)
        assert await ends(process)


async def test_n6_orphans_that_fall_to_pid_1_are_reaped(servers: Servers) -> None:
    async with as_pid_1(ROLES["worker"], servers.environment()) as process:
        # as `docker exec` does: a process in the namespace whose children outlive it
        enter = [
            "nsenter",
            "--target",
            str(process.pid),
            "--pid",
            "sh",
            "-c",
            "for i in 1 2 3; do (sleep 0.2 &) ; done",
        ]
        await asyncio.to_thread(subprocess.run, enter, check=True, timeout=DEADLINE_S)
        await until(lambda: len(process.children()) > 1)
        await until(lambda: len(process.children()) == 1)


async def test_n6_pid_1_ends_with_what_its_child_ends_with(servers: Servers) -> None:
    async def code(env: dict[str, str]) -> int:
        argv = [*UNSHARE, sys.executable, "-m", "imgsvc", "api"]
        ended = await asyncio.create_subprocess_exec(*argv, env=os.environ | env, stderr=subprocess.DEVNULL)
        async with asyncio.timeout(DEADLINE_S):
            return await ended.wait()

    assert await code(servers.environment() | {"IMGSVC_PORT": "none"}) == 1
