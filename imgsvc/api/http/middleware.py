"""Pure ASGI middleware for every request: its id, one log line and one measurement, the base path, caching."""

import logging
import re
import secrets
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imgsvc.api.http.errors import NO_STORE, NO_SUCH_PATH, problem_response
from imgsvc.api.http.peer import client_address, peer_address
from imgsvc.runtime import logs
from imgsvc.runtime.api_keys import Caller, Proxies
from imgsvc.runtime.metrics import ApiMetrics

log = logging.getLogger("imgsvc.api")

_UPLOAD_ID = re.compile(r"/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:/|$)")
_PATH_CHARS = 200
_PROBED = {"/healthz", "/readyz", "/metrics"}
_REQUEST_ID = re.compile(r"[\w.:-]{8,128}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Envelope:
    """Names each request: by the client's own X-Request-Id where it is a plain one, else at random.

    And has no answer kept by a cache unless it says so itself: a CDN would keep a 404 of a file asked for too early.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = Headers(scope=scope).get("x-request-id", "")
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = secrets.token_hex(8)
        scope["imgsvc.request_id"] = request_id

        async def send_in_envelope(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers.setdefault("cache-control", NO_STORE)
            await send(message)

        await self._app(scope, receive, send_in_envelope)


class BasePath:
    """Serves everything below `IMGSVC_BASE_PATH`, and also without it, for proxies and health checks that leave it out.

    Within, paths are as if there were none; links to the client begin with the scope's `imgsvc.base_path`.
    """

    def __init__(self, app: ASGIApp, base_path: str) -> None:
        self._app = app
        self._base_path = base_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path: str = scope["path"]
            if path == self._base_path:  # the page's own links begin at the directory that it is in
                there = Response(status_code=308, headers={"location": f"{self._base_path}/"})
                await there(scope, receive, send)
                return
            scope["imgsvc.base_path"] = self._base_path
            if path.startswith(f"{self._base_path}/"):
                scope["path"] = path.removeprefix(self._base_path)
        await self._app(scope, receive, send)


class PlainPath:
    """Answers 404 to paths with control characters: a route's pattern overlooks a line feed at their end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _CONTROL.search(scope["path"]):
            answer = problem_response(Request(scope), "not_found", NO_SUCH_PATH)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


class AccessLog:
    """Logs and measures each request by its route's template: paths hold file names, and queries signatures.

    Args:
        templates: path template by endpoint, such as /upload/{id}.
        proxies: trusted to forward the client's address, which becomes `imgsvc.client` in the scope.
    """

    def __init__(self, app: ASGIApp, templates: Mapping[Any, str], metrics: ApiMetrics, proxies: Proxies) -> None:
        self._app = app
        self._templates = templates
        self._metrics = metrics
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        _bind(scope)
        scope["imgsvc.client"] = client_address(scope, self._proxies)
        begin = perf_counter()
        status = received = sent = 0

        async def count_received() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def count_sent(message: Message) -> None:
            nonlocal status, sent
            status = message.get("status", status)
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, count_received, count_sent)
        except Exception:
            status = status or 500  # answered further out
            raise
        finally:
            self._record(scope, status, received, sent, perf_counter() - begin)

    def _record(self, scope: Scope, status: int, received: int, sent: int, seconds: float) -> None:
        route = self._templates.get(scope.get("endpoint"), "none")
        code = scope.get("imgsvc.problem") or ("internal_error" if status == 500 else None)
        caller: Caller | None = scope.get("imgsvc.caller")
        self._metrics.request(route, status, seconds)
        if code:
            self._metrics.problem(code)
        if caller and caller.owner:
            self._metrics.called(caller)
        level = logging.DEBUG if route in _PROBED else logging.WARNING if status >= 500 else logging.INFO
        if not log.isEnabledFor(level):
            return
        extra = logs.fields(
            method=scope["method"],
            route=route,
            status=status,
            bytes_in=received,
            bytes_out=sent,
            ms=round(seconds * 1000, 1),
            code=code,
            client=scope["imgsvc.client"],
            peer=_proxy_of(peer_address(scope["client"]), scope["imgsvc.client"]),
            owner=(caller and caller.owner) or None,
            key_id=(caller and caller.key_id) or None,
        )
        log.log(level, "request", extra=extra)


def _bind(scope: Scope) -> None:
    """Gives all log lines of this request its ids, in place of those of the request before it on its connection."""
    logs.clear()
    logs.bind(request_id=scope["imgsvc.request_id"], path=scope["path"][:_PATH_CHARS])
    if found := _UPLOAD_ID.search(scope["path"]):
        logs.bind(upload_id=found[1])


def _proxy_of(peer: str, client: str) -> str | None:
    """The proxy that a request came by, where it was forwarded."""
    return peer if peer != client else None
