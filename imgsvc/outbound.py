"""Guarded HTTP to addresses that clients name: webhooks, and images to fetch.

A client's URL must not become our way into the network that we stand in. Of each URL, and of each redirect anew:

* its form is judged, then its host is resolved, once, and every address that it has is judged (addresses.py); what
  leads back to this machine counts as private, whatever its number;
* the connection goes to one of these very addresses, so that a name which means something else a moment later (DNS
  rebinding) gains nothing; `Host` and TLS keep the name;
* resolving, connecting, silence and the whole have deadlines, and what is read has a bound.

No proxy, cookie, credential or pooled connection is shared with anybody.
"""

import asyncio
import errno
import re
import socket
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from imgsvc.domain.addresses import MAX_URL_BYTES, Allowed, covered, may_reach, parse_allowed, unwrapped
from imgsvc.domain.problems import CodedError
from imgsvc.runtime.settings import Settings

_RESOLVE_S = 5.0
_CONNECT_S = 5.0
_NAMES_AT_ONCE = 8
_HEADERS = {"user-agent": "imgsvc", "accept-encoding": "identity"}
_REDIRECTS = {301, 302, 303, 307, 308}
_UNSEEMLY = re.compile(r"[\x00-\x20\x7f\\]")  # what some parsers drop, and others take for something else
_NOBODYS = {socket.AF_INET: "240.0.0.1", socket.AF_INET6: "100::1"}  # reserved: no machine has them
_NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}

# one answer for a name that means nothing and for one that means a private address, so that nobody learns by
# asking which names our own network knows
_NOT_PUBLIC = "The URL's host has no public address. Name a host that can be reached from the internet."


class UrlNotAllowedError(CodedError):
    """This service does not connect to where the URL points. Asking again is of no use."""

    def __init__(self, detail: str) -> None:
        super().__init__("url_not_allowed", detail)


class UnreachableError(CodedError):
    """No answer, or not all of one. The same request may succeed later."""

    def __init__(self, detail: str = "The URL's host did not answer in time, or not in full.") -> None:
        super().__init__("fetch_failed", detail)


class TooLongError(CodedError):
    """An answer is longer than it may be."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__("fetch_failed", f"The file is larger than the {max_bytes} bytes that this service takes.")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that a request may take: all of it, redirects and body included, and between two pieces of an answer."""

    total_s: float
    idle_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Its body is read on demand, and as it came: nothing is decompressed."""

    status: int
    headers: Mapping[str, str]
    _body: aiohttp.StreamReader

    async def chunks(self, max_bytes: int) -> AsyncGenerator[bytes]:
        """The body. Raises TooLongError at its first byte too many, UnreachableError where it breaks off."""
        size = 0
        while True:
            with _failures():
                chunk = await self._body.readany()
            if not chunk:
                return
            size += len(chunk)
            if size > max_bytes:
                raise TooLongError(max_bytes)
            yield chunk


class Outbound:
    """The way out. Open it once in the life of a process with `Outbound.open`."""

    def __init__(self, allowed: tuple[Allowed, ...], denied: tuple[Allowed, ...], names: ThreadPoolExecutor) -> None:
        self._allowed = allowed
        self._denied = denied
        self._names = names

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[Self]:
        # threads of their own, so that a client's slow name server delays only what clients name
        names = ThreadPoolExecutor(_NAMES_AT_ONCE, thread_name_prefix="names")
        try:
            yield cls(parse_allowed(settings.outbound_allow), parse_allowed(settings.outbound_deny), names)
        finally:
            names.shutdown(wait=False, cancel_futures=True)

    async def check(self, url: str) -> None:
        """Judges a URL without connecting to it. What it resolves to later is judged again then.

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
        """Sends a request, and follows at most so many redirects; one more is an answer like any other.

        Raises:
            UrlNotAllowedError: the URL, or one that it redirects to, is not requested.
            UnreachableError: there is no answer in time.
        """
        target = parse_url(url)
        until = asyncio.get_running_loop().time() + timeouts.total_s
        while True:
            async with self._exchange(method, target, until, timeouts.idle_s, headers, body) as response:
                location = response.headers.get("location", "")
                if not redirects or response.status not in _REDIRECTS or not location:
                    yield Answer(response.status, response.headers, response.content)
                    return
            redirects -= 1
            target = _redirected(target, location)

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        target: URL,
        until: float,
        idle_s: float,
        headers: Mapping[str, str] | None,
        body: bytes | None,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """One request and its answer, on a connection of its own."""
        clock = asyncio.get_running_loop().time
        addresses = await self._resolve(target, min(_RESOLVE_S, until - clock()))
        left_s = max(0.001, until - clock())  # to aiohttp, 0 means no deadline
        timeout = aiohttp.ClientTimeout(total=left_s, sock_connect=_CONNECT_S, sock_read=idle_s)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=_Pinned(addresses), use_dns_cache=False, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=timeout,
            auto_decompress=False,
            trust_env=False,
        ) as session:
            with _failures():
                response = await session.request(
                    method, target, headers=_HEADERS | dict(headers or {}), data=body, allow_redirects=False
                )
            try:
                yield response
            finally:
                response.close()

    async def _resolve(self, target: URL, timeout_s: float) -> Sequence[ResolveResult]:
        """The host's addresses, each of which may be connected to."""
        host, port = target.raw_host or "", target.port or 0
        # spellings such as 0x7f.1 and 2130706433 are resolved too, as whatever they mean
        lookup = asyncio.get_running_loop().run_in_executor(self._names, _look_up, host, port)
        try:
            async with asyncio.timeout(timeout_s):
                addresses = await lookup
        except (OSError, UnicodeError, TimeoutError) as error:
            if isinstance(error, UnicodeError) or getattr(error, "errno", None) in _NO_SUCH_NAME:
                raise UrlNotAllowedError(_NOT_PUBLIC) from error
            raise UnreachableError("The URL's host cannot be resolved at the moment.") from error
        with _failures():
            is_reachable = all(self._may_reach(host, address["host"], port) for address in addresses)
        if not is_reachable:
            raise UrlNotAllowedError(_NOT_PUBLIC)
        return addresses

    def _may_reach(self, host: str, number: str, port: int) -> bool:
        if covered(host, number, port, self._denied) or not may_reach(host, number, port, self._allowed):
            return False
        return covered(host, number, port, self._allowed) or not _is_own(number)


