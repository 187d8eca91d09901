"""Uploads that resume: begun, received in pieces, asked about and given up, whatever the protocol."""

import asyncio
from collections.abc import AsyncGenerator, Mapping

from starlette.requests import Request

from imgsvc.api.http.access import owner_of
from imgsvc.api.http.budget import overloaded
from imgsvc.api.http.context import Services, services_of
from imgsvc.api.http.errors import RETRY_ADVICE, ProblemError
from imgsvc.api.http.rate_limit import fields_of
from imgsvc.api.http.tokens import token_of
from imgsvc.api.receive import by_token
from imgsvc.api.receive.admission import admit, admit_by_token, check_limits, token_used
from imgsvc.api.receive.body import paced
from imgsvc.api.receive.form import too_large
from imgsvc.api.receive.options import options_of
from imgsvc.api.receive.upload import LARGEST_BYTES, holders_of
from imgsvc.api.resumable.checksum import Checksum
from imgsvc.api.resumable.finish import discard, finish
from imgsvc.api.resumable.receiver import Receiver
from imgsvc.domain.tokens import UploadToken
from imgsvc.jobs.record import key_of_try
from imgsvc.jobs.resumable import FencedError, Take, Transfer, TransferRefusedError
from imgsvc.jobs.types import Admission, Reservation
from imgsvc.runtime import logs

HANDOVER_S = 0.25
"""How long a writer has to notice that its client has gone. One that does not has died, or stands still."""

CLOSING_S = 4.0
"""How long it then has to store what has come."""

_POLL_S = 0.02
_HOPELESS = {"empty_file", "unsupported_media_type"}
"""Codes of problems that no further piece of the same upload can mend."""


async def begin(
    request: Request, fields: Mapping[str, str], filetype: str, length: int | None, header: str = ""
) -> tuple[Transfer, dict[str, str]]:
    """Begins an upload of these options, within its owner's limits. Returns the headers that say what these leave, too.

    Args:
        request: names the owner, and has the upload token if there is one: then an earlier try is given up.
        fields: the options, each as the text that a form field would have.
        filetype: the media type that the client declares, or "".
        length: None if it is not known yet.
        header: is kept as it is.

    Raises:
        ProblemError, OptionError: as for any upload.
    """
    services, owner, token = services_of(request), owner_of(request), token_of(request)
    if length is not None:
        check_length(length, services, token)
    if token:
        by_token.check_declared(token, filetype)
        fields = by_token.merged(token, fields)
    options = await options_of(fields, services, owner)
    original = key_of_try(token.id) if token else ""
    reservation = await (
        _admitted_by_token(services, token, original, length or 0) if token else admit(services, owner, "", length or 0)
    )
    upload_id = reservation.id
    logs.bind(upload_id=upload_id)
    transfers = services.queue.transfers
    if await transfers.begin(upload_id, owner, options, length=length, header=header, original=original) is None:
        await services.queue.abort(upload_id, original)
        if not original:
            await services.queue.ack_sweep(upload_id, is_final=True)
        raise overloaded(f"Too many of your resumable uploads are not complete. {RETRY_ADVICE}")
    return await _taken(services, upload_id, owner, "read"), fields_of(reservation)


async def _admitted_by_token(services: Services, token: UploadToken, original: str, announced: int) -> Reservation:
    """Reserves the upload of a token. The newest try counts: whoever has lost the address of one begins another."""
    earlier = await services.queue.transfers.take(token.id, token.owner)
    if earlier and not earlier.is_complete and not earlier.is_queued:
        await discard(earlier, services)
    reservation = await admit_by_token(services, token, original, announced)
    if reservation.admission is Admission.REPLAY:
        raise token_used()
    return reservation


async def status(request: Request, upload_id: str) -> Transfer:
    """Returns the upload with an offset that stays until somebody adds to it, and its job queued if it is all there."""
    services, owner = services_of(request), owner_of(request)
    transfer = await _taken(services, upload_id, owner, "read")
    begin = asyncio.get_running_loop().time()
    while transfer.writer is not None:
        handover_s = CLOSING_S if transfer.is_closing else HANDOVER_S
        if asyncio.get_running_loop().time() - begin > handover_s:
            break
        await asyncio.sleep(_POLL_S)
        transfer = await _taken(services, upload_id, owner, "read")
    if transfer.writer is not None:
        transfer = await _taken(services, upload_id, owner, "fence")
    if transfer.is_received and not transfer.is_queued:
        await _finished(request, transfer)
    return transfer


