"""What can be asked of an upload that was accepted: its status, its result, and to be deleted."""

import re

from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.context import Document, services
from imgsvc.api.errors import ProblemError
from imgsvc.jobs.record import Record, files_prefix, original_key

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class Upload(HTTPEndpoint):
    """One upload as a whole."""

    async def get(self, request: Request) -> Response:
        record = await _record(request)
        path = f"/upload/{record.id}"
        return Document(
            {
                "id": record.id,
                "status": record.status_document(),
                "result": record.result_document() if record.done else None,
                "links": {"self": path, "status": f"{path}/status", "result": f"{path}/result"},
            }
        )

    async def delete(self, request: Request) -> Response:
        """Record first: from then on no worker can finish the job. Repeating it clears what a failure left."""
        upload_id = _upload_id(request)
        here = services(request)
        if not await here.queue.delete(upload_id):
            raise _unknown()
        await here.storage.clear(original_key(upload_id))
        await here.storage.clear(files_prefix(upload_id))
        return Response(status_code=204)


async def status(request: Request) -> Response:
    return Document((await _record(request)).status_document())


async def result(request: Request) -> Response:
    record = await _record(request)
    if record.done:
        return Document(record.result_document())
    return Document(record.result_document(), status_code=202, headers={"retry-after": "1"})


async def _record(request: Request) -> Record:
    record = await services(request).queue.get(_upload_id(request))
    if record is None:
        raise _unknown()
    return record


def _upload_id(request: Request) -> str:
    upload_id = request.path_params["id"]
    if not _ID.fullmatch(upload_id):
        raise _unknown()
    return upload_id


def _unknown() -> ProblemError:
    return ProblemError("not_found", "There is no such upload. It may have been deleted.")