class _Pinned(AbstractResolver):
    """Resolves to what was judged, and asks nobody."""

    def __init__(self, addresses: Sequence[ResolveResult]) -> None:
        self._addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_UNSPEC) -> list[ResolveResult]:
        return list(self._addresses)

    async def close(self) -> None:
        """Holds nothing open."""


def parse_url(text: str) -> URL:
    """A URL whose form is one that this service requests.

    Raises:
        UrlNotAllowedError: says what is wrong with it.
    """
    if len(text.encode()) > MAX_URL_BYTES:
        raise UrlNotAllowedError(f"The URL is longer than {MAX_URL_BYTES} bytes.")
    if _UNSEEMLY.search(text):
        raise UrlNotAllowedError("The URL contains white space, control characters or backslashes. Encode them.")
    try:
        url = URL(text)
    except ValueError:
        raise UrlNotAllowedError("This is not a URL.") from None
    if url.scheme not in {"http", "https"}:
        raise UrlNotAllowedError("The URL must begin with http:// or https://.")
    if "@" in url.raw_authority:
        raise UrlNotAllowedError("The URL contains a user or a password. Leave them out.")
    if not url.raw_host or "%" in url.raw_host or not url.port:
        raise UrlNotAllowedError("The URL's host or port is not one that can be reached.")
    return url


def _redirected(target: URL, location: str) -> URL:
    try:
        return parse_url(str(target.join(URL(location))))
    except ValueError:
        raise UrlNotAllowedError("The URL redirects to something that is not a URL.") from None


def _look_up(host: str, port: int) -> list[ResolveResult]:
    return [
        ResolveResult(hostname=host, host=str(address[0]), port=port, family=family, proto=proto, flags=0)
        for family, _, proto, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    ]


def _is_own(number: str) -> bool:
    """Whether an address leads to this machine itself. Nothing is sent.

    An address that can be bound is one of ours. Where any can (Linux's ip_nonlocal_bind), the address that the system
    would send from tells: the same one. It does not tell alone, since for a second address of a subnet it is the first.

    Raises:
        OSError: there are no sockets left to ask with.
    """
    ip = unwrapped(ip_address(number))
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        if _can_bind(family, str(ip)) and not _can_bind(family, _NOBODYS[family]):
            return True
        source = _source(family, str(ip))
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:  # a system without IPv6, where names still have such addresses
            return False
        raise
    return source is not None and (source == ip or source.is_loopback)


def _can_bind(family: socket.AddressFamily, number: str) -> bool:
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((number, 0))
        except OSError:  # not ours, or nobody may bind
            return False
    return True


def _source(family: socket.AddressFamily, number: str) -> IPv4Address | IPv6Address | None:
    """Our address towards `number`, or None where no way leads there. Connecting a datagram socket only chooses it."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((number, 9))
        except OSError:
            return None
        return ip_address(probe.getsockname()[0])


@contextmanager
def _failures() -> Generator[None]:
    try:
        yield
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise UnreachableError from error
