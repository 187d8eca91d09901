"""Keys: who has none gets nowhere, however often it is tried (row H17)."""

import asyncio
import hashlib
import re
from statistics import median
from time import monotonic
from uuid import uuid4

import httpx
import psutil
import pytest

from imgsvc.runtime.settings import MIB
from tests.support.callers import (
    BLOG,
    PHOTO,
    SHOP,
    SHOP_NEXT,
    answered,
    assert_nothing_new,
    measured,
    post,
    raw,
    refusal,
)
from tests.support.service import Service, leftovers


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


@pytest.mark.parametrize("tries", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_h17_wrong_keys_by_the_thousand_slow_no_valid_one_and_leave_nothing(keyed: Service, tries: int) -> None:
    mine = await keyed.upload(PHOTO)
    await keyed.ended(mine)
    kept, api = leftovers(keyed.environment), psutil.Process(keyed.api.pid)

    async def valid() -> httpx.Response:
        return await keyed.client.get(f"/upload/{mine}/status")

    await measured(valid, 50, 200)
    alone = await measured(valid, 300, 200)
    memory = api.memory_info().rss
    guessing = asyncio.create_task(guess(keyed, tries))
    during: list[float] = []
    while not guessing.done():
        during += await measured(valid, 10, 200)
    refused = await guessing
    after = await measured(valid, 300, 200)
    # the median, since any other process on the machine slows some calls down
    ms = [median(seconds) * 1000 for seconds in (alone, during, after)]
    print(f"a valid call took {ms[0]:.1f} ms before, {ms[1]:.1f} during, {ms[2]:.1f} after ({len(during)} during)")
    assert refused == tries
    assert max(ms[1:]) <= 4 * ms[0] + 50
    assert_nothing_new(keyed, kept)
    assert api.memory_info().rss - memory < 5 * MIB


async def guess(service: Service, count: int) -> int:
    """Tries so many wrong keys, one after the other, each near the right one; returns how many were refused."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    refused = 0
    for number in range(count):
        key = SHOP[: number % len(SHOP)] + f"{number:020d}"
        writer.write(f"GET /presets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
        refused += (await answered(reader))[0] == 401
    writer.close()
    return refused
