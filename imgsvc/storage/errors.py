"""The meaning of a failure of S3, and what an operator can do about it.

StorageError        S3 is unavailable, too slow, refuses, or gives an invalid answer
 └── MissingError   there is no such key, bucket or upload
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ProxyConnectionError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from imgsvc.domain.problems import CodedError

_SKEW_S = 300
"""Seconds of clock skew that explain a refusal without a reason; S3 refuses 15 minutes, and this is a third."""

_MISSING = {"404", "NoSuchKey", "NoSuchUpload", "NotFound"}
_MOVED = {
    *("301", "302", "307", "308", "PermanentRedirect", "TemporaryRedirect", "Redirect"),
    *("AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "InvalidLocationConstraint"),
}
_CLOCK = {"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"}
_NOT_IMPLEMENTED = {"501", "NotImplemented", "405", "MethodNotAllowed", "UnsupportedOperation"}

_OWN_KEYS = "or set IMGSVC_S3_ACCESS_KEY_ID and IMGSVC_S3_SECRET_ACCESS_KEY"
REFUSED = "S3 refuses the credentials: check the access key, its secret, and what it may do with the bucket"

_REASONS: Mapping[str, str] = {
    "InvalidAccessKeyId": "S3 does not know these credentials: check IMGSVC_S3_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "S3 refuses the signature of these credentials: check IMGSVC_S3_SECRET_ACCESS_KEY and "
    "IMGSVC_S3_REGION, and that no proxy on the way changes requests",
    "ExpiredToken": f"the machine's AWS credentials have expired: renew them, {_OWN_KEYS}",
    "TokenRefreshRequired": f"the machine's AWS credentials have expired: renew them, {_OWN_KEYS}",
    "InvalidToken": f"S3 refuses the machine's AWS credentials (their token is not valid): renew them, {_OWN_KEYS}",
    "NoSuchBucket": "there is no such bucket: make it, or start the API with credentials that may make it; "
    "IMGSVC_S3_BUCKET names it",
    "BucketAlreadyExists": "the bucket's name belongs to somebody else: set IMGSVC_S3_BUCKET to another one",
    "InvalidBucketName": "S3 takes no bucket of this name: set IMGSVC_S3_BUCKET to lower-case letters, digits and -",
    "TooManyBuckets": "the account has as many buckets as it may have: make room for one, or set IMGSVC_S3_BUCKET",
    "MissingContentLength": "S3 got no Content-Length: something on the way changes requests",
    "QuotaExceeded": "the S3 server's quota is used up: raise it or delete something",
    "XMinioStorageFull": "the S3 server's disks are full: make room",
    "InsufficientStorage": "the S3 server's disks are full: make room",
    "InvalidObjectState": "a lifecycle rule has archived the object: exempt the bucket from archiving, and restore it",
    "ObjectLocked": "an object lock or a retention rule of the bucket forbids deletion: use a bucket without one",
    "InvalidRegionName": "S3 knows no such region: check IMGSVC_S3_REGION",
}


class StorageError(CodedError):
    """S3 is unavailable, too slow, or answers with an error. The same call may succeed later.

    `reason` is set if an operator must act, and names no host, path or secret. `s3_code` is the
    code of S3's own answer, "" where there was none.
    """

    def __init__(self, reason: str | None = None, s3_code: str = "") -> None:
        super().__init__("storage_unavailable", "Object storage is not available at the moment. Try again shortly.")
        self.reason = reason
        self.s3_code = s3_code

    @property
    def is_not_implemented(self) -> bool:
        return self.s3_code in _NOT_IMPLEMENTED


class MissingError(StorageError):
    """There is no such key, bucket or upload. A caller that does not expect this treats it as any other failure."""


class AnswerError(Exception):
    """An answer with a good status that lacks what S3 always says, or contradicts what was asked."""


class NoCredentialsError(Exception):
    """The machine's own AWS settings give no credentials. `__cause__` is what is wrong with them, if anything."""


_NO_ANSWER = (AnswerError, ResponseParserError, KeyError)  # KeyError: a part of the answer is missing


@dataclass(frozen=True, slots=True)
class Place:
    """What a reason refers to: the bucket, and the region that requests are signed for."""

    bucket: str
    region: str


def is_expected(error: Exception) -> bool:
    """Returns whether networks and servers fail like this; anything else is a bug, here or in the client library."""
    return isinstance(
        error, (BotoCoreError, ClientError, aiohttp.ClientError, OSError, NoCredentialsError, *_NO_ANSWER)
    )


