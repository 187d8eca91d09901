"""Requests that offer to speak something else than HTTP/1.1 are answered as the plain ones that they are also.

The JDK's HttpClient, and what is built on it, offers HTTP/2 with the first request of each connection.
"""

import asyncio
import shutil
from collections.abc import Callable, Iterable

import pytest

from tests.support import images
from tests.support.service import Service
from tests.support.wire import Answer, Connection, request

PHOTO = images.photo(64, 48)
OFFERS = {
    "h2c": "Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAA",
    "websocket": "Connection: keep-alive, Upgrade\nUpgrade: websocket\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    "anything": "Connection: upgrade\nUpgrade: foo/2, bar",
}
STATUS = request("GET /healthz HTTP/1.1")


def by_length(offer: str, body: bytes) -> bytes:
    return request(f"POST /upload HTTP/1.1\nContent-Type: image/jpeg\nContent-Length: {len(body)}\n{offer}", body)


def in_chunks(offer: str, body: bytes) -> bytes:
    pieces = [body[at : at + 500] for at in range(0, len(body), 500)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])
    return request(f"POST /upload HTTP/1.1\nContent-Type: image/jpeg\nTransfer-Encoding: chunked\n{offer}", framed)


async def answers(service: Service, pieces: Iterable[bytes], count: int) -> list[Answer]:
    """What is answered on one connection to what is sent in `pieces`, each a packet of its own."""
    async with Connection.to(service.port) as connection:
        for piece in pieces:
            await connection.send(piece)
            await asyncio.sleep(0)
        return [await connection.answer() for _ in range(count)]


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS.keys())
@pytest.mark.parametrize("framed", [by_length, in_chunks])
async def test_h26_an_offered_upgrade_costs_a_request_nothing_of_its_body(
    service: Service, offer: str, framed: Callable[[str, bytes], bytes]
) -> None:
    upload, plain = framed(offer, PHOTO), framed("Accept: */*", PHOTO)
    found = await answers(service, [upload + STATUS + upload + plain + STATUS], 5)
    assert [answer.status for answer in found] == [202, 200, 202, 202, 200]
    originals = [
        (await service.result(answer.json["id"]))["original"]["bytes"] for answer in found if answer.status == 202
    ]
    assert originals == [len(PHOTO)] * 3


async def test_h26_wherever_the_network_cuts_an_offered_upgrade(service: Service) -> None:
    body = b"no image, but forty bytes of a body, all"
    upload = by_length(OFFERS["h2c"], body) + STATUS
    for at in range(1, len(upload)):
        found = await answers(service, [upload[:at], upload[at:]], 1)
        assert (found[0].status, found[0].code) == (415, "unsupported_media_type"), at


async def test_h26_an_offer_among_as_many_headers_as_there_may_be(service: Service) -> None:
    others = "\n".join(f"X-{number}: 1" for number in range(94))
    found = await answers(service, [by_length(f"{OFFERS['h2c']}\n{others}", PHOTO)], 1)
    assert found[0].status == 202


async def test_h26_an_offer_without_a_body_leaves_the_connection_as_it_was(service: Service) -> None:
    asked = request(f"GET /healthz HTTP/1.1\n{OFFERS['h2c']}")
    found = await answers(service, [asked + asked, STATUS], 3)
    assert [(answer.status, answer.headers["connection"]) for answer in found] == [(200, "keep-alive")] * 3


async def test_h26_a_body_is_asked_for_where_its_sender_waits_to_be(service: Service) -> None:
    head, body = by_length(f"Expect: 100-continue\n{OFFERS['h2c']}", PHOTO).split(b"\r\n\r\n", 1)
    async with Connection.to(service.port) as connection:
        await connection.send(head + b"\r\n\r\n")
        assert await connection.read_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await connection.send(body)
        assert (await connection.answer()).status == 202


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
async def test_h26_curl_uploads_with_its_http2_option(service: Service) -> None:
    curl = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "--http2", "--max-time", "30", "-F", "file=@-;filename=photo.jpg", f"{service.url}/upload"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await curl.communicate(PHOTO)
    assert b'"status_url"' in said, said
