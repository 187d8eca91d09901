"""Upload tokens in requests: where they are found, and what they open.

A token comes as `Authorization: Bearer <token>` or in the query as `token`. It is taken out of the query before
anything else sees it. What a token opens is its own upload: to send it, and to follow and cancel it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import time
from urllib.parse import unquote_plus

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imgsvc.api.http.errors import NO_STORE, ProblemError
from imgsvc.domain.tokens import PREFIX, UploadToken, verify

PARAMETER = b"token"
NO_REFERRER = "no-referrer"

_SCOPE = "imgsvc.token"
_BEARER = re.compile(r"bearer +(.*)", re.IGNORECASE | re.DOTALL)
_GET = frozenset({"GET", "HEAD"})
_OPENED: tuple[tuple[frozenset[str], re.Pattern[str]], ...] = (
    (frozenset({"POST"}), re.compile("/upload")),
    (frozenset({"POST", "OPTIONS"}), re.compile("/tus")),
    (frozenset({"HEAD", "PATCH", "POST", "DELETE", "OPTIONS"}), re.compile("/tus/(?P<id>[^/]+)")),
    (_GET, re.compile("/upload/(?P<id>[^/]+)/(?:status|result|events)")),
    (frozenset({"POST"}), re.compile("/upload/(?P<id>[^/]+)/cancel")),
)
"""Methods and paths; an id in a path must be the token's."""


@dataclass(frozen=True, slots=True)
class Presented:
    """What a request has in the place of a token. `token` is None if it is not one of this service."""

    token: UploadToken | None
    is_clear: bool
    """Whether it is the only thing that the request may be allowed by."""
    in_query: bool
    text: str = field(repr=False)

    def allowed(self, request: Request) -> UploadToken:
        """Returns the token, unless it does not allow the request.

        Raises:
            ProblemError: malformed_request, unauthorized, forbidden, token_expired.
        """
        if not self.is_clear:
            raise ProblemError("malformed_request", "Send either a key or one upload token, and send it once.")
        if self.token is None:
            headers = {"www-authenticate": 'Bearer realm="imgsvc", error="invalid_token"'}
            raise ProblemError("unauthorized", "This upload token is not valid. Use it unchanged, or get one.", headers)
        if not _opens(self.token, request.method, request.scope["path"]):
            detail = "An upload token opens one upload, its status, result and events, and cancels it. Nothing else."
            raise ProblemError("forbidden", detail)
        origins = request.headers.getlist("origin")
        if self.token.origin and origins not in ([], [self.token.origin]):  # what is no web page sends none
            raise ProblemError("forbidden", "This upload token is for a page of another origin.")
        if self.token.has_expired(time()):
            raise ProblemError("token_expired", "This upload token has expired. Get a new one.")
        return self.token


class Tokens:
    """Middleware that takes the token off a request, and puts it into the scope.

    Answers to requests that had one are kept by no cache, and tell no other site their address.
    """

    def __init__(self, app: ASGIApp, secrets: Sequence[bytes]) -> None:
        self._app = app
        self._secrets = secrets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (presented := self._take(scope)):
            scope[_SCOPE] = presented
            await self._app(scope, receive, _private(send))
        else:
            await self._app(scope, receive, send)

    def _take(self, scope: Scope) -> Presented | None:
        in_query = _taken_from_query(scope)
        bearers = [match[1] for value in _authorization(scope) if (match := _BEARER.fullmatch(value))]
        found = [text for text in bearers if text.startswith(PREFIX)] + in_query
        if not found:
            return None
        is_clear = len(bearers) + len(in_query) == 1
        return Presented(verify(found[0], self._secrets) if is_clear else None, is_clear, bool(in_query), found[0])


def presented_in(scope: Scope) -> Presented | None:
    return scope.get(_SCOPE)


def token_of(request: Request) -> UploadToken | None:
    """Returns the upload token that the request is allowed by; None if it has a key, or needs none."""
    return request.scope.get("imgsvc.upload_token")


def _opens(token: UploadToken, method: str, path: str) -> bool:
    for methods, pattern in _OPENED:
        match = pattern.fullmatch(path)
        if match and method in methods:
            return match.groupdict().get("id", token.id) == token.id
    return False


def _authorization(scope: Scope) -> list[str]:
    return Headers(scope=scope).getlist("authorization")


def _taken_from_query(scope: Scope) -> list[str]:
    query: bytes = scope["query_string"]
    if PARAMETER not in query and b"%" not in query:
        return []
    found: list[str] = []
    kept: list[bytes] = []
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if unquote_plus(name.decode("latin-1")) == PARAMETER.decode():
            found.append(unquote_plus(value.decode("latin-1")))
        else:
            kept.append(part)
    scope["query_string"] = b"&".join(kept)
    return found


def _private(send: Send) -> Send:
    async def send_privately(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            is_stream = "no-transform" in headers.get("cache-control", "")
            headers["cache-control"] = f"{NO_STORE}, no-transform" if is_stream else NO_STORE
            headers["referrer-policy"] = NO_REFERRER
        await send(message)

    return send_privately
