"""Who may call what.

While no key is configured the service is open: whoever reaches it may use it, and what must be kept out are foreign
web pages in a visitor's browser. With keys, each call carries one, and sees the uploads of its key's name alone.
"""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from imgsvc.api.http.errors import ProblemError, coded_response
from imgsvc.runtime.api_keys import ANY_HOST, Caller, Keys, parse_hosts, parse_origins
from imgsvc.runtime.settings import Settings

_PUBLIC = re.compile(r"/|/(?:healthz|readyz|openapi\.json)|/(?:docs|files|static)(?:/.*)?", re.DOTALL)
"""What needs no key: health, the page, docs and their assets; and files, which have signatures."""

_READING = {"GET", "HEAD", "OPTIONS"}
_OWN_SITE = {"same-origin", "none"}
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::[0-9]{1,5})?")
_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)

_ANONYMOUS = Caller("", "")

Rule = Callable[[Request], Caller]
"""Returns the caller of a request, or raises ProblemError."""


class Access:
    """Middleware that applies the rule to each request before its body is read."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        keys = settings.known_keys
        self._rule: Rule = WithKeys(keys) if keys else WhileOpen(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            try:
                scope["imgsvc.caller"] = self._rule(request)
            except ProblemError as error:
                await coded_response(request, error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def owner_of(request: Request) -> str:
    """The owner of the uploads that the request may see: the name of its key, "" while the service is open."""
    return request.scope["imgsvc.caller"].owner


class WithKeys:
    """Requires `Authorization: Bearer <key>`, except for what is public."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def __call__(self, request: Request) -> Caller:
        headers = request.headers.getlist("authorization")
        bearer = _BEARER.fullmatch(headers[0]) if len(headers) == 1 else None
        caller = self._keys.caller(bearer[1]) if bearer else None
        if caller is None:
            if _PUBLIC.fullmatch(request.scope["path"]):
                return _ANONYMOUS
            detail = "Send an API key as 'Authorization: Bearer <key>'."
            if bearer:
                detail = "This API key is not valid. Send the key alone, without its owner's name."
            raise ProblemError("unauthorized", detail, {"www-authenticate": 'Bearer realm="imgsvc"'})
        return caller


class WhileOpen:
    """Refuses foreign pages, which could read by a name of their own that resolves to this service (DNS rebinding), and
    write by a form.
    """

    def __init__(self, settings: Settings) -> None:
        self._hosts = parse_hosts(settings.allowed_hosts) | {settings.host.lower()}
        self._origins = parse_origins(settings.cors_origins)

    def __call__(self, request: Request) -> Caller:
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or not self._is_allowed(hosts[0], _reached(request.scope)):
            detail = "This Host is not allowed. The operator can add it to IMGSVC_ALLOWED_HOSTS."
            raise ProblemError("forbidden", detail)
        if request.method not in _READING and self._is_foreign(request):
            detail = (
                "Cross-site requests are not allowed. The operator can add the page's origin to IMGSVC_CORS_ORIGINS."
            )
            raise ProblemError("forbidden", detail)
        return _ANONYMOUS

    def _is_allowed(self, host: str, reached: IPv4Address | IPv6Address | None) -> bool:
        """`reached` is the address that the connection came to, of those that the service listens on."""
        match = _HOST.fullmatch(host.lower())
        if match is None:
            return False
        name = match[1]
        return ANY_HOST in self._hosts or name in self._hosts or _is_own(name.strip("[]"), reached)

    def _is_foreign(self, request: Request) -> bool:
        origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
        if origin in self._origins:
            return False
        if site is not None and site not in _OWN_SITE:
            return True
        return origin is not None and origin.partition("://")[2].lower() != request.headers["host"].lower()


def _is_own(host: str, reached: IPv4Address | IPv6Address | None) -> bool:
    """Whether it is loopback or the address that was reached: no foreign page has an address as its name."""
    try:
        address = _plain(ip_address(host))
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address == reached


def _reached(scope: Scope) -> IPv4Address | IPv6Address | None:
    """The address that the connection has reached; None where that is a Unix socket."""
    host, port = scope.get("server") or (None, None)
    if host is None or port is None:
        return None
    return _plain(ip_address(host))


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address where a socket for both families shows it as an IPv6 one, and no scope: both name one place."""
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or IPv6Address(int(address))


class Cors(CORSMiddleware):
    """Starlette's, for the configured origins; others get no CORS header, which keeps them out."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        super().__init__(
            app,
            allow_origins=parse_origins(settings.cors_origins),
            allow_methods=("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH"),
            allow_headers=("*",),
            expose_headers=("Location", "X-Request-Id", "Retry-After"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_preflight = scope["type"] == "http" and scope["method"] == "OPTIONS"
        if is_preflight and not self.is_allowed_origin(Request(scope).headers.get("origin", "")):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)
