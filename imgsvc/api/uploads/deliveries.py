"""`GET /upload/{id}/deliveries` and `POST /upload/{id}/deliveries/{n}/replay`: what its webhook was sent."""

import re

from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.http.context import Document, services_of
from imgsvc.api.http.errors import ProblemError
from imgsvc.api.http.rate_limit import fields_of
from imgsvc.api.receive.admission import check_limits
from imgsvc.api.receive.options import no_query
from imgsvc.api.uploads.show import find
from imgsvc.domain.webhook_documents import Deliveries
from imgsvc.jobs.record import Record
from imgsvc.jobs.types import Admission
from imgsvc.jobs.webhook_events import deliveries_document

_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


async def deliveries(request: Request) -> Response:
    """The attempts to deliver each event of an upload, and when the next one is due."""
    return Document(await _document(request, await find(request)))


async def replay(request: Request) -> Response:
    """Sends an event again at once, with the same `webhook-id`, and with all its attempts."""
    no_query(request)
    services, number = services_of(request), request.path_params["n"]
    record = await find(request)
    if not _NUMBER.fullmatch(number):
        raise _unknown()
    owner = services.owners.current.of(record.owner)
    if not services.settings.webhook_keys.of(owner.name, owner.webhook_secrets):
        raise ProblemError("conflict", "This service has no secret to sign webhooks with.")
    answer = await services.queue.deliveries.replay(record.id, record.owner, int(number))
    if answer is None:
        raise _unknown()
    if answer.admission is Admission.CONFLICT:
        detail = (
            "An attempt to deliver this event is under way, a later event has superseded it, or it has not come yet. "
            "GET /upload/{id}/deliveries tells which events can be sent again."
        )
        raise ProblemError("conflict", detail)
    check_limits(answer)
    return Document(await _document(request, record), status_code=202, headers=fields_of(answer))


async def _document(request: Request, record: Record) -> Deliveries:
    return deliveries_document(record, await services_of(request).queue.deliveries.log_of(record))


def _unknown() -> ProblemError:
    return ProblemError("not_found", "The upload has no webhook, or no such event of it.")
