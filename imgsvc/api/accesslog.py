"""One line and one measurement a request."""

import logging
import re
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imgsvc import logs
from imgsvc.api.peer import client_address, peer_address
from imgsvc.callers import Caller, Proxies
from imgsvc.metrics import ApiMetrics

log = logging.getLogger("imgsvc.api")

_UPLOAD_ID = re.compile(r"/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:/|$)")
_PATH_CHARS = 200
_ASKED_BY_MACHINES = {"/healthz", "/readyz", "/metrics"}


class AccessLog:
    """Tells of each request by its route's template, since paths hold names that clients gave, and queries signatures.

    Args:
        templates: path template by endpoint, such as /upload/{id}.
        proxies: whose word is taken for where a request comes from; that is then `imgsvc.client` in its scope.
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
            self._tell(scope, status, received, sent, perf_counter() - begin)

    def _tell(self, scope: Scope, status: int, received: int, sent: int, seconds: float) -> None:
        route = self._templates.get(scope.get("endpoint"), "none")
        code = scope.get("imgsvc.problem") or ("internal_error" if status == 500 else None)
        caller: Caller | None = scope.get("imgsvc.caller")
        self._metrics.request(route, status, seconds)
        if code:
            self._metrics.problem(code)
        if caller and caller.owner:
            self._metrics.called(caller)
        level = logging.DEBUG if route in _ASKED_BY_MACHINES else logging.WARNING if status >= 500 else logging.INFO
        if not log.isEnabledFor(level):
            return
        own = logs.fields(
            method=scope["method"],
            route=route,
            status=status,
            bytes_in=received,
            bytes_out=sent,
            ms=round(seconds * 1000, 1),
            code=code,
            client=scope["imgsvc.client"],
            peer=_other(peer_address(scope["client"]), scope["imgsvc.client"]),
            owner=(caller and caller.owner) or None,
            key_id=(caller and caller.key_id) or None,
        )
        log.log(level, "request", extra=own)


def _bind(scope: Scope) -> None:
    """Gives all lines of this request their ids. A pipelined request is run by the one before it: forget that one's."""
    logs.clear()
    logs.bind(request_id=scope["imgsvc.request_id"], path=scope["path"][:_PATH_CHARS])
    if found := _UPLOAD_ID.search(scope["path"]):
        logs.bind(upload_id=found[1])


def _other(peer: str, client: str) -> str | None:
    """The proxy that a request came by, where it was forwarded."""
    return peer if peer != client else None
