"""`POST /admin/retry` and `POST /admin/cancel`: bulk actions, which workers do; and how far they are."""

import re
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.admin import filters
from imgsvc.api.admin.access import for_operators
from imgsvc.api.http.access import owner_of
from imgsvc.api.http.context import Document, services_of
from imgsvc.api.http.errors import ProblemError
from imgsvc.api.receive.json_body import check_members, json_object
from imgsvc.api.receive.options import no_query
from imgsvc.domain.admin_documents import BulkAction as BulkDocument
from imgsvc.domain.admin_documents import BulkActions
from imgsvc.domain.states import Status
from imgsvc.jobs.administration import MOST_UNDER_WAY
from imgsvc.jobs.bulk import Action, BulkAction
from imgsvc.jobs.rows import optional_timestamp, timestamp

_EXAMPLE = '{"where": {"status": "FAILURE", "code": "storage_unavailable"}}'
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

STATUSES: dict[Action, tuple[Status, ...]] = {
    "retry": (Status.FAILURE, Status.CANCELLED),
    "cancel": (Status.PENDING, Status.PROGRESS),
}
"""Those that an action is for."""

DEFAULTS: dict[Action, tuple[Status, ...]] = {"retry": (Status.FAILURE,), "cancel": STATUSES["cancel"]}


@for_operators
async def retry(request: Request) -> Response:
    return await _begin(request, "retry")


@for_operators
async def cancel(request: Request) -> Response:
    return await _begin(request, "cancel")


@for_operators
async def actions(request: Request) -> Response:
    found = await services_of(request).queue.administration.actions()
    document: BulkActions = {"actions": [_document(action) for action in found]}
    return Document(document)


@for_operators
async def action(request: Request) -> Response:
    return Document(_document(await _find(request)))


@for_operators
async def stop(request: Request) -> Response:
    """Cancels a bulk action; one that has ended stays as it is."""
    no_query(request)
    await services_of(request).queue.administration.stop((await _find(request)).id)
    return Document(_document(await _find(request)))


async def _begin(request: Request, kind: Action) -> Response:
    body = await json_object(request, _EXAMPLE)
    check_members(body, {"where"}, "a bulk action")
    if "where" not in body:
        raise ProblemError("invalid_field", f"Send 'where', such as {_EXAMPLE}; {{}} means all.")
    where = filters.from_where(body["where"])
    if not set(where.statuses) <= set(STATUSES[kind]):
        raise ProblemError(
            "invalid_field", f"'status' must be {' or '.join(STATUSES[kind])}: others have no use for it."
        )
    where = replace(where, statuses=where.statuses or DEFAULTS[kind])
    request_id: str = request.scope["imgsvc.request_id"]
    begun = await services_of(request).queue.administration.begin(kind, where, owner_of(request), request_id)
    if begun is None:
        raise ProblemError("conflict", f"{MOST_UNDER_WAY} bulk actions are under way. Wait for one, or cancel it.")
    headers = {"location": f"{services_of(request).settings.base_path}/admin/actions/{begun.id}"}
    return Document(_document(begun), status_code=202, headers=headers)


async def _find(request: Request) -> BulkAction:
    action_id = request.path_params["id"]
    found = _UUID.fullmatch(action_id) and await services_of(request).queue.administration.action(action_id)
    if not found:
        raise ProblemError("not_found", "There is no such bulk action. The newest fifty are kept.")
    return found


def _document(action: BulkAction) -> BulkDocument:
    return {
        "id": action.id,
        "action": action.action,
        "where": filters.document(action.where),
        "status": action.state,
        "done": action.done,
        "refused": action.refused,
        "position": action.position and timestamp(action.position[0]),
        "waiting_for": action.waiting_for,
        "by": action.by,
        "request_id": action.request_id,
        "created_at": timestamp(action.created_at),
        "finished_at": optional_timestamp(action.finished_at),
    }
