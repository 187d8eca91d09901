"""Odd surroundings: what they lack is done without, or said within seconds with what to do about it."""

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

import httpx
import psutil
import pytest

from imgsvc.local.ports import free_port
from imgsvc.local.process import Child
from tests.support import images
from tests.support.command import imgsvc
from tests.support.service import DEADLINE_S, UNHURRIED, Servers, Service

CHECKOUT = Path(__file__).parents[2]
IMGSVC = f"{shlex.quote(sys.executable)} -m imgsvc"
ELSEWHERE = f"{shlex.quote(sys.executable)} -m tests.support.hooks.elsewhere"
HOOKS = {"PYTHONPATH": str(CHECKOUT)}
ASCII = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
ELSE = {"IMGSVC_DATA_DIR": "/mnt/data"}
"""Where another /tmp covers the one that tests have their folders in."""

SAID_WITHIN_S = 15.0
"""Within this a start that cannot succeed has said so; a minute is what SeaweedFS would go on trying."""


def has_mounts() -> bool:
    tool = shutil.which("unshare")
    return tool is not None and not subprocess.run([tool, "-m", "true"], capture_output=True).returncode


needs_mounts = pytest.mark.skipif(not has_mounts(), reason="mount namespaces want Linux and root")
needs_another_tmp = pytest.mark.skipif(
    not has_mounts() or Path(sys.executable).is_relative_to("/tmp"),
    reason="mount namespaces want Linux and root, and a checkout that is not in /tmp, which is taken away",
)


