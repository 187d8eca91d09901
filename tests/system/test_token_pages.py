"""Pages of other origins in a real Chromium: the one that an upload token is for uploads with it, and no other does
(row U8).
"""

import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page

from tests.support.browser import chromium
from tests.support.callers import PHOTO, with_keys
from tests.support.peers import Listener
from tests.support.service import UNHURRIED, Servers, Service, leftovers
from tests.support.tokens import issued, send

HTML = b"<!doctype html><title>shop</title><link rel=icon href=data:,>"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (
    len(HTML),
    HTML,
)

UPLOAD = """async ([url, photo, kind]) => {
  const bytes = Uint8Array.from(atob(photo), (char) => char.charCodeAt(0));
  const form = new FormData();
  form.append("file", new File([bytes], "photo.jpg", { type: "image/jpeg" }));
  const headers = { "content-type": "image/jpeg", "x-own": "1" };
  const options = kind === "form" ? { body: form } : { body: bytes, headers };
  try {
    const answer = await fetch(url, { method: "POST", ...options });
    return { status: answer.status, body: await answer.json(), location: answer.headers.get("location") };
  } catch (error) {
    return { status: 0, error: String(error) };
  }
}"""
FOLLOW = """async ([url]) => {
  const states = [];
  const events = new EventSource(url);
  return await new Promise((resolve, reject) => {
    events.addEventListener("status", (event) => {
      const status = JSON.parse(event.data).status;
      states.push(status);
      if (["SUCCESS", "FAILURE", "CANCELLED"].includes(status)) { events.close(); resolve(states); }
    });
    events.onerror = () => reject(new Error("no events"));
  });
}"""
READ = (
    "async ([url]) => { const answer = await fetch(url); return { status: answer.status, body: await answer.json() }; }"
)


@pytest_asyncio.fixture(scope="module", params=["with keys", "open"])
async def target(request: pytest.FixtureRequest, servers: Servers) -> AsyncGenerator[Service]:
    if request.param == "open":
        secret = "a secret of 32 characters or more"
        started = Service.start(servers.environment(), signing_secret=secret, **UNHURRIED)
    else:
        started = with_keys(servers, **UNHURRIED)
    async with started as service:
        yield service


@asynccontextmanager
async def pages() -> AsyncGenerator[tuple[Page, Page, str]]:
    """Two pages of two origins, and the first one's. Both are of other sites than the service."""
    async with Listener.start(ANSWER) as one, Listener.start(ANSWER) as other, chromium() as browser:
        mine, theirs = await browser.new_page(), await browser.new_page()
        await mine.goto(f"http://localhost:{one.port}/")
        await theirs.goto(f"http://localhost:{other.port}/")
        yield mine, theirs, f"http://localhost:{one.port}"


def photo() -> str:
    return base64.b64encode(PHOTO).decode()


@pytest.mark.parametrize("kind", ["form", "raw"])
async def test_u8_a_page_uploads_with_its_token_and_follows_the_upload(target: Service, kind: str) -> None:
    async with pages() as (mine, theirs, origin):
        document = await issued(target, origin=origin, preset="default", content_types=["image/jpeg"])
        query, url = f"?token={document['token']}", target.url + document["upload_url"]
        refused = await theirs.evaluate(UPLOAD, [url, photo(), kind])
        assert refused["status"] == 0, "nothing of an answer can be read, and nothing was made"
        assert not [key for key in leftovers(target.environment)["objects"] if document["id"] in key]
        sent = await mine.evaluate(UPLOAD, [url, photo(), kind])
        assert (sent["status"], sent["body"]["id"]) == (202, document["id"]), sent
        assert sent["location"] == document["status_url"]
        assert (await mine.evaluate(FOLLOW, [f"{target.url}{document['events_url']}{query}"]))[-1] == "SUCCESS"
        result: Any = await mine.evaluate(READ, [f"{target.url}{document['result_url']}{query}"])
        assert result["body"]["status"] == "SUCCESS"
        again = await mine.evaluate(UPLOAD, [url, photo(), "raw"])
        assert (again["status"], again["body"]) == (202, sent["body"])
        other = await mine.evaluate(UPLOAD, [url, base64.b64encode(PHOTO[:-1]).decode(), kind])
        assert (other["status"], other["body"]["code"]) == (409, "token_used"), "it may read why"


async def test_u8_a_page_whose_token_is_for_another_learns_nothing_of_the_upload(target: Service) -> None:
    async with pages() as (_, theirs, origin):
        document = await issued(target, origin=origin)
        assert (await send(target, document["upload_url"])).status_code == 202
        url = f"{target.url}{document['status_url']}?token={document['token']}"
        assert await theirs.evaluate(f"url => ({READ})([url]).then(() => 'read', () => 'refused')", url) == "refused"
