"""A walk through all calls: every answer is as `/openapi.json` describes it, and all that it describes can come."""

import orjson
import pytest_asyncio

from imgsvc.api.openapi import document
from imgsvc.domain.presets import PRESETS
from imgsvc.domain.problems import HTTP_PROBLEMS
from tests.support.contract import METHODS, Contract, Json
from tests.support.service import Servers
from tests.support.walk import walk

NOT_WALKED = {
    "idempotency_in_flight",
    "internal_error",
    "overloaded",
    "request_timeout",
}
"""Codes that only a race, a load, a slow client or a bug brings about: other tests have them."""

MAX_BYTES = 256 * 1024
DOCUMENT: Json = orjson.loads(orjson.dumps(document(MAX_BYTES, PRESETS)))
CALLS = [(path, method) for path, item in DOCUMENT["paths"].items() for method in item if method in METHODS]


@pytest_asyncio.fixture(scope="module")
async def contract(servers: Servers) -> Contract:
    """What a walk through all calls was answered."""
    contract = Contract(DOCUMENT)
    await walk(servers, contract, MAX_BYTES)
    return contract


async def test_every_answer_is_as_it_is_described(contract: Contract) -> None:
    assert contract.faults == []


async def test_every_success_that_is_described_was_answered(contract: Contract) -> None:
    described = {
        (method.upper(), path, status)
        for path, method in CALLS
        for status in DOCUMENT["paths"][path][method]["responses"]
        if status < "400"
    }
    assert described - contract.answered == set()


async def test_every_refusal_that_a_walk_can_meet_was_met(contract: Contract) -> None:
    assert HTTP_PROBLEMS.keys() - contract.codes == NOT_WALKED
