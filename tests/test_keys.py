"""Keys: who has none gets nowhere, however often it is tried (row H17)."""

import asyncio
import hashlib
import re
from time import monotonic
from uuid import uuid4

import pytest

from tests.support.callers import (
    BLOG,
    PHOTO,
    SHOP,
    SHOP_NEXT,
    post,
    raw,
    refusal,
)
from tests.support.service import Service


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        SHOP,
        f"Basic {SHOP}",
        f"Bearer {SHOP[:-1]}",
        f"Bearer {SHOP}x",
        f"Bearer {SHOP.upper()}",
        f"Bearer {SHOP} {BLOG}",
        f"Bearer shop:{SHOP}",
        f"Bearer {hashlib.sha256(SHOP.encode()).hexdigest()}",
        "Bearer \u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9",
    ],
)
async def test_h17_a_wrong_key_is_refused(keyed: Service, authorization: str) -> None:
    wrong = {"authorization": authorization.encode("latin-1")}
    calls = [("POST", "/upload"), ("GET", "/presets"), ("GET", "/metrics"), ("GET", "/uploads"), ("GET", "/nowhere")]
    calls += [("DELETE", f"/upload/{uuid4()}"), ("GET", f"/upload/{uuid4()}/status"), ("GET", "/filesx"), ("GET", "//")]
    for method, path in calls:
        answer = await keyed.client.request(method, keyed.url + path, headers=wrong)  # pyright: ignore[reportArgumentType] (httpx takes bytes too)
        assert refusal(answer) == (401, "unauthorized"), path
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_h17_two_keys_at_once_are_none(keyed: Service) -> None:
    keys = f"Authorization: Bearer {SHOP}\nAuthorization: Bearer {BLOG}\n"
    answer = await raw(keyed, f"GET /presets HTTP/1.1\nHost: x\n{keys}Connection: close\n\n")
    assert answer.startswith("HTTP/1.1 401")


async def test_each_key_of_an_owner_is_as_good(keyed: Service) -> None:
    mine = (await post(keyed)).json()["id"]
    for authorization in (f"Bearer {SHOP_NEXT}", f"bearer  {SHOP}", f"BEARER {SHOP}"):
        answer = await keyed.client.get(f"/upload/{mine}", headers={"authorization": authorization})
        assert answer.status_code == 200


async def test_health_and_files_need_no_key(keyed: Service) -> None:
    files = (await keyed.result(await keyed.upload(PHOTO)))["result"].values()
    for path in ("/healthz", "/readyz", *files):
        assert (await keyed.client.get(path, headers={"authorization": ""})).status_code == 200
    for path in ("/", "/docs", "/openapi.json", "/files/x"):
        assert (await keyed.client.get(path, headers={"authorization": ""})).status_code in {200, 404}


@pytest.mark.parametrize("authorization", ["", "Bearer wrong-key-0123456789", f"Basic {SHOP}"])
async def test_h60_strangers_learn_no_more_of_readiness_than_whether_there_is_any(
    keyed: Service, authorization: str
) -> None:
    answer = await keyed.client.get("/readyz", headers={"authorization": authorization})
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})
    known = (await keyed.client.get("/readyz")).json()
    assert known["checks"].keys() == {"queue", "storage", "workers"}


async def test_h61_however_many_ask_for_readiness_the_servers_are_asked_a_few_times(keyed: Service) -> None:
    async def calls() -> float:
        text = (await keyed.client.get("/metrics")).text
        return float(re.findall(r'imgsvc_dependency_seconds_count\{dependency="storage"\} ([0-9.]+)', text)[0])

    before, begin = await calls(), monotonic()
    answers = await asyncio.gather(*(keyed.client.get("/readyz") for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    asked, seconds = await calls() - before, monotonic() - begin
    assert asked <= 3 + 4 * seconds, "a scrape asks too"


async def test_a_write_from_anywhere_is_its_keys(keyed: Service) -> None:
    """No browser sends a key by itself, so that neither Host nor Origin matters."""
    answer = await post(keyed, host="images.example.com", origin="https://other.example")
    assert answer.status_code == 202
