"""Digests (RFC 9530): of files that are served, and of uploads that are verified (row U13)."""

import base64
import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest

from imgsvc.storage.reads import info
from tests.support.callers import JPEG, PHOTO, refusal
from tests.support.service import Service, leftovers


def digest(data: bytes, name: str = "sha-256") -> str:
    made = hashlib.new(name.replace("-", ""), data).digest()
    return f"{name}=:{base64.b64encode(made).decode()}:"


def originals(service: Service) -> set[str]:
    """What is stored of uploads, wholly or in parts."""
    found = leftovers(service.environment)
    return {key for key in found["objects"] + found["uploads"] if key.startswith("originals/")}


async def post(service: Service, data: Any = PHOTO, **headers: str) -> Any:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await service.client.post("/upload", content=data, headers=JPEG | sent)


async def test_a_file_has_the_digest_of_its_bytes_and_a_range_that_of_the_whole(service: Service) -> None:
    result = await service.result(await service.upload(PHOTO))
    url = result["result"]["thumbnail"]
    whole = await service.client.get(url)
    expected = digest(whole.content)
    assert hashlib.sha256(whole.content).hexdigest() == result["variants"]["thumbnail"]["sha256"]
    etag = whole.headers["etag"]
    for answer in (
        whole,
        await service.client.head(url),
        await service.client.get(url, headers={"range": "bytes=5-9"}),
        await service.client.get(url, headers={"if-none-match": etag}),
    ):
        assert answer.headers["repr-digest"] == expected


@pytest.mark.parametrize("field", ["content_digest", "repr_digest"])
async def test_an_upload_with_its_digest_is_taken(service: Service, field: str) -> None:
    right, other = digest(PHOTO), digest(PHOTO, "sha-512")
    for value in (
        right,
        other,
        f"{right}, {other}",
        f'md5=:AAAA:, {right};note="x"',
        "unixsum=:AAAA:",
        "crc32c=:AAAA:, sha=::",
        "",
    ):
        assert (await post(service, **{field: value})).status_code == 202, value


async def test_a_form_has_the_digest_of_the_form(service: Service) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n' + PHOTO + b"\r\n--b--\r\n"
    form = {"content-type": "multipart/form-data; boundary=b"}
    for data, status in ((body, 202), (PHOTO, 400)):
        answer = await service.client.post("/upload", content=body, headers=form | {"content-digest": digest(data)})
        assert answer.status_code == status


async def test_u13_an_upload_that_is_not_what_its_digest_says_leaves_nothing(service: Service) -> None:
    before = originals(service)
    wrong = digest(PHOTO[:-1])
    for headers in (
        {"content_digest": wrong},
        {"repr_digest": wrong},
        {"repr_digest": digest(PHOTO[:-1], "sha-512")},
        {"content_digest": digest(PHOTO), "repr_digest": wrong},
        {"content_digest": f"{digest(PHOTO)}, {digest(PHOTO[:-1], 'sha-512')}"},
    ):
        for data in (PHOTO, _chunks()):
            answer = await post(service, data, **headers)
            assert refusal(answer) == (400, "digest_mismatch")
    assert originals(service) <= before


async def _chunks() -> Any:
    yield PHOTO[:99]
    yield PHOTO[99:]


async def test_u13_parts_that_are_stored_already_are_removed(service: Service) -> None:
    before = originals(service)
    large = PHOTO + bytes(9 * 1024 * 1024)
    answer = await post(service, large, content_digest=digest(PHOTO))
    assert refusal(answer) == (400, "digest_mismatch")
    assert originals(service) <= before


@pytest.mark.parametrize(
    "value",
    [
        "sha-256",
        "sha-256=",
        "sha-256=abc",
        "sha-256=:abc",
        "sha-256=:?:",
        "sha-256=:AAAA:",
        'sha-256="n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg="',
        "sha-256=(:AAAA:)",
        "sha-256=1.5",
        "sha-256=@99999999999999",
        f"{digest(PHOTO)},",
        f"{digest(PHOTO)}, {digest(PHOTO)}",
        f"SHA-256={digest(PHOTO)[8:]}",
        "=:AAAA:",
        "md5=1",
        "sha-256=:" + "A" * 8192 + ":",
        "\u00e9",
    ],
)
async def test_u13_what_is_no_digest_is_refused(service: Service, value: str) -> None:
    before = originals(service)
    for field in (b"content-digest", b"repr-digest"):
        answer = await service.client.post(
            "/upload",
            content=PHOTO,
            headers=[(b"content-type", b"image/jpeg"), (field, value.encode("latin-1"))],
        )
        assert refusal(answer) == (400, "malformed_request"), value
    assert originals(service) <= before


@pytest.mark.parametrize("stored", ["", "0", "g" * 64, "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n", ": " * 32])
def test_u13_what_is_stored_as_a_digest_and_is_none_is_not_served(stored: str) -> None:
    answer = {
        "ContentLength": 1,
        "ETag": '"e"',
        "LastModified": datetime(2026, 11, 25, tzinfo=UTC),
        "Metadata": {"sha256": stored} if stored else {},
    }
    assert info(answer).sha256 == ""
    assert info(answer | {"Metadata": {"sha256": "a" * 64}}).sha256 == "a" * 64
