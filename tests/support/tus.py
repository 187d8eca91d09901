"""tus as a client speaks it that checks every answer; and what a service keeps of what it has received."""

import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx

from tests.support import images
from tests.support.service import Service, leftovers

VERSION = {"tus-resumable": "1.0.0"}
PIECE = {"content-type": "application/offset+octet-stream"}
PART = 5 * 1024 * 1024


def large_photo(size: int = 2 * PART + 12_345) -> bytes:
    """A JPEG of so many bytes: what follows the image is left alone by decoders."""
    photo = images.photo(64, 48)
    noise = b"".join(hashlib.sha256(b"%d" % at).digest() for at in range(4096))
    return (photo + noise * (size // len(noise) + 1))[:size]


def described(**fields: str) -> str:
    """An Upload-Metadata."""
    return ",".join(f"{name} {base64.b64encode(text.encode()).decode()}" for name, text in fields.items())


def checksum(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"


class Tus:
    """Speaks to one API process of a service."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def call(
        self, method: str, path: str, content: bytes | AsyncIterator[bytes] | None = None, **headers: str
    ) -> httpx.Response:
        """Names of headers have _ for -."""
        given = {name.replace("_", "-").encode(): value.encode() for name, value in (VERSION | headers).items()}
        answer = await self.client.request(method, path, content=content, headers=given)
        assert answer.headers["tus-resumable"] == "1.0.0", answer.text
        return answer

    async def create(self, length: int | None, content: bytes | None = None, **headers: str) -> httpx.Response:
        known = {"upload_defer_length": "1"} if length is None else {"upload_length": str(length)}
        kind = {"content_type": PIECE["content-type"]} if content is not None else {}
        return await self.call("POST", "/tus", content, **(known | kind | headers))

    async def begun(self, length: int | None, **fields: str) -> str:
        """The path of a new upload."""
        answer = await self.create(length, None, **({"upload_metadata": described(**fields)} if fields else {}))
        assert answer.status_code == 201, answer.text
        return answer.headers["location"]

    async def patch(
        self, path: str, offset: int, content: bytes | AsyncIterator[bytes], **headers: str
    ) -> httpx.Response:
        kind = {"content_type": PIECE["content-type"], "upload_offset": str(offset)}
        return await self.call("PATCH", path, content, **(kind | headers))

    async def added(self, path: str, offset: int, content: bytes, **headers: str) -> int:
        """The new offset."""
        answer = await self.patch(path, offset, content, **headers)
        assert answer.status_code == 204, answer.text
        return int(answer.headers["upload-offset"])

    async def offset(self, path: str) -> int:
        answer = await self.call("HEAD", path)
        assert answer.status_code == 200, answer.status_code
        return int(answer.headers["upload-offset"])


def id_of(path: str) -> str:
    return path.rpartition("/")[2]


def kept_of(environment: Mapping[str, str], path: str) -> dict[str, list[str]]:
    """What is stored of an upload: objects and unfinished uploads."""
    found = leftovers(environment)
    return {kind: [key for key in found[kind] if id_of(path) in key] for kind in ("objects", "uploads")}


async def assert_stored(service: Service, path: str, data: bytes) -> dict[str, Any]:
    """The job of the upload succeeds, on exactly these bytes. Returns its status."""
    status = await service.ended(id_of(path))
    assert status["status"] == "SUCCESS", status
    original = (await service.client.get(f"/upload/{id_of(path)}/result")).json()["original"]
    assert (original["bytes"], original["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    return status
