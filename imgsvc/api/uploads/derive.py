"""`POST /upload/{id}/variants` and `PATCH /upload/{id}`: variants made anew, or for the first time, of an original."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.http.access import owner_of
from imgsvc.api.http.context import Document, Services, services_of
from imgsvc.api.http.errors import RETRY_ADVICE, ProblemError
from imgsvc.api.http.rate_limit import fields_of
from imgsvc.api.receive.admission import check_limits
from imgsvc.api.receive.json_body import check_members, json_object, texts_of
from imgsvc.api.receive.options import options_of
from imgsvc.api.uploads.show import find, unknown_upload
from imgsvc.domain.model import Point, Variant
from imgsvc.domain.options import OPTIONS, Options, read_options
from imgsvc.domain.presets import Preset, PresetError, check_files
from imgsvc.domain.states import Status
from imgsvc.jobs.record import Record
from imgsvc.jobs.types import Admission, Reservation

_TRIES = 3
_MEMBERS = {"preset", "variants", "only"}

Wanted = Callable[[Record], tuple[Options, Collection[str]]]
"""Returns what an upload's options shall be, and the names of the variants to make for that."""


async def variants(request: Request) -> Response:
    """Queues a derivation. Its variants take the place of those of the same names; the upload's others stay."""
    document = await json_object(request, '{"preset": "default"}')
    asked = await _asked(document, services_of(request), owner_of(request))

    def wanted(record: Record) -> tuple[Options, Collection[str]]:
        made = {variant.name: variant for variant in asked}
        whole = {variant.name: variant for variant in record.options.variants} | made
        return replace(record.options, variants=_checked(tuple(whole.values()))), made

    return await _changed(request, wanted)


async def change(request: Request) -> Response:
    """Changes the focus. What is cut by it is derived anew, and the focus is the new one once that has succeeded."""
    document = await json_object(request, '{"focus": {"x": 0.5, "y": 0.3}}')
    check_members(document, {"focus"}, "an upload that can be changed")
    if "focus" not in document:
        raise ProblemError("invalid_field", "Send 'focus': a point, or null for none.")
    focus: Point | None = read_options(_texts(document))["focus"] if document["focus"] is not None else None

    def wanted(record: Record) -> tuple[Options, Collection[str]]:
        options = replace(record.options, focus=focus)
        has_files = record.status is Status.SUCCESS and options != record.options
        return options, [variant.name for variant in options.variants if has_files and _is_cut_by_focus(variant)]

    return await _changed(request, wanted)


def _is_cut_by_focus(variant: Variant) -> bool:
    return variant.fit == "cover" and variant.gravity == "focus"


async def _changed(request: Request, wanted: Wanted) -> Response:
    """Answers 202 when the derivation is queued, or 200 where nothing has to be made."""
    services = services_of(request)
    for _ in range(_TRIES):
        record = await find(request)
        options, names = wanted(record)
        answer = await _queued(services, record, options, names)
        if answer.admission is not Admission.CHANGED:
            break
    else:
        raise ProblemError("conflict", f"The upload is being changed by others. {RETRY_ADVICE}")
    if answer.admission is Admission.CONFLICT:
        raise _conflict(record)
    document = (await find(request)).status_document()
    return Document(document, status_code=202 if names else 200, headers=fields_of(answer))


async def _queued(services: Services, record: Record, options: Options, names: Collection[str]) -> Reservation:
    derivation = record.derivation
    if derivation and not derivation.done:
        # a client may ask again, whose answer was lost
        is_same = derivation.options == options and {variant.name for variant in derivation.variants} == {*names}
        return Reservation(Admission.RESERVED if is_same else Admission.CONFLICT, record.id)
    if not names and options == record.options:
        return Reservation(Admission.RESERVED, record.id)
    if not names:
        admission = await services.queue.change(record, options)
        answer = admission and Reservation(admission, record.id)
    else:
        answer = await services.queue.derive(record, options, names)
    if answer is None:
        raise unknown_upload()
    check_limits(answer)
    return answer


def _conflict(record: Record) -> ProblemError:
    if record.status is not Status.SUCCESS:
        return ProblemError("conflict", f"The job is in {record.status}. Wait until it has ended successfully.")
    return ProblemError("conflict", "A derivation of this upload has not ended. Wait for it, or cancel it.")


async def _asked(document: dict[str, Any], services: Services, owner: str) -> Preset:
    """Returns the variants that a body asks for: those of `only`, of the preset or of its own."""
    check_members(document, _MEMBERS, "a derivation")
    only = document.pop("only", None)
    if not document:
        raise ProblemError("invalid_variants", "Send 'preset' or 'variants': what to make.")
    found = (await options_of(_texts(document), services, owner)).variants
    if only is None:
        return found
    names = [variant.name for variant in found]
    if not isinstance(only, list) or not only or not all(name in names for name in only):
        raise ProblemError("invalid_field", f"'only' must be a list of names, of {', '.join(names)}.")
    return tuple(variant for variant in found if variant.name in only)


def _texts(document: dict[str, Any]) -> dict[str, str]:
    """Returns the members as texts; a string does not stand for an object."""
    objects = {name: orjson.dumps(value).decode() for name, value in document.items() if not OPTIONS[name].is_text}
    return texts_of(document) | objects


def _checked(preset: Sequence[Any]) -> Preset:
    try:
        return check_files("the upload's variants", tuple(preset))
    except PresetError as error:
        raise ProblemError("invalid_variants", f"{error}.") from None
