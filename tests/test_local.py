"""`python -m imgsvc`: everything on one machine, from one command."""

import json
import signal
from dataclasses import asdict
from pathlib import Path
from time import monotonic

import httpx
import psutil

from imgsvc.local.folder import DataFolder
from tests.support import images
from tests.support.local import local, thumbnail

PHOTO = images.photo()


async def test_a_photo_goes_through_and_survives_ctrl_c_and_kill_9(tmp_path: Path) -> None:
    async with local(tmp_path) as first:
        await first.until_printed("Stop it")
        async with httpx.AsyncClient(base_url=first.url) as client:
            upload_id = (await client.post("/upload", files={"file": ("a.jpg", PHOTO)})).json()["id"]
            path = await thumbnail(client, upload_id)
            thumbnail_bytes = (await client.get(path)).content
            token = (await client.post("/tokens", json={})).json()
        family = first.family()
        first.process.send_signal(signal.SIGINT)
        assert await first.ended() == 0
        assert psutil.wait_procs(family, timeout=10)[1] == []

    async with local(tmp_path) as second:
        begin = monotonic()
        await second.until_printed("Stop it")
        took = monotonic() - begin
        print(f"second start: ready after {took:.1f} s")
        async with httpx.AsyncClient(base_url=second.url) as client:
            assert (await client.get(path)).content == thumbnail_bytes
            by_token = await client.post(token["upload_url"], files={"file": ("b.jpg", PHOTO)})
            assert by_token.json()["id"] == token["id"], "what it signs with is kept"
            fresh = (await client.post("/upload", files={"file": ("b.jpg", PHOTO)})).json()["id"]
        family = second.family()
        second.process.kill()
        await second.process.wait()
        assert psutil.wait_procs(family, timeout=10)[1] == [], "nothing outlives it, even by kill -9"

    async with local(tmp_path) as third:
        await third.until_printed("Stop it")
        async with httpx.AsyncClient(base_url=third.url) as client:
            assert (await client.get(f"/upload/{upload_id}/status")).json()["status"] == "SUCCESS"
            assert (await client.get(await thumbnail(client, fresh))).status_code == 200


async def test_a_folder_of_an_earlier_version_gets_what_it_lacks_once(tmp_path: Path) -> None:
    kept = {"redis_password": "r", "s3_access_key_id": "i", "s3_secret_access_key": "s"}
    (tmp_path / "credentials.json").write_text(json.dumps(kept))
    folder = await DataFolder.open(tmp_path)
    try:
        first = folder.credentials()
        assert asdict(first) == kept | {"signing_secret": first.signing_secret}
        assert len(first.signing_secret) >= 32
        assert folder.credentials() == first
    finally:
        folder.close()
