"""The error catalogue: every code that imgsvc reports, over HTTP or in a job.

A code is a stable name that programs may rely on; titles and details are for people.
"""

from enum import IntEnum
from http import HTTPStatus


class TusStatus(IntEnum):
    """Statuses that tus has made up."""

    CHECKSUM_MISMATCH = 460

    @property
    def phrase(self) -> str:
        return self.name.replace("_", " ").title()


# code: HTTP status of the problem document (RFC 9457) that carries it
HTTP_PROBLEMS: dict[str, HTTPStatus | TusStatus] = {
    "malformed_body": HTTPStatus.BAD_REQUEST,
    "malformed_request": HTTPStatus.BAD_REQUEST,
    "digest_mismatch": HTTPStatus.BAD_REQUEST,
    "unauthorized": HTTPStatus.UNAUTHORIZED,
    "forbidden": HTTPStatus.FORBIDDEN,
    "token_expired": HTTPStatus.FORBIDDEN,
    "signature_invalid": HTTPStatus.FORBIDDEN,
    "signature_expired": HTTPStatus.FORBIDDEN,
    "not_found": HTTPStatus.NOT_FOUND,
    "expired": HTTPStatus.GONE,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "request_timeout": HTTPStatus.REQUEST_TIMEOUT,
    "conflict": HTTPStatus.CONFLICT,
    "idempotency_in_flight": HTTPStatus.CONFLICT,
    "token_used": HTTPStatus.CONFLICT,
    "precondition_failed": HTTPStatus.PRECONDITION_FAILED,
    "upload_too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "uri_too_long": HTTPStatus.REQUEST_URI_TOO_LONG,
    "unsupported_media_type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "range_not_satisfiable": HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    "headers_too_large": HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "missing_file": HTTPStatus.UNPROCESSABLE_ENTITY,
    "empty_file": HTTPStatus.UNPROCESSABLE_ENTITY,
    "too_many_files": HTTPStatus.UNPROCESSABLE_ENTITY,
    "unknown_field": HTTPStatus.UNPROCESSABLE_ENTITY,
    "invalid_field": HTTPStatus.UNPROCESSABLE_ENTITY,
    "invalid_preset": HTTPStatus.UNPROCESSABLE_ENTITY,
    "invalid_variants": HTTPStatus.UNPROCESSABLE_ENTITY,
    "invalid_webhook_url": HTTPStatus.UNPROCESSABLE_ENTITY,
    "url_not_allowed": HTTPStatus.UNPROCESSABLE_ENTITY,
    "idempotency_mismatch": HTTPStatus.UNPROCESSABLE_ENTITY,
    "checksum_mismatch": TusStatus.CHECKSUM_MISMATCH,
    "rate_limited": HTTPStatus.TOO_MANY_REQUESTS,
    "quota_exceeded": HTTPStatus.TOO_MANY_REQUESTS,
    "queue_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "storage_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "overloaded": HTTPStatus.SERVICE_UNAVAILABLE,
    "internal_error": HTTPStatus.INTERNAL_SERVER_ERROR,
}

# code: the `detail` of a job that failed with it. Never an HTTP status.
JOB_FAILURES: dict[str, str] = {
    "decode_failed": "The file is damaged, or is not the image that it claims to be.",
    "image_too_large": "The image or one of its variants has more pixels than this service accepts.",
    "too_many_frames": "The animation has more frames than this service accepts.",
    "unsupported_format": "The image format is not supported.",
    "crop_outside": "A variant's crop lies outside of the image.",
    "decode_timeout": "The image took too long to decode.",
    "decoder_oom": "The image needs more memory than a decoder may use.",
    "decoder_crashed": "The decoder died on this image.",
    "encode_failed": "A variant could not be written in its format.",
    "source_missing": "The original is gone from storage.",
    "source_corrupt": "The original in storage is not the one that was uploaded.",
    "overlay_missing": "An overlay of the variants is gone from storage. The operator has to restore it.",
    "overlay_corrupt": "An overlay in storage is not the one that was pinned. The operator has to restore it.",
    "overlay_invalid": "An overlay of the variants is damaged, or has more pixels than an overlay may have.",
    "rejected": "The image was rejected, and nothing was made of it.",
    "gate_unavailable": "The gate that has to allow images could not be asked for too long.",
    "fetch_failed": "The image could not be fetched from its URL.",
    "storage_unavailable": "Object storage was unavailable for too long.",
    "attempts_exhausted": "The job's workers died too often.",
    "internal_error": "The service failed on this image; the operator's log has the reason.",
}

# code: what was given up or assumed of an original, in a job that succeeded
WARNINGS: dict[str, str] = {
    "truncated": "The file ends too early or is damaged; what it lacks of the image is left blank.",
    "profile_dropped": "The file's colour profile is damaged, too large or of another colour model, and was ignored.",
    "colour_assumed": "The file's colours are described in a way that can only be converted approximately.",
    "gamut_reduced": "Colours were to be kept, and the file's format or their description allows only some of them.",
    "frames_cut": "The animation has more frames than this service accepts; the last ones were left out.",
    "frame_missing": "The file has fewer pages or frames than the variant asks for; its last one was taken.",
    "crop_clipped": "A variant's crop reaches over the edge of the image; the part inside was used.",
    "max_bytes_exceeded": "A variant is larger than its max_bytes allow, and this is the smallest that it can be.",
    "gate_skipped": "The gate that allows images could not be asked, and the operator lets them pass then.",
    "animation_dropped": "All frames were asked for in a format that has only one; the first was taken.",
}


class CodedError(Exception):
    """An error that carries a code of this catalogue; each layer raises its own subclass.

    `detail` is for the client: what to do next; and never names a host, a key or a library.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class JobError(CodedError):
    """Ends a job in FAILURE with a code of JOB_FAILURES."""

    def __init__(self, code: str, detail: str | None = None) -> None:
        super().__init__(code, detail or JOB_FAILURES[code])
