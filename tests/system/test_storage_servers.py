"""What storage promises on real servers: two services in one bucket, versions, and a second kind of S3 (S18 to S20)."""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from imgsvc.local.ports import free_port
from imgsvc.local.process import Child
from imgsvc.storage import PART_BYTES, Storage
from tests.support import images
from tests.support.command import imgsvc
from tests.support.doctor import in_time
from tests.support.local import local
from tests.support.scripted_s3 import ScriptedS3, answer
from tests.support.service import UNHURRIED, Servers, Service, leftovers, s3_client, settings_of, until
from tests.support.tus import PART, Tus, assert_stored, large_photo
from tests.test_storage_surroundings import AWS_ENVIRONMENT, PROXIES


async def more_than_a_part() -> AsyncIterator[bytes]:
    yield bytes(PART_BYTES)
    yield b"the end"


def versions(environment: Mapping[str, str]) -> list[str]:
    """Every version and delete marker in the bucket, by its key."""
    with s3_client(environment) as s3:
        listed = s3.list_object_versions(Bucket=environment["IMGSVC_S3_BUCKET"])
    return [entry["Key"] for name in ("Versions", "DeleteMarkers") for entry in listed.get(name, [])]


def keep_versions(environment: Mapping[str, str]) -> None:
    with s3_client(environment) as s3:
        enabled = {"Status": "Enabled"}
        s3.put_bucket_versioning(Bucket=environment["IMGSVC_S3_BUCKET"], VersioningConfiguration=enabled)


async def walk(service: Service) -> None:
    """Upload, result, file, a range of it, and DELETE."""
    upload_id = await service.upload(images.photo())
    url = (await service.result(upload_id))["result"]["thumbnail"]
    assert url.startswith(f"/files/processed/{upload_id}/")
    whole = await service.client.get(url)
    part = await service.client.get(url, headers={"range": "bytes=10-19"})
    assert (whole.status_code, part.status_code, part.content) == (200, 206, whole.content[10:20])
    assert (await service.client.delete(f"/upload/{upload_id}")).status_code == 204
    assert (await service.client.get(url)).status_code == 404


async def test_s19_a_service_keeps_to_its_prefix_and_its_links_do_not_show_it(servers: Servers) -> None:
    environment = servers.environment()
    mine = environment | {"IMGSVC_S3_PREFIX": "team/a"}
    async with Service.start(mine) as service:
        upload_id = await service.upload(images.photo())
        await service.result(upload_id)
        kept = leftovers(mine)["objects"]
        assert kept
        assert all(key.startswith("team/a/") for key in kept)
        async with Storage.open(settings_of(environment)) as plain:
            await plain.put(f"originals/{upload_id}", b"another service's", "image/jpeg")
            await service.client.delete(f"/upload/{upload_id}")
            assert leftovers(mine)["objects"] == [f"originals/{upload_id}"], "of a service without a prefix"
            await plain.clear("originals/")
        await walk(service)


async def test_s19_clearing_aborts_uploads_under_its_own_prefix_alone(servers: Servers) -> None:
    environment = servers.environment()
    bucket = environment["IMGSVC_S3_BUCKET"]
    async with Storage.open(settings_of(environment | {"IMGSVC_S3_PREFIX": "a/"})) as storage:
        await storage.ensure_bucket()
        with s3_client(environment) as s3:
            for key in ("a/originals/1", "ab/originals/1", "originals/1"):
                s3.create_multipart_upload(Bucket=bucket, Key=key)
        await storage.clear("originals/1")
        assert sorted(leftovers(environment)["uploads"]) == ["ab/originals/1", "originals/1"]
        await storage.put_stream("originals/2", more_than_a_part(), "image/jpeg", owner="", on_begin=lambda: None)
        found = await storage.head("originals/2")
        assert found
        assert found.size == PART_BYTES + 7


async def test_s18_a_versioned_bucket_keeps_what_is_deleted_unless_a_setting_says_otherwise(servers: Servers) -> None:
    environment = servers.environment()
    async with Storage.open(settings_of(environment)) as storage:
        await storage.ensure_bucket()
        assert not await storage.is_versioned()
        keep_versions(environment)
        assert await storage.is_versioned()
        for _ in range(2):
            await storage.put("processed/1/a.jpeg", b"photo", "image/jpeg")
        await storage.put("processed/2/a.jpeg", b"photo", "image/jpeg")
        await storage.clear("processed/1/")
        assert len(versions(environment)) == 4, "three versions and a delete marker"
    async with Storage.open(settings_of(environment | {"IMGSVC_S3_DELETE_VERSIONS": "1"})) as storage:
        await storage.clear("processed/1/")
        assert versions(environment) == ["processed/2/a.jpeg"]


async def test_s18_more_versions_than_a_page_holds_are_deleted(servers: Servers) -> None:
    environment = servers.environment() | {"IMGSVC_S3_DELETE_VERSIONS": "1"}
    async with Storage.open(settings_of(environment)) as storage:
        await storage.ensure_bucket()
        keep_versions(environment)
        client = storage._client  # pyright: ignore[reportPrivateUsage]

        def small_page(params: dict[str, Any], **_: object) -> None:
            params["MaxKeys"] = 3

        client.meta.events.register("provide-client-params.s3.ListObjectVersions", small_page)
        for number in range(4):
            for _ in range(2):
                await storage.put(f"processed/1/{number}", b"photo", "image/jpeg")
        await storage.clear("processed/1/")
    assert versions(environment) == []


