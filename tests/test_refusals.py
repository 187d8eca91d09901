"""Refusals and keys are told apart: by code and by key, in metrics and in the log (row H47)."""

import hashlib
import json
import re
from uuid import uuid4

import pytest

from imgsvc.domain.problems import HTTP_PROBLEMS
from tests.support import callers
from tests.support.callers import BLOG, SHOP, SHOP_NEXT, by
from tests.support.service import Servers

COUNT = re.compile(
    r'imgsvc_(?:http_problems_total\{code="(\w+)"|key_requests_total\{(key_id=.*?|owner=.*?))\} ([\d.]+)'
)


def key_id(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:8]


async def test_h47_refusals_are_counted_by_code_and_calls_by_key(
    servers: Servers, capfd: pytest.CaptureFixture[str]
) -> None:
    async with callers.with_keys(servers, workers=0, rate_limit=1) as service:
        get = service.client.get
        wrong = "not-a-key-of-this-service"
        for _ in range(3):
            await get("/presets", headers=by(wrong))
        await get(f"/files/processed/{uuid4()}/x.jpeg?exp=1&sig=x", headers={"authorization": ""})
        for _ in range(2):
            await callers.post(service, **by(BLOG))
        await get(f"/upload/{uuid4()}/status", headers=by(SHOP_NEXT))
        await get(f"/{uuid4()}", headers=by(SHOP_NEXT))
        told = (await get("/metrics")).text
    counts = {code or labels: float(count) for code, labels, count in COUNT.findall(told)}
    keys = {name: count for name, count in counts.items() if "key_id" in name}
    problems = {name: count for name, count in counts.items() if name not in keys}
    assert problems.keys() == HTTP_PROBLEMS.keys(), "each from the start: a rate does not see a first value"
    assert {code: count for code, count in problems.items() if count} == {
        "unauthorized": 3,
        "signature_invalid": 1,
        "rate_limited": 1,
        "not_found": 2,
    }
    del keys[f'key_id="{key_id(SHOP)}",owner="shop"']  # by which the test waited for the service
    assert keys == {
        f'key_id="{key_id(key)}",owner="{owner}"': count
        for key, owner, count in ((SHOP_NEXT, "shop", 2), (BLOG, "blog", 2))
    }
    lines = [line for line in map(json.loads, capfd.readouterr().err.splitlines()) if line["message"] == "request"]
    assert [line.get("key_id") for line in lines if line.get("owner") == "blog"] == [key_id(BLOG)] * 2
    assert [line["code"] for line in lines if line["status"] == 401] == ["unauthorized"] * 3
    assert [line["code"] for line in lines if line["status"] == 429] == ["rate_limited"]
    assert not [line for line in lines if line["status"] < 400 and "code" in line]
    assert {line["client"] for line in lines} == {"127.0.0.1"}
    assert not [key for key in (wrong, SHOP, SHOP_NEXT, BLOG) if key in json.dumps(lines) + told]
