"""`POST /upload/url`: an upload whose original a worker fetches from a URL."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import orjson
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.http.access import owner_of
from imgsvc.api.http.context import Services, services_of
from imgsvc.api.http.errors import ProblemError
from imgsvc.api.receive.admission import admit
from imgsvc.api.receive.options import idempotency_key, no_content_encoding, no_query, options_of
from imgsvc.api.receive.upload import OnStore, submitted
from imgsvc.domain.json_input import parse
from imgsvc.domain.options import OPTIONS
from imgsvc.jobs.record import Submission
from imgsvc.outbound import UnreachableError, parse_url

MAX_BODY_BYTES = 32 * 1024
_MEMBERS = OPTIONS.keys() | {"url"}


class UploadUrl(HTTPEndpoint):
    """Handles the path for all methods: others would be routed to an upload with the id "url"."""

    async def post(self, request: Request) -> Response:
        """Answers 202 when the job that will fetch the original is queued; refuses a URL that is never fetched."""
        services, owner = services_of(request), owner_of(request)
        key = idempotency_key(request, owner)
        fields = await _fields(request, services.settings.body_idle_timeout_s)

        async def receive(upload_id: str, _: OnStore | None) -> Submission:
            return await _submission(upload_id, fields, services)

        # counts as the largest upload until it has been fetched
        return await submitted(await admit(services, owner, key, services.settings.max_upload_bytes), receive, services)


async def _submission(upload_id: str, fields: Mapping[str, str], services: Services) -> Submission:
    url = fields.get("url", "")
    with suppress(UnreachableError):  # the URL is checked again when the job runs
        await services.outbound.check(url)
    filename = fields.get("filename") or parse_url(url).name
    return Submission(upload_id, await options_of({**fields, "filename": filename}, services), url=url)


async def _fields(request: Request, timeout_s: float) -> dict[str, str]:
    """Returns the members of the body, each as the text that a form field would have."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ProblemError("unsupported_media_type", "Send a JSON object as application/json.")
    no_content_encoding(request)
    no_query(request, "Send it as a member of the JSON object.")
    try:
        document = parse(await _body(request, timeout_s))
    except ValueError as error:
        raise ProblemError("malformed_body", f"The body is not JSON: {error}.") from None
    if not isinstance(document, dict):
        raise ProblemError("malformed_body", 'The body must be a JSON object such as {"url": "https://…"}.')
    for name in document:
        if name not in _MEMBERS:
            names = ", ".join(sorted(_MEMBERS))
            raise ProblemError("unknown_field", f"{name[:80]!r} is not a field of an upload. The fields are: {names}.")
        if name in OPTIONS and OPTIONS[name].is_text and not isinstance(document[name], str):
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
