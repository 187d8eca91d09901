"""Errors at the edge: everything that goes wrong becomes a problem document (RFC 9457)."""

import logging
from collections.abc import Mapping

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from imgsvc.domain.documents import Problem
from imgsvc.domain.problems import HTTP_PROBLEMS, CodedError

log = logging.getLogger(__name__)

RETRY_AFTER_S = 2
"""What a client is asked to wait before it repeats what was unavailable."""

RETRY_ADVICE = "Retry after the time in Retry-After."
NO_SUCH_PATH = "No such path."

NO_STORE = "no-store"
"""The Cache-Control of what is true now and may not be in a moment."""

_STATUS_CODES = {404: "not_found", 405: "method_not_allowed"}


class ProblemError(CodedError):
    """A request is refused with a code of HTTP_PROBLEMS. `detail` says what the client can do next."""

    def __init__(self, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code, detail)
        self.headers = dict(headers or {})


def problem(code: str, detail: str, path: str, request_id: str) -> bytes:
    """The body of a problem document."""
    status = HTTP_PROBLEMS[code]
    document: Problem = {
        "type": f"about:blank#{code}",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        "code": code,
        "instance": path,
        "request_id": request_id,
    }
    return orjson.dumps(document)


def problem_response(request: Request, code: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    status = HTTP_PROBLEMS[code]
    request_id = request.scope["imgsvc.request_id"]
    request.scope["imgsvc.problem"] = code
    path = request.scope.get("imgsvc.base_path", "") + request.scope["path"]
    extra = {"x-request-id": request_id, "cache-control": NO_STORE} | (
        {"retry-after": str(RETRY_AFTER_S)} if status == 503 else {}
    )
    return Response(
        problem(code, detail, path, request_id),
        status_code=status,
        headers=extra | dict(headers or {}),
        media_type="application/problem+json",
    )


async def _coded(request: Request, error: Exception) -> Response:
    assert isinstance(error, CodedError)
    if error.__cause__ is not None:
        log.warning("%s: %r", error.code, error.__cause__)
    return coded_response(request, error)


def coded_response(request: Request, error: CodedError) -> Response:
    headers = error.headers if isinstance(error, ProblemError) else None
    return problem_response(request, error.code, error.detail, headers)


async def _http(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: no such route, or not with this method."""
    assert isinstance(error, HTTPException)
    code = _STATUS_CODES[error.status_code]
    details = {
        "not_found": NO_SUCH_PATH,
        "method_not_allowed": f"This path does not support {request.method}. The Allow header lists what it supports.",
    }
    return problem_response(request, code, details[code], error.headers)


async def _disconnected(_: Request, error: Exception) -> Response:
    """The client has disconnected: nobody reads this answer, and its upload is aborted already."""
    log.info("client disconnected: %r", error)
    return Response(status_code=400)


async def _unexpected(request: Request, _: Exception) -> Response:
    """A bug. The server logs its traceback; the client gets an id to ask about."""
    return problem_response(request, "internal_error", "The service failed. Report this request_id to its operator.")


HANDLERS: dict[type[Exception] | int, ExceptionHandler] = {
    CodedError: _coded,
    HTTPException: _http,
    ClientDisconnect: _disconnected,
    Exception: _unexpected,
}