async def test_s18_doctor_warns_of_a_bucket_that_keeps_versions(servers: Servers, tmp_path: Path) -> None:
    environment = servers.environment() | {"IMGSVC_S3_PREFIX": "team"}
    async with Storage.open(settings_of(environment)) as storage:
        await storage.ensure_bucket()
    keep_versions(environment)
    for wanted, level in (("0", ["warn"]), ("1", [])):
        ended = await imgsvc(
            "doctor", "--json", cwd=tmp_path, env=in_time(environment | {"IMGSVC_S3_DELETE_VERSIONS": wanted})
        )
        (document,) = ended.objects
        found = [check["level"] for check in document["checks"] if check["about"] == "s3 versions"]
        assert found == level
    kept = versions(environment)
    assert kept, "of the first run, which the bucket keeps"
    assert all(key.startswith("team/doctor/") for key in kept)


@asynccontextmanager
async def moto(folder: Path) -> AsyncGenerator[dict[str, str]]:
    """A second kind of S3: settings for a service on it."""
    port = free_port()
    argv = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    child = await Child.start("moto", argv, {"PATH": "", "HOME": str(folder)}, folder / "moto.log", cwd=folder)

    async def answers() -> bool:
        try:
            (await asyncio.open_connection("127.0.0.1", port))[1].close()
        except OSError:
            return False
        return True

    try:
        await until(answers)
        yield {
            "IMGSVC_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "IMGSVC_S3_ACCESS_KEY_ID": "key",
            "IMGSVC_S3_SECRET_ACCESS_KEY": "secret",
            "IMGSVC_S3_REGION": "eu-central-1",
        }
    finally:
        await child.stop(5)


@pytest.mark.parametrize("versioned", [False, True])
async def test_s20_the_whole_walk_goes_on_another_kind_of_s3(servers: Servers, tmp_path: Path, versioned: bool) -> None:
    async with moto(tmp_path) as other:
        environment = servers.environment() | other | {"IMGSVC_S3_PREFIX": "team/a"}
        environment |= {"IMGSVC_S3_DELETE_VERSIONS": str(versioned)}
        async with Storage.open(settings_of(environment)) as storage:
            await storage.ensure_bucket()
            if versioned:
                keep_versions(environment)
            await storage.put_stream("originals/1", more_than_a_part(), "image/jpeg", owner="", on_begin=lambda: None)
            async with storage.read("originals/1", (PART_BYTES, PART_BYTES + 2)) as found:
                assert found
                assert b"".join([chunk async for chunk in found[1]]) == b"the"
            await storage.clear("originals/1")
        with s3_client(environment) as s3:
            where = s3.get_bucket_location(Bucket=environment["IMGSVC_S3_BUCKET"])
        assert where["LocationConstraint"] == "eu-central-1"
        async with Service.start(environment) as service:
            await walk(service)
        assert versions(environment) == []
        assert leftovers(environment)["uploads"] == []
        ended = await imgsvc("doctor", cwd=tmp_path, env=in_time(environment))
        assert ended.code == 0, ended.out


@pytest.mark.parametrize("versioned", [False, True])
async def test_t1_t11_pieces_become_the_same_bytes_on_another_kind_of_s3(
    servers: Servers, tmp_path: Path, versioned: bool
) -> None:
    data = large_photo(PART + 70_000)
    async with moto(tmp_path) as other:
        environment = servers.environment() | other | {"IMGSVC_S3_DELETE_VERSIONS": str(versioned)}
        async with Storage.open(settings_of(environment)) as storage:
            await storage.ensure_bucket()
            if versioned:
                keep_versions(environment)
            late = storage.resumable("originals/1")
            multipart = await late.begin("image/jpeg", "")
            etags = [await late.put(multipart, number, data[at:]) for number, at in ((1, 70_000), (2, PART))]
            await late.put(multipart, 2, b"another writer's")
            is_proven = await late.complete(multipart, etags, PART + 16)
            async with storage.read("originals/1") as found:
                assert found
                stored = b"".join([chunk async for chunk in found[1]])
            assert not is_proven or stored == data[70_000:] + data[PART:], "or else it is compared"
            await storage.clear("originals/1")
        async with Service.start(environment, **UNHURRIED) as service:
            tus, offset = Tus(service.client), 0
            path = await tus.begun(len(data))
            for size in (1000, 500, 90_000, PART, len(data)):
                offset = await tus.added(path, offset, data[offset : offset + size])
            await assert_stored(service, path, data)
            await tus.call("DELETE", path)
        assert leftovers(environment)["uploads"] == []
        assert not [key for key in versions(environment) if key.startswith("originals/")]


async def test_s17_one_machine_starts_and_serves_beside_a_proxy_and_aws_settings_that_are_not_meant_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(images.photo())
    async with ScriptedS3.start(lambda _: answer(403)) as proxy:
        for name, value in AWS_ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        for name in PROXIES:
            monkeypatch.setenv(name, proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        async with local(tmp_path / "data") as service:
            await service.until_printed("is ready after")
            ended = await imgsvc("upload", str(photo), cwd=tmp_path, env={"IMGSVC_SERVER": service.url})
            assert ended.code == 0, ended.err
            service.process.terminate()
            assert await service.ended() == 0
        assert proxy.requests == [], "nothing of it went to the proxy, signed or not"
