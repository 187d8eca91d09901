"""RateLimit fields: every answer that admits or refuses says how much is left, and what is refused costs nothing."""

import re
from dataclasses import replace
from math import ceil
from uuid import uuid4

import httpx

from imgsvc.api.http.rate_limit import fields_of
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Failure
from imgsvc.jobs.types import Admission, Allowance, Reservation
from imgsvc.runtime.owners import Owner, Owners
from tests.support.callers import APP, BLOG, PHOTO, by, post, with_keys
from tests.support.service import Servers, settings_of
from tests.support.submissions import submission

ITEM = re.compile(r'"(\w+)"((?:;[a-z]+=(?:[0-9]{1,15}|"[a-z-]+"))+)')
PARAMETER = re.compile(r';([a-z]+)=(?:([0-9]+)|"([a-z-]+)")')
SIZE = len(PHOTO)


def parsed(value: str) -> dict[str, dict[str, int | str]]:
    """A list of structured fields (RFC 9651): items that are strings, with parameters."""
    found: dict[str, dict[str, int | str]] = {}
    for item in value.split(", "):
        match = ITEM.fullmatch(item)
        assert match, item
        assert match[1] not in found
        found[match[1]] = {name: int(digits) if digits else word for name, digits, word in PARAMETER.findall(match[2])}
    return found


def left(answer: httpx.Response) -> dict[str, int | str]:
    return {name: values["r"] for name, values in parsed(answer.headers["ratelimit"]).items()}


async def test_f26_answers_say_how_much_is_left_and_when_there_is_more(servers: Servers) -> None:
    quota = 3 * SIZE + SIZE // 2
    limited = with_keys(servers, workers=0, cors_origins=APP, rate_limit=4, quota_bytes=quota, max_upload_bytes=SIZE)
    async with limited as service:
        first = await post(service, origin=APP, **{"idempotency-key": "1"})
        assert parsed(first.headers["ratelimit-policy"]) == {
            "uploads": {"q": 4, "w": 60},
            "bytes": {"q": quota, "qu": "content-bytes", "w": 86_400},
        }
        assert left(first) == {"uploads": 3, "bytes": quota - SIZE}
        times = {name: values["t"] for name, values in parsed(first.headers["ratelimit"]).items()}
        assert times == {"uploads": 15, "bytes": ceil(86_400 / quota)}
        exposed = {name.strip().lower() for name in first.headers["access-control-expose-headers"].split(",")}
        assert {"ratelimit", "ratelimit-policy", "retry-after"} <= exposed

        replayed = await post(service, **{"idempotency-key": "1"})
        assert left(replayed)["uploads"] == 2, "its body is read once more"
        assert int(left(replayed)["bytes"]) >= int(left(first)["bytes"]), "and is not counted again"
        cancelled = await service.client.post(f"{first.json()['url']}/cancel")
        assert "ratelimit" not in cancelled.headers

        too_many_bytes = [await post(service) for _ in range(2)]
        assert [answer.status_code for answer in too_many_bytes] == [202, 202]
        by_rate = await post(service)
        assert (by_rate.status_code, by_rate.json()["code"]) == (429, "rate_limited")
        said = parsed(by_rate.headers["ratelimit"])
        assert said["uploads"]["r"] == 0
        assert said["uploads"]["t"] == int(by_rate.headers["retry-after"]) > 0
        other = await post(service, **by(BLOG))
        assert left(other)["uploads"] == 3, "each owner has its own"


async def test_f26_without_limits_there_are_no_fields(servers: Servers) -> None:
    reservation = Reservation(Admission.RESERVED, "1")
    assert fields_of(reservation) == {}
    one = replace(reservation, bytes=Allowance(10, 4, 0.2))
    assert parsed(fields_of(one)["ratelimit"]) == {"bytes": {"r": 4, "t": 1}}
    huge = replace(reservation, uploads=Allowance(10**18, 10**18, 0.0))
    assert parsed(fields_of(huge)["ratelimit"]) == {"uploads": {"r": 10**15 - 1, "t": 0}}, "no more than 15 digits"


async def test_f27_what_is_refused_costs_no_turn_and_no_bytes(servers: Servers) -> None:
    bound = {"IMGSVC_RATE_LIMIT": "9", "IMGSVC_QUOTA_BYTES": "9000", "IMGSVC_MAX_UPLOAD_BYTES": "9000"}
    async with Queue.open(settings_of(servers.environment() | bound | {"IMGSVC_MAX_QUEUED": "2"})) as queue:

        async def reserve(announced: int, key: str = "") -> Reservation:
            return await queue.reserve(str(uuid4()), key, owner="shop", announced=announced)

        failed = await reserve(4500, "mine")
        assert failed.uploads
        assert (failed.uploads.limit, failed.uploads.left) == (9, 8)
        for _ in range(20):
            assert (await reserve(4500, "mine")).admission is Admission.IN_FLIGHT
            assert (await reserve(9000)).admission is Admission.QUOTA_EXCEEDED
        await queue.submit(submission(failed.id))
        (claim,) = await queue.claim("w", 1)
        assert await queue.finish(claim, Failure("decode_failed", "broken"))
        for _ in range(2):
            queued = str(uuid4())
            assert (await queue.reserve(queued)).admission is Admission.RESERVED
            await queue.submit(submission(queued))
        for _ in range(20):
            assert (await reserve(1)).admission is Admission.OVERLOADED
            refused = await queue.retry(failed.id, "shop")
            assert refused is not None
            assert refused.uploads
            assert (refused.admission, refused.uploads.left >= 8) == (Admission.OVERLOADED, True), "as after the first"


async def test_f27_a_retry_is_held_to_its_owners_limits_and_says_what_they_leave(servers: Servers) -> None:
    async with Queue.open(settings_of(servers.environment())) as queue:
        queue.exchange.owners.current = Owners({"shop": Owner("shop", rate_limit=2)})
        first = await queue.reserve(str(uuid4()), owner="shop")
        await queue.submit(submission(first.id))
        (claim,) = await queue.claim("w", 1)
        assert await queue.finish(claim, Failure("decode_failed", "broken"))
        again = await queue.retry(first.id, "shop")
        assert again is not None
        assert (again.admission, again.uploads and again.uploads.left) == (Admission.RESERVED, 0)
        refused = await queue.reserve(str(uuid4()), owner="shop")
        assert refused.admission is Admission.RATE_LIMITED
        queue.exchange.owners.current = Owners({"shop": Owner("shop", rate_limit=1)})
        lower = await queue.reserve(str(uuid4()), owner="shop")
        assert (lower.uploads and lower.uploads.left, lower.admission) == (0, Admission.RATE_LIMITED)
        assert 60 < lower.wait_s <= 120, "what was used of a limit that was higher stays used"
        queue.exchange.owners.current = Owners()
        free = await queue.reserve(str(uuid4()), owner="shop")
        assert (free.admission, free.uploads, free.bytes) == (Admission.RESERVED, None, None)
