"""Parts of one object that several processes store one after the other (rows T11 and S18)."""

from collections.abc import AsyncGenerator
from uuid import uuid4

import pytest
import pytest_asyncio

from imgsvc.storage import RESUMABLE_PART_BYTES, Storage, StorageError
from tests.support.scripted_s3 import Request, ScriptedS3, answer, error
from tests.support.service import Servers, leftovers, settings_of

FULL = bytes(RESUMABLE_PART_BYTES)


@pytest_asyncio.fixture(scope="module")
async def environment(servers: Servers) -> dict[str, str]:
    return servers.environment()


@pytest_asyncio.fixture(scope="module")
async def storage(environment: dict[str, str]) -> AsyncGenerator[Storage]:
    async with Storage.open(settings_of(environment)) as opened:
        await opened.ensure_bucket()
        yield opened


@pytest.fixture
def key() -> str:
    return f"originals/{uuid4()}"


async def content(storage: Storage, key: str) -> bytes:
    async with storage.read(key) as found:
        assert found
        return b"".join([chunk async for chunk in found[1]])


async def test_parts_become_one_object_and_a_second_call_finds_it(storage: Storage, key: str) -> None:
    upload = storage.resumable(key)
    multipart = await upload.begin("image/jpeg", "shop")
    etags = [await storage.resumable(key).put(multipart, n, data) for n, data in ((1, FULL), (2, b"end"))]
    assert await upload.complete(multipart, etags, len(FULL) + 3)
    await upload.complete(multipart, etags, len(FULL) + 3)
    info = await storage.head(key)
    assert info
    assert (info.content_type, info.owner) == ("image/jpeg", "shop")
    assert await content(storage, key) == FULL + b"end"
    with pytest.raises(StorageError):
        await upload.complete("none", etags, 7)


async def test_t11_a_part_that_another_writer_has_stored_again_is_not_taken_for_the_same(
    storage: Storage, key: str
) -> None:
    upload = storage.resumable(key)
    multipart = await upload.begin("image/jpeg", "")
    etags = [await upload.put(multipart, n, data) for n, data in ((1, FULL), (2, b"end"))]
    await upload.put(multipart, 2, b"END")
    is_proven = await upload.complete(multipart, etags, len(FULL) + 3)
    assert is_proven == ((await content(storage, key))[-3:] == b"end")


async def test_what_is_aborted_is_gone_also_a_second_time(
    storage: Storage, environment: dict[str, str], key: str
) -> None:
    upload = storage.resumable(key)
    one, other, third = [await upload.begin("image/jpeg", "") for _ in range(3)]
    await upload.put(one, 1, FULL)
    for _ in range(2):
        await upload.abort(one)
    await upload.put(other, 1, b"end")
    await storage.abort_uploads(key)
    assert key not in leftovers(environment)["uploads"]
    for multipart in (one, other, third):
        with pytest.raises(StorageError):
            await upload.put(multipart, 1, b"end")
    await storage.put(key, b"x", "image/jpeg")
    for _ in range(2):
        await storage.remove(key)
    assert await storage.head(key) is None


async def test_t11_an_etag_that_changed_has_the_parts_listed_and_the_object_compared() -> None:
    parts = "".join(f'<Part><PartNumber>{n}</PartNumber><ETag>"new-{n}"</ETag><Size>5</Size></Part>' for n in (1, 2, 3))
    listed = f"<ListPartsResult><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId>{parts}</ListPartsResult>"
    completed = '<CompleteMultipartUploadResult><ETag>"whole"</ETag></CompleteMultipartUploadResult>'
    bodies: list[bytes] = []

    def script(request: Request) -> bytes:
        if request.method == "GET":
            return answer(200, listed)
        if request.method == "HEAD":
            return answer(200, content_length="10", etag='"whole"', last_modified="Wed, 25 Nov 2026 10:35:00 GMT")
        bodies.append(request.body)
        return error(400, "InvalidPart") if len(bodies) == 1 else answer(200, completed)

    async with ScriptedS3.start(script) as s3, Storage.open(s3.settings()) as scripted:
        assert not await scripted.resumable("k").complete("u", ['"old-1"', '"old-2"'], 10)
    assert b"new-2" in bodies[1]
    assert b"new-3" not in bodies[1]
