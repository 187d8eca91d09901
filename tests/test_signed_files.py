"""Signed files: who was given a URL gets the file, for a while; nobody else does."""

import html
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from time import time
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio

from imgsvc.domain.file_urls import expiry, sign
from tests.support import images
from tests.support.service import Servers, Service, until

SECRET = "a secret of 32 characters or more"
KEY = "shop-key-0123456789"
SIGNED = {"IMGSVC_API_KEYS": f"shop:{KEY}", "IMGSVC_SIGNING_SECRET": SECRET}
TTL_S = 3600
BEARER = {"authorization": f"Bearer {KEY}"}
PHOTO = images.photo()


@pytest_asyncio.fixture(scope="module")
async def signed(servers: Servers) -> AsyncGenerator[Service]:
    """A service with keys, whose files are signed because of that."""
    async with Service.start(servers.environment() | SIGNED) as started:
        yield started


@pytest_asyncio.fixture(scope="module")
async def url(signed: Service) -> str:
    """The URL of a file with a name that must be quoted."""
    return (await uploaded(signed, "näh.jpg"))["thumbnail"]


async def uploaded(service: Service, filename: str = "a.jpg", **fields: str) -> dict[str, str]:
    """The URLs of an upload's files."""
    service.client.headers.update(BEARER)
    try:
        return (await service.result(await service.upload(PHOTO, filename, **fields)))["result"]
    finally:
        del service.client.headers["authorization"]


def parts(url: str) -> tuple[str, int, str]:
    """Path, exp and sig."""
    query = parse_qs(urlsplit(url).query, strict_parsing=True)
    assert query.keys() == {"exp", "sig"}
    return urlsplit(url).path, int(query["exp"][0]), query["sig"][0]


