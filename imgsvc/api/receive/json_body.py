"""The JSON body of a request: small, strictly parsed, and an object."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, cast

import orjson
from starlette.requests import Request

from imgsvc.api.http.context import services_of
from imgsvc.api.http.errors import ProblemError
from imgsvc.api.receive.options import no_content_encoding, no_query
from imgsvc.domain.json_input import parse
from imgsvc.domain.options import OPTIONS

MAX_BODY_BYTES = 32 * 1024


async def json_object(request: Request, example: str) -> dict[str, Any]:
    """Returns the body; `example` says in an error what it should look like.

    Raises:
        ProblemError: it is no JSON object, too long or too slow; or the request has a query.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ProblemError("unsupported_media_type", "Send a JSON object as application/json.")
    no_content_encoding(request)
    no_query(request, "Send it as a member of the JSON object.")
    try:
        document = parse(await _body(request, services_of(request).settings.body_idle_timeout_s))
    except ValueError as error:
        raise ProblemError("malformed_body", f"The body is not JSON: {error}.") from None
    if not isinstance(document, dict):
        raise ProblemError("malformed_body", f"The body must be a JSON object such as {example}.")
    return cast("dict[str, Any]", document)


def check_members(document: Mapping[str, Any], known: Collection[str], kind: str) -> None:
    """Refuses unknown members; `kind` says in the error what the body is."""
    for name in document:
        if name not in known:
            names = ", ".join(sorted(known))
            raise ProblemError("unknown_field", f"{name[:80]!r} is not a field of {kind}. The fields are: {names}.")


def texts_of(document: Mapping[str, Any]) -> dict[str, str]:
    """Returns the members that are options, and others, each as the text that a form field would have."""
    for name, value in document.items():
        if name in OPTIONS and OPTIONS[name].is_text and not isinstance(value, str):
            raise ProblemError(OPTIONS[name].code, f"{name!r} must be a string.")
    return {name: value if isinstance(value, str) else orjson.dumps(value).decode() for name, value in document.items()}


async def _body(request: Request, timeout_s: float) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise ProblemError("upload_too_large", f"The body is longer than {MAX_BODY_BYTES} bytes.")
    except TimeoutError:
        raise ProblemError("request_timeout", f"The body did not arrive within {timeout_s:g} seconds.") from None
    return bytes(body)
