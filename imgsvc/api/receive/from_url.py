"""`POST /upload/url`: an upload whose original a worker fetches from a URL."""

from collections.abc import Mapping
from contextlib import suppress

from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.http.access import owner_of
from imgsvc.api.http.context import Services, services_of
from imgsvc.api.receive.admission import admit
from imgsvc.api.receive.json_body import check_members, json_object, texts_of
from imgsvc.api.receive.options import idempotency_key, is_gated, options_of
from imgsvc.api.receive.upload import OnStore, submitted
from imgsvc.domain.options import OPTIONS
from imgsvc.jobs.record import Submission
from imgsvc.outbound import UnreachableError, parse_url

_MEMBERS = OPTIONS.keys() | {"url"}


class UploadUrl(HTTPEndpoint):
    """Handles the path for all methods: others would be routed to an upload with the id "url"."""

    async def post(self, request: Request) -> Response:
        """Answers 202 when the job that will fetch the original is queued; refuses a URL that is never fetched."""
        services, owner = services_of(request), owner_of(request)
        key = idempotency_key(request, owner)
        fields = await _fields(request)

        async def receive(upload_id: str, _: OnStore | None) -> Submission:
            return await _submission(upload_id, fields, services, owner)

        # counts as the largest upload until it has been fetched
        return await submitted(await admit(services, owner, key, services.settings.max_upload_bytes), receive, services)


async def _submission(upload_id: str, fields: Mapping[str, str], services: Services, owner: str) -> Submission:
    url = fields.get("url", "")
    with suppress(UnreachableError):  # the URL is checked again when the job runs
        await services.outbound.check(url)
    filename = fields.get("filename") or parse_url(url).name
    options = await options_of({**fields, "filename": filename}, services, owner)
    return Submission(upload_id, options, url=url, gated=is_gated(options, services))


async def _fields(request: Request) -> dict[str, str]:
    """Returns the members of the body, each as the text that a form field would have."""
    document = await json_object(request, '{"url": "https://…"}')
    check_members(document, _MEMBERS, "an upload")
    return texts_of(document)
