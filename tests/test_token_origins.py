"""Upload tokens in browsers: the page that one is for may use it, no other may; no cache keeps it (rows U8, U11)."""

import base64
import random
from collections.abc import AsyncGenerator

import httpx
import pytest
import pytest_asyncio

from tests.support.callers import APP, JPEG, PHOTO, by, refusal
from tests.support.service import UNHURRIED, Servers, Service
from tests.support.tokens import ask, issued, send, send_form

PAGE = "https://shop.example.org"
CROSS = {"origin": PAGE, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}
SECRET = "a secret of 32 characters or more"


@pytest_asyncio.fixture(scope="module")
async def unkeyed(servers: Servers) -> AsyncGenerator[Service]:
    """An open service that issues tokens."""
    webhook = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
    async with Service.start(
        servers.environment(), workers=0, signing_secret=SECRET, webhook_secret=webhook, **UNHURRIED
    ) as started:
        yield started


@pytest.fixture(params=["with keys", "open"])
def target(request: pytest.FixtureRequest, keyed: Service, unkeyed: Service) -> Service:
    return keyed if request.param == "with keys" else unkeyed


async def preflight(service: Service, url: str, origin: str, **more: str) -> httpx.Response:
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-other"}
    return await ask(service, "OPTIONS", url, headers={"origin": origin, "sec-fetch-site": "cross-site"} | asks | more)


def allowed(answer: httpx.Response) -> list[str]:
    return [name for name in answer.headers if name.startswith("access-control-allow-")]


async def test_the_page_of_a_token_uploads_follows_and_cancels_from_another_origin(target: Service) -> None:
    document = await issued(target, origin=PAGE)
    private = {"access-control-request-private-network": "true"}
    asked = await preflight(target, document["upload_url"], PAGE, **private)
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == PAGE
    assert asked.headers["access-control-allow-private-network"] == "true"
    assert "x-other" in asked.headers["access-control-allow-headers"]
    sent = await send(target, document["upload_url"], **CROSS)
    assert sent.status_code == 202, sent.text
    query = f"?token={document['token']}"
    for method, url in (
        ("GET", f"{document['status_url']}{query}"),
        ("GET", f"{document['result_url']}{query}"),
        ("POST", f"/upload/{document['id']}/cancel{query}"),
    ):
        answer = await ask(target, method, url, headers=CROSS)
        assert answer.status_code in {200, 202, 409}
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "origin" in answer.headers["vary"].lower()


async def test_a_page_may_read_why_its_token_is_refused(target: Service) -> None:
    document = await issued(target, origin=PAGE, max_bytes=9)
    answer = await send(target, document["upload_url"], **CROSS)
    assert refusal(answer) == (413, "upload_too_large")
    assert answer.headers["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", f"{PAGE}.evil.example", PAGE.upper(), "http://shop.example.org", f"{PAGE}:444"],
)
async def test_u8_a_page_of_another_origin_gets_nothing_by_a_token(target: Service, origin: str) -> None:
    document = await issued(target, origin=PAGE)
    asked = await preflight(target, document["upload_url"], origin)
    assert asked.status_code in {401, 403, 405}
    assert allowed(asked) == []
    for answer in (
        await send(target, document["upload_url"], origin=origin),
        await send_form_from(target, document["upload_url"], origin),
        await ask(target, "GET", f"{document['status_url']}?token={document['token']}", headers={"origin": origin}),
    ):
        assert refusal(answer) == (403, "forbidden")
        assert allowed(answer) == []
    assert (await send(target, document["upload_url"], **CROSS)).status_code == 202, "it was not used by that"


async def send_form_from(service: Service, url: str, origin: str) -> httpx.Response:
    """What a form of a page sends without asking first."""
    headers = {"origin": origin, "sec-fetch-site": "cross-site"}
    return await ask(service, "POST", url, files={"file": ("a.jpg", PHOTO)}, headers=headers)


async def test_u8_two_origins_are_none(target: Service) -> None:
    document = await issued(target, origin=PAGE)
    answer = await ask(
        target,
        "POST",
        document["upload_url"],
        content=PHOTO,
        headers=[("origin", PAGE), ("origin", "https://evil.example"), ("content-type", "image/jpeg")],
    )
    assert refusal(answer) == (403, "forbidden")


async def test_u8_who_is_no_web_page_needs_no_origin(target: Service) -> None:
    document = await issued(target, origin=PAGE)
    assert (await send_form(target, document["upload_url"])).status_code == 202


async def test_u8_a_token_for_no_page_lets_none_in(unkeyed: Service) -> None:
    document = await issued(unkeyed)
    answer = await send(unkeyed, document["upload_url"], **CROSS)
    assert refusal(answer) == (403, "forbidden")
    assert allowed(await preflight(unkeyed, document["upload_url"], PAGE)) == []
    assert (await send(unkeyed, document["upload_url"])).status_code == 202


async def test_u8_a_token_in_a_header_gives_its_page_no_permission(target: Service) -> None:
    """A preflight carries no headers, so that only a token in the URL can be known then."""
    document = await issued(target, origin=PAGE)
    assert allowed(await preflight(target, "/upload", PAGE)) == []
    answer = await ask(target, "POST", "/upload", content=PHOTO, headers=JPEG | CROSS | by(document["token"]))
    assert allowed(answer) == []


async def test_u8_a_token_does_not_open_an_open_service_to_rebound_names(unkeyed: Service) -> None:
    document = await issued(unkeyed, origin="http://evil.example:8000")
    headers = {"host": "evil.example:8000", "origin": "http://evil.example:8000"}
    assert refusal(await send(unkeyed, document["upload_url"], **headers)) == (403, "forbidden")


async def test_u8_a_listed_origin_may_use_tokens_for_no_page(keyed: Service) -> None:
    document = await issued(keyed)
    answer = await send(keyed, document["upload_url"], origin=APP)
    assert answer.status_code == 202
    assert answer.headers["access-control-allow-origin"] == APP


async def test_u11_answers_to_a_token_are_kept_by_no_cache_and_name_no_referrer(keyed: Service) -> None:
    document = await issued(keyed, origin=PAGE)
    query = f"?token={document['token']}"
    answers = [
        await send(keyed, document["upload_url"], **CROSS),
        await send(keyed, document["upload_url"], PHOTO[:-1]),
        await ask(keyed, "GET", f"{document['status_url']}{query}&wait=30"),
        await ask(keyed, "GET", f"{document['result_url']}{query}"),
        await ask(keyed, "GET", f"{document['events_url']}{query}"),
        await ask(keyed, "GET", "/uploads", headers=by(document["token"])),
        await ask(keyed, "GET", f"/uploads{query}x"),
        await preflight(keyed, document["upload_url"], PAGE),
    ]
    for answer in answers:
        assert "no-store" in answer.headers["cache-control"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert document["token"] not in answer.text + str(answer.headers)
    assert "no-transform" in answers[4].headers["cache-control"]


async def test_u12_a_token_that_is_too_long_for_a_url_is_not_issued(unkeyed: Service) -> None:
    noise = base64.b64encode(random.Random(1).randbytes(4500)).decode()
    webhook_url = f"https://93.184.216.34/{noise[:1900].replace('+', '-').replace('/', '_')}"
    longest = {"metadata": {"a": noise[-4000:]}, "webhook_url": webhook_url}
    answer = await unkeyed.client.post("/tokens", json=longest)
    assert refusal(answer) == (422, "invalid_field")
    assert "preset" in answer.json()["detail"]
    document = await issued(unkeyed, metadata={"a": noise[-4000:]})
    assert (await send(unkeyed, document["upload_url"])).status_code == 202
