"""`POST /tokens`: issues the permission to make one upload."""

from collections.abc import Mapping
from time import time
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.http.access import owner_of
from imgsvc.api.http.context import Document, Services, services_of
from imgsvc.api.http.errors import ProblemError
from imgsvc.api.receive.by_token import FIXABLE
from imgsvc.api.receive.json_body import check_members, json_object, texts_of
from imgsvc.api.receive.options import options_of
from imgsvc.domain.formats import KNOWN
from imgsvc.domain.options import OPTIONS
from imgsvc.domain.rules import Rule, several, whole
from imgsvc.domain.token_document import Issued
from imgsvc.domain.tokens import LEAST_VALID_S, MAX_TOKEN_CHARS, MOST_VALID_S, VALID_S, UploadToken, issue
from imgsvc.jobs.rows import timestamp
from imgsvc.runtime.api_keys import is_origin

_MEDIA_TYPES = tuple(fmt.media_type for fmt in KNOWN.values())
_MOST_BYTES = 2**40


def _media_type() -> Rule:
    schema = {"type": "string", "enum": list(_MEDIA_TYPES)}
    return Rule(f"one of {', '.join(_MEDIA_TYPES)}", schema, lambda value: value if value in _MEDIA_TYPES else None)


def _origin() -> Rule:
    schema = {"type": "string", "pattern": "^https?://[^/,]+$"}
    allowed = "an origin as browsers send it, such as https://app.example.com"
    return Rule(allowed, schema, lambda value: value if isinstance(value, str) and is_origin(value) else None)


TERMS: Mapping[str, tuple[Rule, str]] = {
    "max_bytes": (whole(1, _MOST_BYTES, "bytes"), "Largest size of the file, if that is less than the service's."),
    "content_types": (
        several(_media_type(), len(_MEDIA_TYPES)),
        "Media types that the file may have, by its first bytes and by what its client declares.",
    ),
    "origin": (_origin(), "Origin of the web page that may use the token's URLs from a browser."),
    "valid_for": (
        whole(LEAST_VALID_S, MOST_VALID_S, "seconds"),
        f"Seconds that the token is valid; {VALID_S} by default.",
    ),
}
"""What the token allows besides options: the rule of each, and what it means."""


async def tokens(request: Request) -> Response:
    """Answers 201. Nothing is stored: all that the token allows is in it."""
    services = services_of(request)
    document = await json_object(request, '{"preset": "default"}')
    check_members(document, {*FIXABLE, *TERMS}, "an upload token")
    secrets = services.settings.signing_secrets
    if not secrets:
        detail = "This service has no secret to sign tokens with. Its operator must set IMGSVC_SIGNING_SECRET."
        raise ProblemError("forbidden", detail)
    token = await _token(request, document)
    text = issue(token, secrets[0])
    if len(text) > MAX_TOKEN_CHARS:
        detail = "These options are too long for a token. Use a preset instead of variants, or less metadata."
        raise ProblemError("invalid_field", detail)
    return Document(_document(token, text, services), status_code=201)


async def _token(request: Request, document: dict[str, Any]) -> UploadToken:
    terms = {name: _term(name, document.pop(name)) for name in TERMS if name in document}
    valid_s = terms.pop("valid_for", VALID_S)
    options = _texts(document)
    await options_of(options, services_of(request), owner_of(request))  # raises if an upload could not have them
    return UploadToken(str(uuid4()), owner_of(request), int(time()) + valid_s, options, **terms)


def _term(name: str, written: object) -> Any:
    rule, _ = TERMS[name]
    value = rule.read(written)
    if value is None:
        raise ProblemError("invalid_field", f"{name!r} must be {rule.allowed}.")
    return value


def _texts(document: dict[str, Any]) -> dict[str, str]:
    """Returns the options as texts; a string stands for nothing else."""
    for name, value in document.items():
        if not OPTIONS[name].is_text and isinstance(value, str):
            raise ProblemError(OPTIONS[name].code, f"{name!r} must not be a string.")
    return texts_of(document)


def _document(token: UploadToken, text: str, services: Services) -> Issued:
    base, path = services.urls.base_path, services.urls.upload(token.id)
    return {
        "token": text,
        "id": token.id,
        "upload_url": f"{base}/upload?token={text}",
        "tus_url": f"{base}/tus?token={text}",
        "status_url": f"{path}/status",
        "result_url": f"{path}/result",
        "events_url": f"{path}/events",
        "expires_at": timestamp(token.expires_at * 1000),
    }