async def receive(
    request: Request, upload_id: str, offset: int, *, length: int | None = None, checksum: Checksum | None = None
) -> tuple[int, bool]:
    """Adds the request's body to an upload at `offset`.

    Args:
        request: with the body.
        upload_id: names the upload.
        offset: where the client wants to go on.
        length: of the whole, if it becomes known now.
        checksum: of the body.

    Returns:
        The new offset, and whether all is there and its job is queued.

    Raises:
        ProblemError: conflict with an Upload-Offset, if it is another one; and as for any upload.
    """
    services, owner = services_of(request), owner_of(request)
    announced = _announced(request)
    token = token_of(request)
    if length is not None:
        check_length(length, services, token)
    transfer = await _taken(services, upload_id, owner, "write", offset=offset, length=length)
    most = by_token.max_bytes(token, services.settings.max_upload_bytes)
    limit = most if transfer.length is None else transfer.length
    if announced is not None and offset + announced > limit:
        await services.queue.transfers.take(upload_id, owner, "fence", holder=transfer.fence)
        raise ProblemError(
            "upload_too_large", f"The body would make the upload longer than its {limit} bytes. Send the rest of it."
        )
    if not transfer.is_complete:
        transfer = await _received(request, transfer, announced, checksum)
    if transfer.is_received and not transfer.is_queued:
        await finish(transfer, services)
    return transfer.offset, transfer.is_received


async def drop(request: Request, upload_id: str) -> bool:
    """Gives the upload up. Returns False if its job is queued already: then it is an upload like any other.

    Raises:
        ProblemError: not_found.
    """
    services = services_of(request)
    transfer = await _taken(services, upload_id, owner_of(request), "read")
    return not transfer.is_queued and await discard(transfer, services)


def check_length(length: int, services: Services, token: UploadToken | None) -> None:
    """Raises ProblemError for a length that no upload may have, or none by this token."""
    if length == 0:
        raise ProblemError("empty_file", "The file is empty.")
    if length > (most := by_token.max_bytes(token, services.settings.max_upload_bytes)):
        raise too_large(most)


async def _finished(request: Request, transfer: Transfer) -> None:
    """Does what is left of an upload of which all has come."""
    services = services_of(request)
    if not transfer.is_complete:  # its length became known late
        transfer = await _taken(services, transfer.id, transfer.owner, "write")
        if not transfer.is_complete:
            transfer = await _received(request, transfer, 0, None)
    await finish(transfer, services)


async def _received(request: Request, transfer: Transfer, announced: int | None, checksum: Checksum | None) -> Transfer:
    """Returns the upload as it is once the request's body is added."""
    services = services_of(request)
    expected = LARGEST_BYTES if announced is None else min(announced, LARGEST_BYTES)
    with (
        services.uploads.allocate(expected, *holders_of(request, transfer.owner)) as allocation,
        services.metrics.uploads.track_inprogress(),
    ):
        receiver = Receiver(transfer, services, allocation, checksum, token_of(request))
        body = _nothing() if announced == 0 else paced(request, services.settings, allocation)
        try:
            await receiver.receive(body)
        except FencedError:
            raise ProblemError("conflict", "Another request has taken over this upload. Ask for its offset.") from None
        except ProblemError as error:
            if error.code in _HOPELESS:
                await discard(transfer, services)
            raise
    return await _taken(services, transfer.id, transfer.owner, "read")


async def _nothing() -> AsyncGenerator[bytes]:
    return
    yield b""


async def _taken(
    services: Services, upload_id: str, owner: str, kind: Take, *, offset: int | None = None, length: int | None = None
) -> Transfer:
    try:
        found = await services.queue.transfers.take(upload_id, owner, kind, offset=offset, length=length)
    except TransferRefusedError as refusal:
        at = {"upload-offset": str(refusal.transfer.offset)}
        if refusal.why == "OFFSET":
            detail = f"The upload has {refusal.transfer.offset} bytes. Go on from there."
            raise ProblemError("conflict", detail, at) from None
        if refusal.why == "LENGTH":
            detail = "Upload-Length is not that of the upload, or less than what has been received."
            raise ProblemError("conflict", detail, at) from None
        check_limits(refusal.reservation)
        raise
    if found is None:
        raise ProblemError("not_found", "There is no such upload. It may have been given up, or its time is over.")
    return found


def _announced(request: Request) -> int | None:
    """Returns the declared length of the body, None where it comes in chunks."""
    if "transfer-encoding" in request.headers:
        return None
    return int(request.headers.get("content-length", "0"))
