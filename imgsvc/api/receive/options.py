"""The options of an upload as this service applies them, its Idempotency-Key, and what is refused with it."""

import hashlib
import logging
import re
from collections.abc import Mapping

from starlette.requests import Request

from imgsvc.api.http.context import Services
from imgsvc.api.http.errors import ProblemError
from imgsvc.domain.options import Options, read_options
from imgsvc.domain.presets import CUSTOM, DEFAULT, Preset, PresetError, pin
from imgsvc.outbound import UnreachableError, UrlNotAllowedError
from imgsvc.runtime.owners import Owner

log = logging.getLogger(__name__)

_KEY = re.compile(r"[!-~]{1,255}")


async def options_of(texts: Mapping[str, str], services: Services, owner: str) -> Options:
    """Returns the options of an owner's upload from the fields of its form, its query or its JSON body.

    Raises:
        ProblemError, OptionError: an option is not allowed, or not by this service, or not to this owner.
        StorageError: the overlays of its variants cannot be stored now.
    """
    values = read_options(texts)
    terms = services.owners.current.of(owner)
    presets = services.offer.presets_of(terms)
    if "variants" in values:
        if terms.presets is not None:
            detail = f"Variants of your own are not allowed with this key. Send 'preset': one of {', '.join(presets)}."
            raise ProblemError("invalid_variants", detail)
        values["preset"] = CUSTOM
        values["variants"] = _pinned(values["variants"], services)
    else:
        preset = values.setdefault("preset", DEFAULT)
        if preset not in presets:
            detail = f"There is no preset {preset[:80]!r}. The presets are: {', '.join(presets)}."
            raise ProblemError("invalid_preset", detail)
        values["variants"] = presets[preset]
    values.setdefault("expires_in", services.settings.files_ttl_s or None)
    if "webhook_url" in values:
        await _check_webhook(values["webhook_url"], services, terms)
    await services.overlays.ensure(values["variants"])
    return Options(**values)


def is_gated(options: Options, services: Services) -> bool:
    """Whether the gate is asked about an upload of these options before anything made of it can be seen."""
    return services.settings.gate_url is not None and options.preset not in services.offer.catalogue.ungated


def _pinned(variants: Preset, services: Services) -> Preset:
    try:
        return pin("variants", variants, services.overlays.offered)
    except PresetError as error:
        raise ProblemError("invalid_variants", f"{error}.") from None


async def _check_webhook(url: str, services: Services, owner: Owner) -> None:
    """Refuses at once a URL that would never be called."""
    if not services.settings.webhook_keys.of(owner.name, owner.webhook_secrets):
        detail = "This service has no secret to sign webhooks with. Its operator must set IMGSVC_WEBHOOK_SECRET."
        raise ProblemError("invalid_webhook_url", detail)
    try:
        await services.outbound.check(url)
    except UrlNotAllowedError as error:
        raise ProblemError("invalid_webhook_url", error.detail) from None
    except UnreachableError as error:  # the URL is checked again when the job has ended
        log.info("the host of a webhook cannot be resolved now: %r", error.__cause__)


def no_query(request: Request, instead: str = "Leave it out.") -> None:
    """Refuses query parameters of a write that has none: unknown ones are never ignored."""
    for name in request.query_params:
        raise ProblemError("unknown_field", f"{name[:80]!r} is not a query parameter of this call. {instead}")


def no_content_encoding(request: Request) -> None:
    """Refuses compressed bodies, which would look like files of an unknown format."""
    for coding in ",".join(request.headers.getlist("content-encoding")).lower().split(","):
        if coding.strip() not in {"", "identity"}:
            detail = f"Content-Encoding {coding.strip()[:40]!r} is not supported. Send the body without."
            raise ProblemError("unsupported_media_type", detail, {"accept-encoding": "identity"})


def idempotency_key(request: Request, owner: str) -> str:
    """Returns a hash of the request's Idempotency-Key and its owner; "" if it has no key."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return ""
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise ProblemError("malformed_request", "Send one Idempotency-Key of 1 to 255 visible ASCII characters.")
    return hashlib.blake2b(f"{owner} {given[0]}".encode(), digest_size=16).hexdigest()
