"""The owners file in the one-machine mode and in `imgsvc doctor`."""

import os
import signal
from pathlib import Path

import httpx

from tests.support.callers import PHOTO, by
from tests.support.doctor import examined
from tests.support.local import local
from tests.support.service import Servers, until

KEY, NEXT = "old-key-012345678901", "new-key-012345678901"


def written(folder: Path, key: str, more: str = "", mode: int = 0o600) -> Path:
    file = folder / "owners.toml"
    beside = folder / "owners.new"
    beside.write_text(f'[news]\nkeys = "{key}"\n{more}')
    beside.chmod(mode)
    beside.replace(file)
    return file


async def test_f28_one_machine_hands_the_signal_on_to_its_api_and_worker(tmp_path: Path) -> None:
    environment = {"IMGSVC_OWNERS_FILE": str(written(tmp_path, KEY)), "IMGSVC_SIGNING_SECRET": "s" * 32}
    here = local(tmp_path / "data", environment=environment)
    async with here as running, httpx.AsyncClient(base_url=running.url) as client:
        await running.until_printed("Stop it")
        before = {process.pid for process in running.family()}
        written(tmp_path, NEXT)
        os.kill(running.process.pid, signal.SIGHUP)
        for _ in range(2):
            await running.until_printed("owners are read again: 1 in the file, 1 keys in all")
            running.output = ""

        async def knows(key: str) -> bool:
            return (await client.get("/presets", headers=by(key))).status_code == 200

        assert await knows(NEXT)
        assert not await knows(KEY)
        upload = await client.post("/upload", files={"file": ("a.jpg", PHOTO)}, headers=by(NEXT))

        async def has_ended() -> bool:
            status = await client.get(upload.json()["status_url"], headers=by(NEXT))
            return status.json()["status"] == "SUCCESS"

        await until(has_ended)
        assert before <= {process.pid for process in running.family()}, "nothing was started anew"


async def test_f20_the_doctor_checks_the_owners_file(servers: Servers, tmp_path: Path) -> None:
    environment = servers.environment() | {"IMGSVC_SIGNING_SECRET": "s" * 32}
    for more, mode, level, says in (
        ("", 0o600, "ok", "has 1; keys in all: 1"),
        ("", 0o644, "warn", "every user of this machine may read it"),
        ("weight = 0", 0o600, "fail", "news.weight must be a number from 0.01 to 1000"),
    ):
        file = written(tmp_path, KEY, more, mode)
        _, found = await examined(tmp_path, environment | {"IMGSVC_OWNERS_FILE": str(file)})
        finding = found["owners" if level != "fail" else "settings"]
        assert (finding["level"], says in finding["detail"]) == (level, True), finding
