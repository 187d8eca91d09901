"""Overlays over HTTP: what the presets file pins is what a job lays on, whatever becomes of file and bucket since."""

import asyncio
import hashlib
import json
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support import images
from tests.support.fault_proxy import NONE, Fault, Proxy
from tests.support.service import DEADLINE_S, UNHURRIED, Servers, Service, leftovers, s3_client, until

PHOTO = images.encoded(images.plain("blue", size=(400, 200)), "PNG")
RED = images.encoded(images.plain((255, 0, 0), size=(40, 20)), "PNG")
GREEN = images.encoded(images.plain((0, 255, 0), size=(40, 20)), "PNG")
MARKED = {"card": {"width": 400, "format": "png", "overlay": {"name": "logo", "position": "top-left", "margin": 0}}}


def sum_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def key_of(data: bytes) -> str:
    return f"overlays/{sum_of(data)}"


def write(folder: Path, **overlays: bytes) -> Path:
    """A presets file with a preset for each overlay, which marks pictures with it."""
    file = folder / "presets.toml"
    tables: list[str] = []
    for name, data in overlays.items():
        (folder / f"{name}.png").write_bytes(data)
        tables.append(f'[overlays.{name}]\nfile = "{name}.png"\nsha256 = "{sum_of(data)}"\n')
        tables.append(f'[{name}.card]\nwidth = 400\nformat = "png"\n')
        tables.append(f'overlay = {{name = "{name}", position = "top-left", margin = 0}}\n')
    file.write_text("".join(tables))
    return file


@asynccontextmanager
async def marking(servers: Servers, file: Path, **settings: Any) -> AsyncGenerator[Service]:
    """A service whose API has the file, and which has no worker yet."""
    environment = servers.environment()
    async with Service.start(environment, workers=0, presets_file=file, **UNHURRIED, **settings) as service:
        yield service


async def add_worker(service: Service) -> None:
    """One that has never heard of the presets file."""
    file = service.environment.pop("IMGSVC_PRESETS_FILE")
    await service.start_worker()
    service.environment["IMGSVC_PRESETS_FILE"] = file


async def colour_of(service: Service, upload_id: str, *, across: float = 0.1) -> tuple[int, ...]:
    return images.pixel(images.opened(await service.file(upload_id, "card")), across, across)


@pytest_asyncio.fixture(scope="module")
async def shop(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Service]:
    file = write(tmp_path_factory.mktemp("shop"), logo=RED, bomb=images.png_header_bomb())
    async with marking(servers, file) as service:
        await add_worker(service)
        await service.until_ready(1)
        yield service


async def test_presets_and_own_variants_may_name_an_overlay(shop: Service) -> None:
    of_preset = await shop.upload(PHOTO, preset="logo")
    of_its_own = await shop.upload(PHOTO, variants=json.dumps(MARKED))
    for upload_id in (of_preset, of_its_own):
        assert await colour_of(shop, upload_id) == (255, 0, 0)
        assert await colour_of(shop, upload_id, across=0.9) == (0, 0, 255)


async def test_all_overlays_are_listed_with_the_files_that_their_names_stand_for(shop: Service) -> None:
    bomb = images.png_header_bomb()
    assert (await shop.client.get("/presets")).json()["overlays"] == {
        name: {"sha256": sum_of(data), "bytes": len(data), "content_type": "image/png"}
        for name, data in {"logo": RED, "bomb": bomb}.items()
    }


async def test_presets_tell_the_file_that_a_name_stands_for_and_may_be_sent_as_variants(shop: Service) -> None:
    told = (await shop.client.get("/presets")).json()["presets"]["logo"]
    assert told["card"]["overlay"] == {
        "name": "logo",
        "position": "top-left",
        "opacity": 1.0,
        "scale": 0.25,
        "margin": 0,
        "tile": False,
        "sha256": sum_of(RED),
    }
    assert await colour_of(shop, await shop.upload(PHOTO, variants=json.dumps(told))) == (255, 0, 0)


@pytest.mark.parametrize(
    ("overlay", "detail"),
    [
        ({"name": "badge"}, "variants.card.overlay.name: there is no overlay badge (the overlays are logo, bomb)."),
        (
            {"name": "logo", "sha256": "0" * 64},
            f"variants.card.overlay.sha256 is not that of logo, which is {sum_of(RED)}.",
        ),
        ({"name": "../originals"}, "variants.card.overlay must be an object with name (the name of an overlay), "),
        (
            {"name": "logo", "opacity": 2},
            "variants.card.overlay must be an object with name (the name of an overlay), ",
        ),
        ("logo", "variants.card.overlay must be an object with name (the name of an overlay), "),
    ],
)
async def test_an_overlay_that_is_not_there_is_refused(shop: Service, overlay: object, detail: str) -> None:
    before = leftovers(shop.environment)["objects"]
    answer = await shop.post(PHOTO, variants=json.dumps({"card": {"width": 9, "overlay": overlay}}))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_variants")
    assert answer.json()["detail"].startswith(detail)
    assert leftovers(shop.environment)["objects"] == before


async def test_a_service_without_overlays_says_so(service: Service) -> None:
    answer = await service.post(PHOTO, variants=json.dumps(MARKED))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_variants")
    assert "there is no overlay logo (this service has none)" in answer.json()["detail"]


