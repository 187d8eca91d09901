"""Who may call what.

While no key is configured the service is open: whoever reaches it may use it, and what must be kept out are foreign
web pages in a visitor's browser. With keys, each call carries one, and sees the uploads of its key's name alone, unless
its owner is an administrator.
"""

import re
from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from imgsvc.api.http.errors import ProblemError, coded_response
from imgsvc.api.http.rate_limit import LEFT, POLICY
from imgsvc.api.http.tokens import Presented, presented_in
from imgsvc.domain.tokens import UploadToken
from imgsvc.jobs.types import ANY_OWNER
from imgsvc.runtime.api_keys import ANY_HOST, TOKEN_KEY_ID, Caller, parse_hosts, parse_origins
from imgsvc.runtime.owners import OwnersTable
from imgsvc.runtime.settings import Settings

_PUBLIC = re.compile(r"/|/(?:admin|healthz|readyz|openapi\.json)|/(?:docs|files|static)(?:/.*)?", re.DOTALL)
"""What needs no key: health, the pages, docs and their assets; and files, which have signatures."""

_READING = {"GET", "HEAD", "OPTIONS"}
_OWN_SITE = {"same-origin", "none"}
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::[0-9]{1,5})?")
TUS_HEADERS = (
    *("Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm"),
    *("Upload-Offset", "Upload-Length", "Upload-Defer-Length", "Upload-Metadata", "Upload-Expires"),
)
"""Headers of answers that clients of tus in browsers read."""

_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)

_ANONYMOUS = Caller("", "")
_CHALLENGE = {"www-authenticate": 'Bearer realm="imgsvc"'}

Rule = Callable[[Request, Presented | None], Caller]
"""Returns the caller of a request, which may have an upload token, or raises ProblemError."""


class Access:
    """Middleware that applies the rule to each request before its body is read."""

    def __init__(self, app: ASGIApp, settings: Settings, owners: OwnersTable) -> None:
        self._app = app
        self._rule: Rule = WithKeys(owners) if settings.has_keys else WhileOpen(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            try:
                presented = None if is_public(request) else presented_in(scope)
                scope["imgsvc.caller"] = self._rule(request, presented)
                scope["imgsvc.upload_token"] = presented and presented.token
            except ProblemError as error:
                await coded_response(request, error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def caller_of(request: Request) -> Caller:
    """Who called."""
    return request.scope["imgsvc.caller"]


def owner_of(request: Request) -> str:
    """The owner of the uploads that the request may see: the name of its key, "" while the service is open."""
    return caller_of(request).owner


def owner_acted_for(request: Request) -> str:
    """The owner whose uploads a call by id may be about: ANY_OWNER for an administrator."""
    return ANY_OWNER if caller_of(request).admin else owner_of(request)


def is_public(request: Request) -> bool:
    return _PUBLIC.fullmatch(request.scope["path"]) is not None


def _by_token(token: UploadToken) -> Caller:
    return Caller(token.owner, TOKEN_KEY_ID)


class WithKeys:
    """Requires `Authorization: Bearer <key>` or an upload token, except for what is public. Keys are as of now."""

    def __init__(self, owners: OwnersTable) -> None:
        self._owners = owners

    def __call__(self, request: Request, presented: Presented | None) -> Caller:
        if presented:
            return self._by_token(presented.allowed(request))
        headers = request.headers.getlist("authorization")
        bearer = _BEARER.fullmatch(headers[0]) if len(headers) == 1 else None
        caller = self._owners.current.keys.caller(bearer[1]) if bearer else None
        if caller is None:
            if is_public(request):
                return _ANONYMOUS
            detail = "Send an API key as 'Authorization: Bearer <key>'."
            if bearer:
                detail = "This API key is not valid. Send the key alone, without its owner's name."
            raise ProblemError("unauthorized", detail, _CHALLENGE)
        return caller

    def _by_token(self, token: UploadToken) -> Caller:
        """A token ends with the last key of its owner."""
        caller = _by_token(token)
        if not self._owners.current.keys.let_in(caller):
            raise ProblemError("unauthorized", "The owner of this upload token has no key any more.", _CHALLENGE)
        return caller


class WhileOpen:
    """Refuses foreign pages, which could read by a name of their own that resolves to this service (DNS rebinding), and
    write by a form.
    """

    def __init__(self, settings: Settings) -> None:
        self._hosts = parse_hosts(settings.allowed_hosts) | {settings.host.lower()}
        self._origins = parse_origins(settings.cors_origins)

    def __call__(self, request: Request, presented: Presented | None) -> Caller:
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or not self._is_allowed(hosts[0], _reached(request.scope)):
            detail = "This Host is not allowed. The operator can add it to IMGSVC_ALLOWED_HOSTS."
            raise ProblemError("forbidden", detail)
        token = presented and presented.allowed(request)
        if token and token.owner:
            raise ProblemError("unauthorized", "This upload token is from when this service had keys.", _CHALLENGE)
        is_expected = token and token.origin and request.headers.getlist("origin") == [token.origin]
        if request.method not in _READING and not is_expected and self._is_foreign(request):
            detail = (
                "Cross-site requests are not allowed. The operator can add the page's origin to IMGSVC_CORS_ORIGINS."
            )
            raise ProblemError("forbidden", detail)
        return _by_token(token) if token else _ANONYMOUS

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


class Cors:
    """Starlette's middleware, for the configured origins, and where a URL has an upload token for the token's.

    Others get no CORS header, which keeps them out.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._origins = parse_origins(settings.cors_origins)
        self._configured = _cors(app, self._origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        origin, presented = Headers(scope=scope).get("origin", ""), presented_in(scope)
        # an expired token counts: its page may read that it has expired
        if origin and presented and presented.in_query and presented.token and presented.token.origin == origin:
            await _cors(self._app, {origin}, allow_private_network=True)(scope, receive, send)
        elif origin in self._origins or (self._origins and scope["method"] != "OPTIONS"):
            await self._configured(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _cors(app: ASGIApp, origins: Collection[str], *, allow_private_network: bool = False) -> CORSMiddleware:
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH"),
        allow_headers=("*",),
        expose_headers=("Location", "X-Request-Id", "Retry-After", "Repr-Digest", POLICY, LEFT, *TUS_HEADERS),
        allow_private_network=allow_private_network,
    )
