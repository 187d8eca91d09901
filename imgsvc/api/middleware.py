"""Pure ASGI middleware: what holds for every request."""

import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imgsvc.api.errors import problem_response

_GOOD_ID = re.compile(r"[\w.:-]{8,128}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class RequestId:
    """Names each request: by the client's own X-Request-Id where it is a plain one, else at random."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _GOOD_ID.fullmatch(given) else secrets.token_hex(8)
        scope["imgsvc.request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)


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
