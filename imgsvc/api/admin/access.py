"""Who is an operator."""

from collections.abc import Awaitable, Callable
from functools import wraps

from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.http.access import caller_of
from imgsvc.api.http.context import services_of
from imgsvc.api.http.errors import ProblemError
from imgsvc.runtime import checks
from imgsvc.runtime.settings import Settings

Handler = Callable[[Request], Awaitable[Response]]


def for_operators(handler: Handler) -> Handler:
    """Refuses all others."""

    @wraps(handler)
    async def guarded(request: Request) -> Response:
        settings = services_of(request).settings
        if not caller_of(request).admin and not _is_everybodys(settings):
            raise ProblemError("forbidden", _advice(settings))
        return await handler(request)

    return guarded


def _is_everybodys(settings: Settings) -> bool:
    """Whether whoever reaches the service is its operator: it has no keys, and is reached on this machine alone."""
    is_local = settings.unix_socket is not None or checks.is_loopback(settings.host)
    return not settings.has_keys and is_local


def _advice(settings: Settings) -> str:
    if not settings.has_keys:
        return "This service is open beyond its machine: its operator needs a key. Set IMGSVC_OWNERS_FILE."
    return (
        "This is for operators. A key is one of theirs if its owner has 'admin = true' in the file that "
        "IMGSVC_OWNERS_FILE names."
    )
