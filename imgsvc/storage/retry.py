"""Decides which failures are retried, and when. Redirects are never followed."""

import random
from http import HTTPStatus
from typing import Any

from botocore.exceptions import EndpointConnectionError, HTTPClientError, ProxyConnectionError, SSLError

_TRIES = 8
_PAUSES_S = (0.05, 0.5)
_TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_PERMANENT = {HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, HTTPStatus.INSUFFICIENT_STORAGE}
_TRANSIENT_CODES = {
    *("RequestTimeout", "OperationAborted", "ConditionalRequestConflict"),
    *("SlowDown", "TooManyRequests", "Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestThrottled"),
    *("InternalError", "InternalFailure", "ServiceUnavailable", "BandwidthLimitExceeded"),
}


def retry_delay_s(attempts: int, response: Any, caught_exception: Exception | None, **_: Any) -> float | None:
    """Returns the seconds until a failed call is retried, or None if that is of no use.

    botocore's own pauses grow so fast that few tries fit into a call's deadline. With these, 30 % of failures on the
    way make a call fail once in 15 000 times, and an unavailable S3 is reported within about two seconds.
    """
    if attempts >= _TRIES or not (_is_transient(response) or _is_cut_off(caught_exception)):
        return None
    return random.uniform(0.5, 1) * min(_PAUSES_S[1], _PAUSES_S[0] * 2 ** (attempts - 1))  # noqa: S311 (no secret)


def disable_redirects(params: dict[str, Any], **_: Any) -> None:
    """Keeps botocore from following a redirect to another region.

    It requests the bucket's region, and that request may itself be redirected, without end. Here the region is a
    setting, and a wrong one is reported.
    """
    params["context"].setdefault("s3_redirect", {})["redirected"] = True


def _is_transient(response: Any) -> bool:
    if response is None:
        return False
    status = response[0].status_code
    return (
        status in _TRANSIENT
        or (status >= HTTPStatus.INTERNAL_SERVER_ERROR and status not in _PERMANENT)
        or response[1].get("Error", {}).get("Code") in _TRANSIENT_CODES
    )


def _is_cut_off(error: Exception | None) -> bool:
    is_transport = isinstance(error, EndpointConnectionError | HTTPClientError | ProxyConnectionError)
    return is_transport and not isinstance(error, SSLError)
