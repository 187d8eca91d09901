"""The guarded way out: nothing that a client names leads into our own network."""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from ipaddress import ip_address
from time import monotonic
from unittest.mock import patch

import pytest
import pytest_asyncio

from imgsvc.domain.addresses import is_public, may_reach, parse_destinations
from imgsvc.outbound import Outbound, Timeouts, TooLongError, UnreachableError, UrlNotAllowedError
from tests.support.peers import EVIL_URLS, OK, Endless, Listener
from tests.support.service import settings_of

TIMEOUTS = Timeouts(total_s=5, idle_s=5)


@pytest_asyncio.fixture
async def canary() -> AsyncGenerator[Listener]:
    """Stands where nobody may get to."""
    async with Listener.start() as listener:
        yield listener
        assert listener.connections == 0


def opened(allow: str = "") -> AbstractAsyncContextManager[Outbound]:
    return Outbound.open(settings_of({"IMGSVC_REDIS_URL": "redis://localhost", "IMGSVC_OUTBOUND_ALLOW": allow}))


async def get(url: str, allow: str = "", *, timeouts: Timeouts = TIMEOUTS, max_bytes: int = 100) -> bytes:
    """What a fetch gets there, redirects followed."""
    async with opened(allow) as out, out.request("GET", url, timeouts, redirects=3) as answer:
        return b"".join([chunk async for chunk in answer.chunks(max_bytes)])


@pytest.mark.parametrize("url", EVIL_URLS)
async def test_h22_an_evil_url_is_refused_before_any_connection(canary: Listener, url: str) -> None:
    evil = url.format(port=canary.port)
    async with opened() as out:
        with pytest.raises(UrlNotAllowedError):
            await out.check(evil)
        with pytest.raises(UrlNotAllowedError):
            async with out.request("GET", evil, TIMEOUTS):
                pass


async def test_h22_a_redirect_into_our_network_is_not_followed(canary: Listener) -> None:
    redirect = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2:{canary.port}/\r\nContent-Length: 0\r\n\r\n"
    async with Listener.start(redirect.encode()) as peer:
        with pytest.raises(UrlNotAllowedError):
            await get(f"http://127.0.0.1:{peer.port}/", allow="127.0.0.1")


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://[::1", "//user@127.0.0.1/"])
async def test_h22_a_redirect_to_an_evil_url_is_refused(location: str) -> None:
    redirect = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    async with Listener.start(redirect.encode()) as peer:
        with pytest.raises(UrlNotAllowedError):
            await get(f"http://127.0.0.1:{peer.port}/", allow="127.0.0.1")


class Names:
    """A name server that answers with the next of its addresses each time."""

    def __init__(self, *answers: str) -> None:
        self.asked: list[str] = []
        self._answers = list(answers)

    def __call__(self, host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        self.asked.append(host)
        found = self._answers.pop(0).split()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]


async def test_h22_a_name_that_is_rebound_after_it_was_judged_gains_nothing(canary: Listener) -> None:
    """127.0.0.1 stands for the public address here, and the canary for what is behind 127.0.0.2."""
    async with Listener.start() as peer:
        names = Names("127.0.0.1", "127.0.0.2")
        with patch.object(socket, "getaddrinfo", names):
            assert await get(f"http://rebound.test:{peer.port}/", allow="127.0.0.1") == b"hello"
            assert names.asked == ["rebound.test"], "it is resolved once, and judged and connected to are the same"
            with pytest.raises(UrlNotAllowedError):
                await get(f"http://rebound.test:{canary.port}/", allow="127.0.0.1")


async def test_h22_one_private_address_among_several_is_one_too_many(canary: Listener) -> None:
    with (
        patch.object(socket, "getaddrinfo", Names("127.0.0.1 127.0.0.2")),
        pytest.raises(UrlNotAllowedError),
    ):
        await get(f"http://mixed.test:{canary.port}/", allow="127.0.0.2")


async def test_h22_a_slow_drip_ends_with_the_whole_deadline() -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with Listener.start(drip) as peer:
        begin = monotonic()
        with pytest.raises(UnreachableError):
            await get(f"http://127.0.0.1:{peer.port}/", "127.0.0.1", timeouts=Timeouts(0.5, 0.4), max_bytes=1000)
        assert monotonic() - begin < 10, "1000 drops take 50 s"


async def test_a_silent_peer_costs_only_the_idle_deadline() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with Listener.start(silent) as peer:
        begin = monotonic()
        with pytest.raises(UnreachableError):
            await get(f"http://127.0.0.1:{peer.port}/", "127.0.0.1", timeouts=Timeouts(20, 0.2))
        assert monotonic() - begin < 10


