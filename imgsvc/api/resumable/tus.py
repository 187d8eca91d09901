"""tus 1.0.0 (https://tus.io/protocols/resumable-upload) at `/tus` and `/tus/{id}`."""

import re
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate

from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.http.context import services_of
from imgsvc.api.http.errors import ProblemError, coded_response
from imgsvc.api.http.tokens import presented_in, token_of
from imgsvc.api.receive.options import no_content_encoding, no_query
from imgsvc.api.resumable import engine
from imgsvc.api.resumable.checksum import ALGORITHMS, Checksum
from imgsvc.api.resumable.metadata import fields_of
from imgsvc.api.uploads import actions
from imgsvc.api.uploads.show import upload_id_of
from imgsvc.domain.problems import CodedError
from imgsvc.jobs.resumable import Transfer

VERSION = "1.0.0"
EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "expiration",
    "checksum",
    "termination",
)
PIECE_TYPE = "application/offset+octet-stream"

_ALWAYS = {"tus-resumable": VERSION}
_NUMBER = re.compile(r"[0-9]{1,18}")

Call = Callable[[Request], Awaitable[Response]]


def of_tus(call: Call) -> Call:
    """Refuses other versions of the protocol; names ours in each answer, also in those that refuse."""

    async def answer(request: Request) -> Response:
        try:
            if request.headers.get("tus-resumable") != VERSION:
                detail = f"Send 'Tus-Resumable: {VERSION}': this is the version of tus that the service knows."
                raise ProblemError("precondition_failed", detail, {"tus-version": VERSION})
            response = await call(request)
        except CodedError as error:
            response = coded_response(request, error)
        response.headers.update(_ALWAYS)
        return response

    return answer


async def create(request: Request) -> Response:
    """Begins an upload, and takes what of it comes along."""
    no_query(request)
    no_content_encoding(request)
    if "upload-concat" in request.headers:
        raise ProblemError("malformed_request", "Upload-Concat is not supported. Send the file as one upload.")
    length = _length(request)
    has_body = _has_body(request)
    if has_body:
        _check_type(request)
    checksum = Checksum.of(request.headers.get("upload-checksum"))
    header = ",".join(request.headers.getlist("upload-metadata"))
    transfer, left = await engine.begin(request, *fields_of(header), length, header)
    headers = {"location": _path(request, transfer.id), "upload-expires": _expires(transfer)} | left
    if has_body:
        offset, is_done = await engine.receive(request, transfer.id, 0, checksum=checksum)
        headers["upload-offset"] = str(offset)
        if is_done:
            del headers["upload-expires"]
    return Response(status_code=201, headers=headers)


async def head(request: Request) -> Response:
    transfer = await engine.status(request, upload_id_of(request))
    headers = {"upload-offset": str(transfer.offset), "cache-control": "no-store"}
    if transfer.length is None:
        headers["upload-defer-length"] = "1"
    else:
        headers["upload-length"] = str(transfer.length)
    if transfer.header:
        headers["upload-metadata"] = transfer.header
    if not transfer.is_received:
        headers["upload-expires"] = _expires(transfer)
    return Response(status_code=200, headers=headers)


async def patch(request: Request) -> Response:
    """Adds a piece. The last one is answered when the job is queued."""
    no_query(request)
    no_content_encoding(request)
    _check_type(request)
    upload_id = upload_id_of(request)
    at = _number(request, "upload-offset")
    if at is None:
        raise ProblemError("malformed_request", "Send Upload-Offset.")
    checksum = Checksum.of(request.headers.get("upload-checksum"))
    length = _number(request, "upload-length")
    offset, is_done = await engine.receive(request, upload_id, at, length=length, checksum=checksum)
    headers = {"upload-offset": str(offset)}
    if is_done:
        headers["location"] = f"{services_of(request).urls.upload(upload_id)}/status"
    return Response(status_code=204, headers=headers)


async def terminate(request: Request) -> Response:
    """Gives an upload up, or deletes it if its job is queued already."""
    no_query(request)
    if not await engine.drop(request, upload_id_of(request)):
        if token_of(request):
            raise ProblemError("forbidden", "The upload is complete, and its token cannot delete it.")
        await actions.delete(request)
    return Response(status_code=204)


async def capabilities(request: Request) -> Response:
    """Returns what the service knows of tus."""
    return Response(
        status_code=204,
        headers={
            "tus-resumable": VERSION,
            "tus-version": VERSION,
            "tus-extension": ",".join(EXTENSIONS),
            "tus-checksum-algorithm": ",".join(ALGORITHMS),
            "tus-max-size": str(services_of(request).settings.max_upload_bytes),
        },
    )


_INSTEAD: Mapping[str, Call] = {"PATCH": patch, "DELETE": terminate, "HEAD": head}


async def overridden(request: Request) -> Response:
    """A call of clients that may only send GET and POST: its method stands in X-HTTP-Method-Override."""
    method = request.headers.get("x-http-method-override", "").upper()
    if method not in _INSTEAD:
        names = ", ".join(_INSTEAD)
        raise ProblemError("malformed_request", f"Send X-HTTP-Method-Override with one of {names}.")
    return await _INSTEAD[method](request)


class Uploads(HTTPEndpoint):
    post = staticmethod(of_tus(create))
    options = staticmethod(capabilities)


class Upload(HTTPEndpoint):
    head = staticmethod(of_tus(head))
    patch = staticmethod(of_tus(patch))
    delete = staticmethod(of_tus(terminate))
    post = staticmethod(of_tus(overridden))
    options = staticmethod(capabilities)


def _length(request: Request) -> int | None:
    length, deferred = _number(request, "upload-length"), request.headers.get("upload-defer-length")
    if deferred is not None and (deferred != "1" or length is not None):
        raise ProblemError("malformed_request", "Send either Upload-Length or 'Upload-Defer-Length: 1'.")
    if length is None and deferred is None:
        raise ProblemError("malformed_request", "Send Upload-Length, or 'Upload-Defer-Length: 1'.")
    return length


def _number(request: Request, name: str) -> int | None:
    given = request.headers.getlist(name)
    if not given:
        return None
    if len(given) > 1 or not _NUMBER.fullmatch(given[0]):
        raise ProblemError("malformed_request", f"{name.title()} must be one number of bytes, in decimal digits.")
    return int(given[0])


def _has_body(request: Request) -> bool:
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"


def _check_type(request: Request) -> None:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != PIECE_TYPE:
        raise ProblemError("unsupported_media_type", f"Send the piece as {PIECE_TYPE}.")


def _path(request: Request, upload_id: str) -> str:
    """Where the upload is; a token in the URL goes on being in it."""
    path, presented = f"{services_of(request).settings.base_path}/tus/{upload_id}", presented_in(request.scope)
    return f"{path}?token={presented.text}" if presented and presented.in_query else path


def _expires(transfer: Transfer) -> str:
    return formatdate(transfer.expires_at / 1000, usegmt=True)
