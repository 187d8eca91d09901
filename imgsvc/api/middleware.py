"""Pure ASGI middleware: what holds for every request."""

import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imgsvc.api.errors import NOT_KEPT, problem_response

_GOOD_ID = re.compile(r"[\w.:-]{8,128}", re.ASCII)
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
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _GOOD_ID.fullmatch(given) else secrets.token_hex(8)
        scope["imgsvc.request_id"] = request_id

        async def send_in_it(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers.setdefault("cache-control", NOT_KEPT)
            await send(message)

        await self._app(scope, receive, send_in_it)


class BasePath:
    """Serves everything below `IMGSVC_BASE_PATH`, and also without it, for proxies and health checks that leave it out.

    Behind this, paths are as if there were none; `imgsvc.base_path` is for those who tell a client one.
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
    """Knows nothing at paths with control characters: a route's pattern overlooks a line feed at their end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _CONTROL.search(scope["path"]):
            answer = problem_response(Request(scope), "not_found", "There is nothing at this path.")
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)
