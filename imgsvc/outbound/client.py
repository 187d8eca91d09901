"""Requests to URLs that clients name: their redirects, deadlines and errors."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, cast

import aiohttp
from aiohttp.abc import ResolveResult
from yarl import URL

from imgsvc.domain.addresses import Destination, covered, may_reach, parse_destinations
from imgsvc.outbound.errors import TooLongError, UnreachableError, UrlNotAllowedError
from imgsvc.outbound.hosts import PinnedResolver, is_own, look_up
from imgsvc.outbound.protocol import BoundedResponseHandler
from imgsvc.outbound.urls import parse_url, redirected
from imgsvc.runtime.settings import Settings

_RESOLVE_S = 5.0
_CONNECT_S = 5.0
_LOOK_UPS_AT_ONCE = 8
_SLOW_LOOK_UP = 4
"""How many deadlines a look-up takes of which nobody answers: its thread is not free before."""

_HEADERS = {"user-agent": "imgsvc", "accept-encoding": "identity"}
_REDIRECTS = {301, 302, 303, 307, 308}
_NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}

# the same text for an unknown name and for one with a private address, so that a client cannot find out which names
# the internal network knows
_NOT_PUBLIC = "The URL's host has no public address. Name a host that can be reached from the internet."


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines of a request, in seconds.

    `total_s` covers all of it, redirects and body included; `idle_s` is the longest pause between two reads.
    """

    total_s: float
    idle_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. Its body is read on demand, and is not decompressed."""

    status: int
    headers: Mapping[str, str]
    _body: aiohttp.StreamReader

    async def chunks(self, max_bytes: int) -> AsyncGenerator[bytes]:
        """Yields the body.

        Raises:
            TooLongError: the body is longer than `max_bytes`.
            UnreachableError: the body is incomplete.
        """
        size = 0
        while True:
            with _translated_errors():
                chunk = await self._body.readany()
            if not chunk:
                return
            size += len(chunk)
            if size > max_bytes:
                raise TooLongError(max_bytes)
            yield chunk


class Outbound:
    """Guarded HTTP client. Open it once in the life of a process with `Outbound.open`."""

    def __init__(
        self, allowed: tuple[Destination, ...], denied: tuple[Destination, ...], look_ups: ThreadPoolExecutor
    ) -> None:
        self._allowed = allowed
        self._denied = denied
        self._look_ups = look_ups

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: Settings, destination: str = "", at_once: int = _LOOK_UPS_AT_ONCE
    ) -> AsyncGenerator[Self]:
        """Opens a client for so many requests at once: none of them waits until slow name servers answer another.

        `destination` is a host:port that the operator has named, and may be private.
        """
        look_ups = ThreadPoolExecutor(_SLOW_LOOK_UP * at_once, thread_name_prefix="look-up")
        try:
            allowed = parse_destinations(f"{settings.outbound_allow},{destination}")
            yield cls(allowed, parse_destinations(settings.outbound_deny), look_ups)
        finally:
            look_ups.shutdown(wait=False, cancel_futures=True)

    async def check(self, url: str) -> None:
        """Checks a URL without connecting to it. A request checks again what its host resolves to by then.

        Raises:
            UrlNotAllowedError: it will never be requested.
            UnreachableError: its host cannot be resolved at the moment.
        """
        await self._resolve(parse_url(url), _RESOLVE_S)

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        timeouts: Timeouts,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        redirects: int = 0,
    ) -> AsyncGenerator[Answer]:
        """Sends a request and follows at most `redirects` redirects; a further one is returned as the answer.

        Raises:
            UrlNotAllowedError: the URL, or one that it redirects to, is not requested.
            UnreachableError: there is no answer in time.
        """
        target = parse_url(url)
        deadline = asyncio.get_running_loop().time() + timeouts.total_s
        while True:
            async with self._exchange(method, target, deadline, timeouts.idle_s, headers, body) as response:
                location = response.headers.get("location", "")
                if not redirects or response.status not in _REDIRECTS or not location:
                    yield Answer(response.status, response.headers, response.content)
                    return
            redirects -= 1
            target = redirected(target, location)

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        target: URL,
        deadline: float,
        idle_s: float,
        headers: Mapping[str, str] | None,
        body: bytes | None,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Sends one request, on a connection of its own, and receives the head of its answer."""
        now = asyncio.get_running_loop().time
        addresses = await self._resolve(target, min(_RESOLVE_S, deadline - now()))
        left_s = max(0.001, deadline - now())  # to aiohttp, 0 means no deadline
        timeout = aiohttp.ClientTimeout(total=left_s, sock_connect=_CONNECT_S, sock_read=idle_s)
        async with aiohttp.ClientSession(
            connector=_connector(addresses),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=timeout,
            auto_decompress=False,
            trust_env=False,
        ) as session:
            with _translated_errors():
                response = await session.request(
                    method, target, headers=_HEADERS | dict(headers or {}), data=body, allow_redirects=False
                )
            try:
                yield response
            finally:
                response.close()

    async def _resolve(self, target: URL, timeout_s: float) -> Sequence[ResolveResult]:
        """Resolves the URL's host to its addresses, all of which may be connected to."""
        host, port = target.raw_host or "", target.port or 0
        # notations such as 0x7f.1 and 2130706433 are resolved too, to the addresses that they stand for
        lookup = asyncio.get_running_loop().run_in_executor(self._look_ups, look_up, host, port)
        try:
            async with asyncio.timeout(timeout_s):
                addresses = await lookup
        except (OSError, UnicodeError, TimeoutError) as error:
            if isinstance(error, UnicodeError) or getattr(error, "errno", None) in _NO_SUCH_NAME:
                raise UrlNotAllowedError(_NOT_PUBLIC) from error
            raise UnreachableError("The URL's host cannot be resolved at the moment.") from error
        with _translated_errors():
            is_reachable = all(self._may_reach(host, address["host"], port) for address in addresses)
        if not is_reachable:
            raise UrlNotAllowedError(_NOT_PUBLIC)
        return addresses

    def _may_reach(self, host: str, address: str, port: int) -> bool:
        if covered(host, address, port, self._denied) or not may_reach(host, address, port, self._allowed):
            return False
        return covered(host, address, port, self._allowed) or not is_own(address)


def _connector(addresses: Sequence[ResolveResult]) -> aiohttp.TCPConnector:
    connector = aiohttp.TCPConnector(resolver=PinnedResolver(addresses), use_dns_cache=False, force_close=True)
    # what the connector makes a connection's protocol with; not public
    cast(Any, connector)._factory = partial(BoundedResponseHandler, loop=asyncio.get_running_loop())
    return connector


@contextmanager
def _translated_errors() -> Generator[None]:
    try:
        yield
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise UnreachableError from error
