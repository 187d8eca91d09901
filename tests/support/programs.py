"""Other people's programs, as far as the machine has them."""

import asyncio
import shutil
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent / "clients"
DEADLINE_S = 120


async def ran(*command: str, feed: bytes = b"", cwd: Path | None = None, expects: tuple[int, ...] = (0,)) -> bytes:
    """What a command writes to standard output."""
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=cwd)
    try:
        async with asyncio.timeout(DEADLINE_S):
            out, err = await process.communicate(feed)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode in expects, f"{command[0]} ended with {process.returncode}: {err.decode()} {out.decode()}"
    return out


def program(name: str, package: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name}: apt-get install --no-install-recommends {package}")
    return path


async def node_modules(cache: pytest.Cache) -> Path:
    """A folder with our clients of Node's world, and the packages that they use."""
    npm = program("npm", "npm")
    folder = cache.mkdir("clients")
    for file in CLIENTS.iterdir():
        if file.suffix in {".json", ".mjs"}:
            shutil.copy(file, folder)
    lock, installed = (folder / "package-lock.json").read_text(), folder / "installed.json"
    if not installed.exists() or installed.read_text() != lock:
        try:
            await ran(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)
        except (AssertionError, TimeoutError) as error:
            pytest.skip(f"npm cannot install the clients: {error}")
        installed.write_text(lock)
    return folder


async def bundled(modules: Path, name: str) -> bytes:
    """A page that has one of the clients as its script."""
    bundle = modules / f"{name}.js"
    command = str(modules / "node_modules/.bin/esbuild"), f"{name}.mjs", "--bundle", "--minify", f"--outfile={bundle}"
    await ran(*command, cwd=modules)
    script = bundle.read_bytes().replace(b"</script", b"<\\/script")
    page = b"<!doctype html><title>Uppy</title><script>%b</script>" % script
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n\r\n%b" % (
        len(page),
        page,
    )
