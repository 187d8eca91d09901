"""The problem documents (RFC 9457) of the API: each code's status is that of the catalogue, its meaning stands here."""

from collections.abc import Sequence

from imgsvc.api.openapi.parts import Json, answer, header
from imgsvc.api.openapi.parts import schema as schema_of
from imgsvc.domain.problems import HTTP_PROBLEMS

MEANINGS: dict[str, str] = {
    "malformed_body": "The body cannot be read: no form, no boundary, cut off, or no JSON.",
    "malformed_request": "The request is not valid HTTP/1.1, or one of its headers is not what it should be.",
    "digest_mismatch": "The body is not the one whose digest was sent.",
    "unauthorized": "The request has no key or upload token, or a wrong one.",
    "forbidden": "The request comes from another site's page, the service is not known by its `Host`, the upload "
    "token does not open this, or it is for operators alone.",
    "token_expired": "The upload token has expired. Whoever issued it can issue another one.",
    "signature_invalid": "The file's URL carries no signature, or a wrong one.",
    "signature_expired": "The file's URL has expired. The upload's result has a new one.",
    "not_found": "There is no such resource, or the caller may not see it.",
    "expired": "The upload has expired, and its status is no longer kept.",
    "method_not_allowed": "The path does not answer to this method; `Allow` lists those that it does.",
    "request_timeout": "The request came too slowly, or stopped coming.",
    "conflict": "The job's state does not allow this, or a resumable upload goes on from another offset.",
    "idempotency_in_flight": "The first upload with this Idempotency-Key or upload token is still being received.",
    "token_used": "The upload token was used for another file.",
    "precondition_failed": "The file is not the one that `If-Match` or `If-Unmodified-Since` asks for, or the version "
    "of tus is not one of this service.",
    "upload_too_large": "The body is larger than this service takes.",
    "uri_too_long": "The request's target is too long.",
    "unsupported_media_type": "The body is of a type, or the file of a format, that this service does not read.",
    "range_not_satisfiable": "The range lies beyond the file; `Content-Range` has its length.",
    "headers_too_large": "The request has too many headers, or too long ones.",
    "missing_file": "The form has no field `file`.",
    "empty_file": "The file has no bytes.",
    "too_many_files": "The form has more than one file.",
    "unknown_field": "There is no field or parameter of this name.",
    "invalid_field": "A field or parameter has a value that it cannot have.",
    "invalid_preset": "There is no preset of this name.",
    "invalid_variants": "The upload's own variants are wrong; `detail` names the variant and its field.",
    "invalid_webhook_url": "The webhook's URL cannot be called.",
    "url_not_allowed": "This service does not fetch from this URL.",
    "idempotency_mismatch": "The Idempotency-Key was used for another file, or for other options.",
    "checksum_mismatch": "The body does not have the checksum that was sent with it; nothing of it is kept.",
    "rate_limited": "The caller has started too many uploads recently.",
    "quota_exceeded": "The caller has uploaded too many bytes recently.",
    "queue_unavailable": "The queue is unavailable.",
    "storage_unavailable": "Object storage is unavailable.",
    "overloaded": "The service has too many jobs or requests.",
    "internal_error": "The service failed: a bug. Tell its operator the `request_id`.",
}

ANY_CALL = (
    "malformed_request",
    "forbidden",
    "request_timeout",
    "uri_too_long",
    "headers_too_large",
    "overloaded",
    "internal_error",
)
"""What any call may be refused with, whatever it asks for."""

MEDIA_TYPE = "application/problem+json"

_HEADERS = {
    "unauthorized": "WWW-Authenticate",
    "method_not_allowed": "Allow",
    "unsupported_media_type": "Accept-Encoding",
    "idempotency_in_flight": "Retry-After",
    "range_not_satisfiable": "Content-Range",
}
RATE_LIMIT = ("RateLimit-Policy", "RateLimit")
_LIMITS = {"rate_limited", "quota_exceeded"}
_TEMPORARY = {"429", "503"}


def by_status(codes: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for code in codes:
        found.setdefault(_status(code), []).append(code)
    return found


def answer_with(codes: Sequence[str]) -> Json:
    """The answer that carries one of these codes, all of one status. One code alone has a component of its own."""
    return {"$ref": f"#/components/responses/{codes[0]}"} if len(codes) == 1 else described(codes)


def described(codes: Sequence[str], *, has_body: bool = True) -> Json:
    """The same in full. An answer to HEAD has no body."""
    status = _status(codes[0])
    content = {
        "schema": schema_of("Problem")
        | {"properties": {"status": {"const": int(status)}, "code": {"enum": list(codes)}}},
        "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
    }
    meanings = [f"`{code}`: {MEANINGS[code]}" for code in codes]
    whole = answer(
        meanings[0] if len(meanings) == 1 else "One of:\n\n- " + "\n- ".join(meanings),
        {MEDIA_TYPE: content} if has_body else None,
        _headers(status, codes),
    )
    if "Retry-After" in whole["headers"] and status not in _TEMPORARY and len(codes) > 1:
        whole["headers"]["Retry-After"] = header("Retry-After-Of-Some")
    return whole


def responses() -> Json:
    """One of each code."""
    return {code: described([code]) for code in HTTP_PROBLEMS}


def _headers(status: str, codes: Sequence[str]) -> list[str]:
    own = [_HEADERS[code] for code in codes if code in _HEADERS]
    if not _LIMITS.isdisjoint(codes):
        own += RATE_LIMIT
    return [*own, "Retry-After"] if status in _TEMPORARY else own


def _status(code: str) -> str:
    return str(int(HTTP_PROBLEMS[code]))


def example(code: str) -> Json:
    status = HTTP_PROBLEMS[code]
    return {
        "type": f"about:blank#{code}",
        "title": status.phrase,
        "status": int(status),
        "detail": MEANINGS[code],
        "code": code,
        "instance": "/upload",
        "request_id": "f9fb546d373eba3b",
    }


def examples() -> Json:
    """One of each code."""
    return {code: {"summary": meaning, "value": example(code)} for code, meaning in MEANINGS.items()}
