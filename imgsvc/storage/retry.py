"""Which failures are tried again, and when; and redirects, which are never followed."""

import random
from http import HTTPStatus
from typing import Any

from botocore.exceptions import EndpointConnectionError, HTTPClientError, ProxyConnectionError, SSLError

_TRIES = 8
_PAUSES_S = (0.05, 0.5)
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_LASTING = {HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, HTTPStatus.INSUFFICIENT_STORAGE}
_PASSING_CODES = {
    *("RequestTimeout", "OperationAborted", "ConditionalRequestConflict"),
    *("SlowDown", "TooManyRequests", "Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestThrottled"),
    *("InternalError", "InternalFailure", "ServiceUnavailable", "BandwidthLimitExceeded"),
}


def again(attempts: int, response: Any, caught_exception: Exception | None, **_: Any) -> float | None:
    """Seconds until a call that failed is tried again, or None where that is of no use.

    botocore's own pauses grow so fast that few tries fit into a call's deadline. With these, 30 % of failures on the
    way make a call fail once in 15 000 times, and an S3 that is away is told within two seconds or so.
    """
    if attempts >= _TRIES or not (_passes(response) or _breaks_off(caught_exception)):
        return None
    return random.uniform(0.5, 1) * min(_PAUSES_S[1], _PAUSES_S[0] * 2 ** (attempts - 1))  # noqa: S311 (no secret)


def stay(params: dict[str, Any], **_: Any) -> None:
    """Keeps botocore from following a redirect to another region.

    It asks for the bucket's region by a request which may be redirected itself, without an end. Our region is a
    setting, and what is wrong with it is said.
    """
    params["context"].setdefault("s3_redirect", {})["redirected"] = True


def _passes(response: Any) -> bool:
    if response is None:
        return False
    status = response[0].status_code
    return (
        status in _PASSING
        or (status >= HTTPStatus.INTERNAL_SERVER_ERROR and status not in _LASTING)
        or response[1].get("Error", {}).get("Code") in _PASSING_CODES
    )


def _breaks_off(error: Exception | None) -> bool:
    passing = isinstance(error, EndpointConnectionError | HTTPClientError | ProxyConnectionError)
    return passing and not isinstance(error, SSLError)