async def test_overlays_are_served_to_nobody(shop: Service) -> None:
    for path in (f"/files/{key_of(RED)}", f"/files/processed/../{key_of(RED)}"):
        assert (await shop.client.get(path)).status_code == 404


async def test_a_job_has_the_file_of_the_moment_of_its_upload(servers: Servers, tmp_path: Path) -> None:
    async with marking(servers, write(tmp_path, logo=RED)) as service:
        before = await service.upload(PHOTO, preset="logo")
        answer = await service.client.post(
            "/upload",
            params={"variants": json.dumps(MARKED)},
            content=PHOTO,
            headers={"idempotency-key": "one"},
        )
        await service.api.stop(DEADLINE_S)
        write(tmp_path, logo=GREEN)
        await service.start_api()
        await service.until_ready(0)
        after = await service.upload(PHOTO, preset="logo")
        again = await service.client.post(
            "/upload",
            params={"variants": json.dumps(MARKED)},
            content=PHOTO,
            headers={"idempotency-key": "one"},
        )
        assert again.status_code == 202
        assert again.json()["id"] == answer.json()["id"]
        await add_worker(service)
        assert await colour_of(service, before) == (255, 0, 0)
        assert await colour_of(service, answer.json()["id"]) == (255, 0, 0)
        assert await colour_of(service, after) == (0, 255, 0)
        derived = await service.client.post(f"/upload/{before}/variants", json={"preset": "logo"})
        assert derived.status_code == 202

        async def is_done() -> bool:
            return (await service.status(before))["derivation"]["status"] == "SUCCESS"

        await until(is_done)
        assert await colour_of(service, before) == (0, 255, 0), "which is how an overlay is replaced everywhere"


async def test_s21_an_overlay_that_is_deleted_or_changed_fails_its_job_until_a_retry_restores_it(
    servers: Servers, tmp_path: Path
) -> None:
    async with marking(servers, write(tmp_path, logo=RED, badge=GREEN)) as service:
        deleted, changed = [await service.upload(PHOTO, preset=name) for name in ("logo", "badge")]
        bucket = service.environment["IMGSVC_S3_BUCKET"]
        with s3_client(service.environment) as s3:
            s3.delete_object(Bucket=bucket, Key=key_of(RED))
            s3.put_object(Bucket=bucket, Key=key_of(GREEN), Body=RED)
        await add_worker(service)
        for upload_id, code in ((deleted, "overlay_missing"), (changed, "overlay_corrupt")):
            ended = await service.ended(upload_id)
            assert (ended["status"], ended["error"]["code"], ended["attempt"]) == ("FAILURE", code, 1)
            assert (await service.client.post(f"/upload/{upload_id}/retry")).status_code == 202
        assert await colour_of(service, deleted) == (255, 0, 0)
        assert await colour_of(service, changed) == (0, 255, 0)
        stored = [key for key in leftovers(service.environment)["objects"] if key.startswith("overlays/")]
        assert sorted(stored) == sorted([key_of(RED), key_of(GREEN)])


async def test_s22_an_upload_is_accepted_only_once_its_overlays_are_stored(servers: Servers, tmp_path: Path) -> None:
    """Also where S3 refuses them from the start of the API."""
    async with Proxy.to("127.0.0.1", servers.seaweed.ports.s3) as s3:
        s3.fault = Fault(on=rb"PUT /[^ ]*/overlays/", statuses=(503,))
        endpoint = s3.url(servers.seaweed.url)
        async with marking(servers, write(tmp_path, logo=RED), s3_endpoint_url=endpoint) as service:
            await until(lambda: s3.struck > 0)
            refused = await service.post(PHOTO, preset="logo")
            assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
            plain = await service.upload(PHOTO)
            s3.fault = NONE
            accepted = await service.upload(PHOTO, preset="logo")
            await add_worker(service)
            assert await colour_of(service, accepted) == (255, 0, 0)
            await service.result(plain)


async def test_an_overlay_that_no_decoder_can_read_fails_its_jobs_alone(shop: Service) -> None:
    ended = await shop.ended(await shop.upload(PHOTO, preset="bomb"))
    assert (ended["status"], ended["error"]["code"]) == ("FAILURE", "overlay_invalid")
    assert "overlay" in ended["error"]["message"]
    assert await colour_of(shop, await shop.upload(PHOTO, preset="logo")) == (255, 0, 0)


async def test_a_wrong_sum_stops_the_start_with_both(tmp_path: Path) -> None:
    file = write(tmp_path, logo=RED)
    (tmp_path / "logo.png").write_bytes(GREEN)
    env = os.environ | {
        "IMGSVC_PRESETS_FILE": str(file),
        "IMGSVC_DATA_DIR": str(tmp_path / "data"),
        "IMGSVC_REDIS_URL": "redis://127.0.0.1:1/0",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "imgsvc", "api", env=env, stdout=PIPE, stderr=STDOUT
    )
    async with asyncio.timeout(DEADLINE_S):
        output, _ = await process.communicate()
    assert process.returncode == 1
    assert output.decode() == (
        f"imgsvc cannot start:\nIMGSVC_PRESETS_FILE is wrong: {file}: overlays.logo.sha256 is {sum_of(RED)}, "
        f"and logo.png has {sum_of(GREEN)}: correct the one that is wrong\n"
    )