@pytest.mark.parametrize("path", ["nowhere/keys", ".", "fifo"])
@pytest.mark.parametrize(
    "command", [("-m", "imgsvc", "api"), ("-m", "imgsvc.worker"), ("-m", "imgsvc", "upload", "a.jpg")]
)
def test_n11_a_log_of_tls_keys_that_cannot_be_written_is_done_without(
    tmp_path: Path, command: tuple[str, ...], path: str
) -> None:
    """Each process gets as far as it does without it, and says why there is none."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "a.jpg").write_bytes(b"")
    env = {name: value for name, value in os.environ.items() if not name.startswith("IMGSVC_")}
    ended = [
        subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=env | variables | {"IMGSVC_SERVER": "http://127.0.0.1:9"},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )
        for variables in ({}, {"SSLKEYLOGFILE": path})
    ]
    said = ended[1].stderr.splitlines(keepends=True)
    assert said[0].startswith(f"imgsvc: TLS keys are not logged: SSLKEYLOGFILE={path}: ")
    assert ("".join(said[1:]), ended[1].returncode) == (ended[0].stderr, ended[0].returncode)


async def test_n11_a_log_of_tls_keys_that_can_be_written_is_kept(tmp_path: Path) -> None:
    ended = await imgsvc("upload", "none.jpg", cwd=tmp_path, env={"SSLKEYLOGFILE": str(tmp_path / "keys")})
    assert "TLS keys" not in ended.err
    assert (tmp_path / "keys").exists()


def with_tmp(options: str, command: str = IMGSVC) -> str:
    mounted = f"mount -t tmpfs tmpfs /mnt && mount -t tmpfs -o {options} tmpfs /tmp"
    return f"unshare -m sh -c {shlex.quote(f'{mounted} && exec {command}')}"


class Ended:
    def __init__(self, code: int, text: str, took_s: float) -> None:
        self.code, self.text, self.took_s = code, text, took_s


async def one_machine(folder: Path, command: str, env: Mapping[str, str | None] | None = None) -> Ended:
    """Runs it until an upload was worked on, or it ends by itself; then it is stopped. In text is what it printed."""
    port = free_port()
    clean: dict[str, str | None] = {name: value for name, value in os.environ.items() if not name.startswith("IMGSVC_")}
    clean |= {"IMGSVC_DATA_DIR": str(folder / "data"), "IMGSVC_PORT": str(port), **(env or {})}
    begin = monotonic()
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", command),
        cwd=folder,
        env={name: value for name, value in clean.items() if value is not None},
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )
    reading = asyncio.create_task(process.communicate())
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_S) as client:
            worked = asyncio.create_task(_work(client))
            async with asyncio.timeout(2 * DEADLINE_S):
                await asyncio.wait({worked, reading}, return_when=asyncio.FIRST_COMPLETED)
            took_s = monotonic() - begin
            worked.cancel()
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE_S):
            out, _ = await reading
    finally:
        if process.returncode is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(errors="replace"), took_s)


async def _work(client: httpx.AsyncClient) -> None:
    """Uploads as soon as somebody takes it, and waits for what comes of it."""
    while True:
        try:
            answer = await client.post("/upload", files={"file": ("a.jpg", images.photo())})
            if answer.status_code == 202:
                break
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.05)
    document = (await client.get(f"{answer.json()['result_url']}?wait=30")).json()
    assert document["status"] == "SUCCESS"


@pytest.mark.parametrize(
    ("command", "env"),
    [
        pytest.param(f"exec {IMGSVC} >&- 2>&- <&-", {}, id="closed streams"),
        pytest.param(f"exec {IMGSVC} >/dev/full 2>/dev/full", {}, id="full streams"),
        pytest.param(f"exec {IMGSVC}", ASCII, id="ASCII"),
        pytest.param(f"umask 000; exec {IMGSVC}", {}, id="umask 000"),
        pytest.param(f"mkdir gone; cd gone; rmdir ../gone; exec {IMGSVC}", {}, id="working folder gone"),
        pytest.param(f"ulimit -n 256; exec {IMGSVC}", {}, id="few files"),
        pytest.param(f"exec {ELSEWHERE} darwin", HOOKS, id="macOS"),
        pytest.param(f"exec {ELSEWHERE} bare", HOOKS, id="no Landlock, no seccomp"),
    ],
)
async def test_n9_a_photo_goes_through_all_the_same(tmp_path: Path, command: str, env: Mapping[str, str]) -> None:
    ended = await one_machine(tmp_path, command, env)
    assert ended.code == 0, ended.text
    assert "Traceback" not in ended.text
    if "elsewhere" in command:
        assert "decoders run without" in ended.text


@pytest.mark.parametrize(
    ("command", "env", "says"),
    [
        pytest.param(
            "exec unshare -m sh -c 'mount -t tmpfs -o ro tmpfs data && exec {}'",
            {},
            "data: Read-only file system; set IMGSVC_DATA_DIR to a folder of yours",
            id="data read-only",
            marks=needs_mounts,
        ),
        pytest.param(
            "exec unshare -m sh -c 'mount -t tmpfs -o size=64k tmpfs data && exec {}'",
            {},
            "no space left on device",
            id="data full",
            marks=needs_mounts,
        ),
        pytest.param(
            with_tmp("ro", "{}"), ELSE, "in /tmp: Read-only file system", id="tmp read-only", marks=needs_another_tmp
        ),
        pytest.param(
            with_tmp("nr_inodes=3", "{}"), ELSE, "in /tmp: No space left", id="tmp full", marks=needs_another_tmp
        ),
        pytest.param("ulimit -n 64; exec {}", {}, "raise `ulimit -Hn`", id="too few files"),
    ],
)
async def test_n7_what_cannot_be_done_without_is_said_in_time(
    tmp_path: Path, command: str, env: Mapping[str, str], says: str
) -> None:
    (tmp_path / "data").mkdir()
    ended = await one_machine(tmp_path, command.format(IMGSVC), env)
    assert ended.code == 1, ended.text
    assert says in ended.text
    assert "Traceback" not in ended.text
    assert ended.took_s < SAID_WITHIN_S


@pytest.mark.skipif(not hasattr(os, "setuid") or os.geteuid() != 0, reason="to become another user takes root")
def test_n10_a_user_without_name_and_home_is_told_what_to_set(tmp_path: Path) -> None:
    code = "import os; os.setuid(12345); from imgsvc.__main__ import main; main()"
    # imported before: the interpreter may lie where that user may not read
    warm = "import imgsvc.cli.main, imgsvc.local.supervisor, platformdirs, pwd, encodings.idna, asyncio, uvloop; "
    ended = subprocess.run(
        [sys.executable, "-c", warm + code], cwd=tmp_path, env={"PATH": os.defpath}, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "imgsvc cannot start:\nuser 12345 has neither a home folder nor IMGSVC_DATA_DIR: "
        "set IMGSVC_DATA_DIR to a folder that this user may write to\n"
    )


STREAMS = (">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>/dev/full")


@pytest.mark.parametrize("how", STREAMS)
async def test_n8_a_command_ends_as_it_would_whatever_its_streams_are(tmp_path: Path, how: str) -> None:
    async def code(arguments: str) -> int:
        command = f"exec {IMGSVC} {arguments} {how}"
        process = await asyncio.create_subprocess_exec("bash", "-c", command, cwd=tmp_path, stdout=PIPE, stderr=PIPE)
        async with asyncio.timeout(DEADLINE_S):
            _, err = await process.communicate()
        assert b"Traceback" not in err
        assert process.returncode is not None
        return process.returncode

    unreachable, written = await asyncio.gather(code("status x --server http://127.0.0.1:9"), code("completion bash"))
    assert unreachable == 3
    assert written == (1 if ">/dev/full" in how.split() else 0), "what could not be written did not succeed"


async def test_n8_an_api_and_a_worker_serve_without_any_stream(servers: Servers) -> None:
    service = Service(servers.environment(), **UNHURRIED)
    env = os.environ | service.environment

    async def start(*arguments: str) -> Child:
        command = f"exec {shlex.join([sys.executable, *arguments])} <&- >&- 2>&-"
        return await Child.start(arguments[-1], ["bash", "-c", command], env)

    service.api = await start("-m", "imgsvc", "api")
    try:
        service.workers.append(await start("-m", "imgsvc.worker"))
        await service.until_ready(1)
        assert await service.file(await service.upload(images.photo()), "thumbnail")
    finally:
        await service.stop()


async def test_n8_names_outside_ascii_are_shown_and_written_in_an_ascii_locale(
    service: Service, tmp_path: Path
) -> None:
    (tmp_path / "größe ☃.jpg").write_bytes(images.photo())
    arguments = ("upload", "größe ☃.jpg", "--server", service.url)
    for further in ((), ("--json",), ("--wait",)):
        ended = await imgsvc(*arguments, *further, cwd=tmp_path, env=ASCII)
        assert ended.code == 0, ended.err
        assert (ended.out + ended.err).isascii()
        assert "Traceback" not in ended.err
        if further == ("--json",):
            assert ended.objects[0]["id"]