async def test_h22_of_ten_gigabytes_no_more_is_read_than_is_taken() -> None:
    endless = Endless()
    async with Listener.start(endless) as peer:
        with pytest.raises(TooLongError):
            await get(f"http://127.0.0.1:{peer.port}/", "127.0.0.1", max_bytes=1024 * 1024)
    assert endless.sent < 32 * 1024 * 1024, "what the sockets between them hold, too"


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhell", b"nonsense\r\n\r\n", b""])
async def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(answer: bytes) -> None:
    async with Listener.start(answer) as peer:
        with pytest.raises(UnreachableError):
            await get(f"http://127.0.0.1:{peer.port}/", "127.0.0.1")


async def test_three_redirects_are_followed_and_no_fourth() -> None:
    async def shorten(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = int(peer.requests[-1].split()[1].strip(b"/"))
        writer.write(OK if left == 0 else b"HTTP/1.1 302 Found\r\nLocation: /%d\r\n\r\n" % (left - 1))

    async with Listener.start(shorten) as peer:
        for hops, status in ((3, 200), (4, 302)):
            url = f"http://127.0.0.1:{peer.port}/{hops}"
            async with opened("127.0.0.1") as out, out.request("GET", url, TIMEOUTS, redirects=3) as answer:
                assert answer.status == status


async def test_host_and_tls_keep_the_name_while_the_connection_goes_to_the_address() -> None:
    told: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # it has no certificate: nobody gets past its hello
    context.sni_callback = lambda _socket, name, _context: told.append(name)
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server, Listener.start() as peer:
        port = server.sockets[0].getsockname()[1]
        with patch.object(socket, "getaddrinfo", Names("127.0.0.1", "127.0.0.1")):
            with pytest.raises(UnreachableError):
                await get(f"https://name.test:{port}/", allow="name.test")
            await get(f"http://name.test:{peer.port}/", allow="name.test")
    assert told == ["name.test"]
    assert f"Host: name.test:{peer.port}\r\n".encode() in peer.requests[0]


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch, canary: Listener) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    async with Listener.start() as peer:
        assert await get(f"http://127.0.0.1:{peer.port}/", "127.0.0.1") == b"hello"


async def test_a_name_that_cannot_be_resolved_now_may_be_asked_for_again() -> None:
    away = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    with patch.object(socket, "getaddrinfo", side_effect=away), pytest.raises(UnreachableError):
        await get("http://name.test/")


@pytest.mark.parametrize(
    ("allow", "url", "allowed"),
    [
        ("hooks", "hooks:80 10.0.0.5", True),
        ("hooks", "hooks.:80 10.0.0.5", True),
        ("hooks:8080", "hooks:80 10.0.0.5", False),
        ("hooks:8080", "HOOKS:8080 10.0.0.5", True),
        ("hooks", "books:80 10.0.0.5", False),
        ("10.0.0.0/8", "any:80 10.0.0.5", True),
        ("10.0.0.0/8", "any:80 ::ffff:10.0.0.5", True),
        ("10.0.0.0/8", "any:80 11.0.0.5", True),
        ("10.0.0.0/8", "any:80 192.168.0.1", False),
        ("127.0.0.1:9000", "127.0.0.1:9000 127.0.0.1", True),
        ("127.0.0.1:9000", "127.0.0.1:9001 127.0.0.1", False),
        ("[fd00::1]:80, [fd00::2], fd01::/16", "any:80 fd00::1", True),
        ("[fd00::1]:80, [fd00::2], fd01::/16", "any:99 fd00::2", True),
        ("[fd00::1]:80, [fd00::2], fd01::/16", "any:99 fd01::9", True),
        ("", "any:80 fd01::9", False),
    ],
)
def test_private_destinations_are_reached_where_an_operator_names_them(allow: str, url: str, allowed: bool) -> None:
    destination, address = url.split()
    host, _, port = destination.rpartition(":")
    assert may_reach(host, address, int(port), parse_destinations(allow)) is allowed


@pytest.mark.parametrize("entry", ["http://hooks", "hooks:0", "hooks:65536", "10.0.0.1/8", "hooks/8", "*", "[fd00::1"])
def test_a_destination_that_is_none_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="is no host, host:port or network"):
        parse_destinations(f"good,{entry}")


NOT_PUBLIC = (
    *(
        "0.0.0.1",
        "10.9.9.9",
        "100.64.0.1",
        "127.0.0.1",
        "168.63.129.16",
        "169.254.1.1",
        "172.31.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
    ),
    *(
        "::",
        "::1",
        "::ffff:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:a00:1::",
        "3fff::1",
        "fc00::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ),
)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_of_ours_or_of_nobody_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


PUBLIC = ("1.1.1.1", "93.184.216.34", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2606:4700::1111")


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_that_the_internet_routes_is_public(address: str) -> None:
    assert is_public(ip_address(address))
