"""What a client may ask of an upload besides its file: the fields of a form, or of the query."""

import hashlib
import logging
import re
from collections.abc import Mapping

from starlette.requests import Request

from imgsvc.api.http.context import Services
from imgsvc.api.http.errors import ProblemError
from imgsvc.api.http.json_input import parse
from imgsvc.domain.presets import CUSTOM, DEFAULT, Preset, PresetError, Presets, read
from imgsvc.outbound import UnreachableError, UrlNotAllowedError

log = logging.getLogger(__name__)

FIELDS = frozenset({"preset", "variants", "metadata", "expires_in", "webhook_url"})
MAX_VARIANTS_BYTES = 8192
MAX_METADATA_BYTES = 4096
MAX_EXPIRES_IN_S = 10 * 366 * 86_400

_KEY = re.compile(r"[!-~]{1,255}")


def preset(fields: Mapping[str, str], presets: Presets) -> tuple[str, Preset]:
    """What is to be made of the upload, and by which name: that of a preset, or CUSTOM for variants of its own."""
    text = fields.get("variants")
    if text is not None:
        if "preset" in fields:
            raise ProblemError("invalid_variants", "Give either 'preset' or 'variants', not both.")
        return CUSTOM, _variants(text)
    name = fields.get("preset", DEFAULT)
    if name not in presets:
        raise ProblemError("invalid_preset", f"There is no preset {name[:80]!r}. There are: {', '.join(presets)}.")
    return name, presets[name]


def _variants(text: str) -> Preset:
    if len(text.encode()) > MAX_VARIANTS_BYTES:
        raise ProblemError("invalid_variants", f"'variants' is longer than {MAX_VARIANTS_BYTES} bytes.")
    try:
        return read("variants", parse(text))
    except PresetError as error:
        raise ProblemError("invalid_variants", f"{error}.") from None
    except ValueError as error:
        raise ProblemError("invalid_variants", f"'variants' is no JSON: {error}.") from None


def metadata(fields: Mapping[str, str]) -> dict[str, str]:
    text = fields.get("metadata", "{}")
    if len(text.encode()) > MAX_METADATA_BYTES:
        raise ProblemError("invalid_field", f"'metadata' is longer than {MAX_METADATA_BYTES} bytes.")
    try:
        value = parse(text)
    except ValueError as error:
        raise ProblemError("invalid_field", f"'metadata' is no JSON: {error}.") from None
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ProblemError("invalid_field", "'metadata' must be a JSON object whose values are strings.")
    return value


def expires_in(fields: Mapping[str, str], default_s: int) -> int | None:
    """Seconds until the upload and its files are removed; None where they are kept."""
    text = fields.get("expires_in")
    if text is None:
        return default_s or None
    if not re.fullmatch(r"[1-9][0-9]{0,9}", text) or int(text) > MAX_EXPIRES_IN_S:
        raise ProblemError("invalid_field", f"'expires_in' must be a number of seconds, 1 to {MAX_EXPIRES_IN_S}.")
    return int(text)


def no_query(request: Request, instead: str = "Leave it out.") -> None:
    """For writes that take nothing from the query: what a write does not know is refused, never ignored."""
    for name in request.query_params:
        raise ProblemError("unknown_field", f"{name[:80]!r} is no parameter of this call. {instead}")


def no_content_encoding(request: Request) -> None:
    """For bodies, which are read as they are: a packed one would be taken for a file of no known format."""
    for coding in ",".join(request.headers.getlist("content-encoding")).lower().split(","):
        if coding.strip() not in {"", "identity"}:
            detail = f"A body with Content-Encoding {coding.strip()[:40]!r} is not read. Send it as it is."
            raise ProblemError("unsupported_media_type", detail, {"accept-encoding": "identity"})


def idempotency_key(request: Request, owner: str) -> str:
    """The request's Idempotency-Key, hashed together with whose it is; "" where it has none."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return ""
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise ProblemError("malformed_request", "Send one Idempotency-Key of 1 to 255 visible ASCII characters.")
    return hashlib.blake2b(f"{owner} {given[0]}".encode(), digest_size=16).hexdigest()


async def webhook_url(fields: Mapping[str, str], services: Services) -> str | None:
    """The `webhook_url`, refused at once where it can be told that it would never be called."""
    url = fields.get("webhook_url")
    if url is None:
        return None
    if services.settings.webhook_key is None:
        detail = "This service has no secret to sign webhooks with. Its operator must set IMGSVC_WEBHOOK_SECRET."
        raise ProblemError("invalid_webhook_url", detail)
    try:
        await services.outbound.check(url)
    except UrlNotAllowedError as error:
        raise ProblemError("invalid_webhook_url", error.detail) from None
    except UnreachableError as error:  # there is time until the job ends, and the URL is judged again then
        log.info("a webhook's host cannot be resolved now: %r", error.__cause__)
    return url
