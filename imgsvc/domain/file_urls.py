"""The paths at which clients ask for uploads and their files, below the service's base path.

Where files are signed, a path ends in `?exp=<seconds since the epoch>&sig=<signature>` and is good until `exp`. The
signature is the HMAC-SHA256 of purpose, time and path, as base64 for URLs without padding. The purpose keeps it from
counting as a signature of anything else, should its secret ever serve for more.

There may be several secrets: the newest one signs, and what any of them has signed is good, so that one is replaced by
another while URLs of both are in use.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from time import time
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class FileUrls:
    """Makes the path of a stored file from its key, or of an upload from its id, as its client must ask for it.

    `secret` None leaves files public; signed ones are good for `ttl_s` seconds at most.
    """

    base_path: str
    secret: bytes | None
    ttl_s: int

    def __call__(self, key: str) -> str:
        path = self.base_path + quote(file_path(key))
        if self.secret is None:
            return path
        exp = expiry(time(), self.ttl_s)
        return f"{path}?exp={exp}&sig={sign(file_path(key), exp, self.secret)}"

    def upload(self, upload_id: str) -> str:
        return f"{self.base_path}/upload/{upload_id}"


def file_path(key: str) -> str:
    """The path of a stored file, as it stands decoded in its URL after the base path. This is what is signed."""
    return f"/files/{key}"


def expiry(now_s: float, ttl_s: int) -> int:
    """When a URL signed now ends: within `ttl_s`, and not before half of it has passed.

    The same for half of `ttl_s` at a time, so that a file keeps its URL and is found in caches meanwhile.
    """
    step = ttl_s // 2
    return int(now_s) // step * step + ttl_s


_PURPOSE = b"imgsvc file URL v1"
_EXP = re.compile(r"[1-9][0-9]{0,11}")


class Verdict(Enum):
    """The result of checking a signature. EXPIRED was once VALID: the client can fetch a new URL."""

    VALID = auto()
    EXPIRED = auto()
    INVALID = auto()


def sign(path: str, exp: int, secret: bytes) -> str:
    """The `sig` of a path, as it stands decoded in the URL, until `exp`."""
    message = b"\n".join((_PURPOSE, str(exp).encode(), path.encode()))
    return base64.urlsafe_b64encode(hmac.digest(secret, message, hashlib.sha256)).rstrip(b"=").decode()


def verify(path: str, exp: str, sig: str, secrets: Sequence[bytes], now_s: float) -> Verdict:
    """Judges what a client sent, by all secrets; takes the same time wherever a signature is wrong."""
    if not _EXP.fullmatch(exp):
        return Verdict.INVALID
    known = [hmac.compare_digest(sign(path, int(exp), secret).encode(), sig.encode()) for secret in secrets]
    if not any(known):
        return Verdict.INVALID
    return Verdict.VALID if now_s < int(exp) else Verdict.EXPIRED