async def test_a_signed_url_serves_its_file_in_all_ways(signed: Service, url: str) -> None:
    whole = await signed.client.get(url)
    assert images.opened(whole.content).size == (200, 133)
    assert (await signed.client.head(url)).headers["content-length"] == str(len(whole.content))
    part = await signed.client.get(url, headers={"range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, whole.content[:10])
    same = await signed.client.get(url, headers={"if-none-match": whole.headers["etag"]})
    assert same.status_code == 304
    download = await signed.client.get(f"{url}&download=1")
    assert download.headers["content-disposition"].startswith("attachment")


async def test_no_copy_outlives_the_signature(signed: Service, url: str) -> None:
    _, exp, _ = parts(url)
    for answer in (await signed.client.get(url), await signed.client.head(url)):
        kind, age = answer.headers["cache-control"].split(", max-age=")
        assert kind == "private"
        assert TTL_S / 2 - 60 < int(age) <= exp - time() + 1


async def test_no_copy_outlives_a_file_that_expires_before_its_signature(signed: Service) -> None:
    urls = await uploaded(signed, expires_in="100")
    answer = await signed.client.get(urls["thumbnail"])
    assert 0 < int(answer.headers["cache-control"].removeprefix("private, max-age=")) <= 100


async def test_every_url_of_a_result_is_signed_and_stays_the_same_for_a_while(signed: Service) -> None:
    upload_id = (
        await signed.client.post("/upload", content=PHOTO, headers=BEARER | {"content-type": "image/jpeg"})
    ).json()["id"]

    async def done() -> bool:
        return (await signed.client.get(f"/upload/{upload_id}/result", headers=BEARER)).status_code == 200

    await until(done)
    if TTL_S / 2 - datetime.now(UTC).timestamp() % (TTL_S / 2) < 5:
        pytest.skip("URLs change within these seconds")
    first, again = [
        (await signed.client.get(f"/upload/{upload_id}", headers=BEARER)).json()["result"] for _ in range(2)
    ]
    result = (await signed.client.get(f"/upload/{upload_id}/result", headers=BEARER)).json()
    assert first == again == result
    assert {variant["url"] for variant in result["variants"].values()} == set(result["result"].values())
    for each in result["result"].values():
        assert (await signed.client.get(each)).status_code == 200


async def test_every_url_of_a_set_is_signed(signed: Service) -> None:
    variants = '{"hero": {"widths": [40, 80], "formats": ["webp", "jpeg"]}}'
    signed.client.headers.update(BEARER)
    try:
        result = await signed.result(await signed.upload(PHOTO, 'a "b", c.jpg', variants=variants))
    finally:
        del signed.client.headers["authorization"]
    hero = result["variants"]["hero"]
    urls = [candidate.split(" ")[0] for source in hero["sources"] for candidate in source["srcset"].split(", ")]
    assert len({parts(url)[2] for url in urls}) == 4
    for each in urls:
        assert (await signed.client.get(each)).status_code == 200
        assert html.escape(each) in hero["html"]


@pytest.mark.parametrize("now_s", [0, 1, 1799, 1800, 5399.9, 1_800_000_000.5])
@pytest.mark.parametrize("ttl_s", [2, 3, 60, 3600])
def test_a_signature_is_good_for_its_ttl_at_most_and_half_of_it_at_least(now_s: float, ttl_s: int) -> None:
    assert ttl_s / 2 <= expiry(now_s, ttl_s) - int(now_s) <= ttl_s


async def test_h20_what_is_not_signed_for_is_refused(signed: Service, url: str) -> None:
    path, exp, sig = parts(url)
    other_path, other_exp, other_sig = parts((await uploaded(signed))["resized_compressed"])
    assert other_exp
    wrong = [
        path,
        f"{path}?exp={exp}",
        f"{path}?sig={sig}",
        f"{path}?exp={exp + 1}&sig={sig}",
        f"{path}?exp={exp}9&sig={sig}",
        f"{path}?exp=0{exp}&sig={sig}",
        f"{path}?exp={exp}&sig={sig[:-1]}",
        f"{path}?exp={exp}&sig={sig}%3D",
        f"{path}?exp={exp}&sig={sig.swapcase()}",
        f"{path}?exp={exp}&sig=",
        f"{path}?exp={exp}&sig=%C3%A9%00",
        f"{path}?exp=1&sig={sig}",
        f"{path}?exp={exp}&sig={other_sig}",
        f"{other_path}?exp={exp}&sig={sig}",
        f"{path}?exp={exp}&sig={sign(path, exp, SECRET.encode())}",  # of the path as it is quoted
        f"{path}?exp={exp}&sig={sign(other_path, exp, b'another secret of 32 characters, or more')}",
    ]
    for each in wrong:
        for method in ("GET", "HEAD"):
            answer = await signed.client.request(method, each)
            assert answer.status_code == 403, each
        assert (await signed.client.get(each)).json()["code"] == "signature_invalid", each
    with_key = await signed.client.get(path, headers=BEARER)
    assert with_key.status_code == 403, "a key is for calls; files have their own"


async def test_h20_a_url_ends_at_its_time(servers: Servers) -> None:
    async with Service.start(servers.environment() | SIGNED, signed_url_ttl_s=2) as service:
        urls = await uploaded(service)
        _, exp, _ = parts(urls["thumbnail"])
        assert exp - 2 <= time() < exp

        async def refused() -> bool:
            asked_at = time()
            answer = await service.client.get(urls["thumbnail"])
            if answer.status_code == 200:
                assert asked_at < exp
                return False
            assert (answer.status_code, answer.json()["code"]) == (403, "signature_expired")
            assert time() >= exp
            return True

        await until(refused)


async def test_h20_nothing_can_be_learned_of_files_without_a_signature(signed: Service, url: str) -> None:
    there, _, _ = parts(url)
    missing = there.replace("thumbnail", "nothing")
    assert [(await signed.client.get(path)).status_code for path in (there, missing)] == [403, 403]


async def test_files_may_be_signed_while_open_and_public_with_keys(servers: Servers, keyed: Service) -> None:
    async with Service.start(servers.environment(), files="signed", signing_secret=SECRET) as service:
        path, _, _ = parts((await uploaded(service))["thumbnail"])
        assert (await service.client.get(path)).status_code == 403
    path = (await keyed.result(await keyed.upload(PHOTO)))["result"]["thumbnail"]
    answer = await keyed.client.get(path, headers={"authorization": ""})
    assert (answer.status_code, "?" in path) == (200, False)
    assert answer.headers["cache-control"] == "public, max-age=86400, immutable"