def translate(error: Exception, place: Place) -> StorageError:
    """Translates any exception of the S3 client."""
    if isinstance(error, ClientError):
        return _answered(error, place)
    if isinstance(error, _NO_ANSWER):
        return StorageError(
            "what answers does not speak S3: check IMGSVC_S3_ENDPOINT_URL, and what is on the way to it"
        )
    if isinstance(error, NoCredentialsError):
        return StorageError(f"the machine has no usable AWS credentials: set them right, {_OWN_KEYS}")
    if isinstance(error, SSLError) or _is_caused_by_file(error):
        return StorageError(
            "the S3 endpoint's certificate is not trusted: set IMGSVC_S3_CA_FILE to a PEM file of who signed it, and "
            "IMGSVC_S3_ENDPOINT_URL to a name that it is made for"
        )
    if isinstance(error, ProxyConnectionError):
        return StorageError("the proxy on the way to S3 cannot be used: check IMGSVC_S3_PROXY_URL or https_proxy")
    return StorageError()


def _is_caused_by_file(error: Exception) -> bool:
    """Returns whether a file of certificates is unreadable or empty; socket errors have another form."""
    return isinstance(getattr(error, "kwargs", {}).get("error"), FileNotFoundError | PermissionError | ssl.SSLError)


def _answered(error: ClientError, place: Place) -> StorageError:
    answer: Any = error.response
    code = str(answer.get("Error", {}).get("Code") or "")
    if code in _MISSING:
        reason = _REASONS["NoSuchBucket"] if error.operation_name == "HeadBucket" else None
        return MissingError(reason, code)
    return StorageError(_reason(error.operation_name, code, answer, place), code)


def _reason(operation: str, code: str, answer: Any, place: Place) -> str | None:
    metadata = answer.get("ResponseMetadata", {})
    status, headers = metadata.get("HTTPStatusCode"), metadata.get("HTTPHeaders", {})
    message = str(answer.get("Error", {}).get("Message") or "").lower()
    region = _region(answer, headers)
    refused = status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
    skew_s = _skew_s(answer, headers)
    if code in _CLOCK or (refused and not code.isalpha() and abs(skew_s or 0) > _SKEW_S):
        return _clock(skew_s)
    if code in _MOVED or (region and region != place.region and status in {300, 400}):
        return _moved(region, place)
    if operation in {"DeleteObject", "PutObject"} and any(word in message for word in ("lock", "retention", "worm")):
        return _REASONS["ObjectLocked"]
    if code.startswith("KMS") or code.startswith("Kms"):
        return "S3 cannot use the bucket's KMS key: allow kms:GenerateDataKey and kms:Decrypt to the credentials"
    if code in _REASONS:
        return _REASONS[code]
    if code in _NOT_IMPLEMENTED:
        return f"the S3 server does not know {operation}: use one that does"
    if refused and operation == "CreateBucket":
        return f"the credentials may not make a bucket: make the bucket {place.bucket}, or allow s3:CreateBucket"
    if code == "AccessDenied" and operation != "HeadBucket":
        return f"the credentials may not call {operation}: allow it on the bucket {place.bucket} and its objects"
    return REFUSED if refused else None


def _region(answer: Any, headers: Mapping[str, str]) -> str:
    return str(headers.get("x-amz-bucket-region") or answer.get("Error", {}).get("Region") or "")


def _moved(region: str, place: Place) -> str:
    if region and region != place.region and region.replace("-", "").isalnum():
        return f"the bucket is in another region than IMGSVC_S3_REGION={place.region}: set it to {region}"
    return (
        f"S3 redirects requests for the bucket, or refuses the region {place.region}: set IMGSVC_S3_REGION to the "
        "bucket's region, and IMGSVC_S3_ENDPOINT_URL to an address that serves it"
    )


def _skew_s(answer: Any, headers: Mapping[str, str]) -> float | None:
    """Returns the seconds by which this machine's clock is ahead of S3's, by the time in its answer."""
    try:
        if text := answer.get("Error", {}).get("ServerTime"):
            theirs = datetime.fromisoformat(text)
        else:
            theirs = parsedate_to_datetime(headers.get("date", ""))
        return (datetime.now(UTC) - (theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC))).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None


def _clock(skew_s: float | None) -> str:
    if skew_s is None or abs(skew_s) < 1:
        return "S3 refuses the time of requests: set this machine's clock and the S3 server's by NTP"
    side = "ahead of" if skew_s > 0 else "behind"
    return f"this machine's clock is {abs(skew_s):.0f} s {side} S3's, which refuses requests for that: set it by NTP"
