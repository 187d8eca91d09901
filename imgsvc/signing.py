"""Signed file URLs: `/files/…?exp=<seconds since the epoch>&sig=<signature>`, good until `exp`.

The signature is the HMAC-SHA256 of purpose, time and path, as base64 for URLs without padding. The purpose keeps it
from counting as a signature of anything else, should its secret ever serve for more.
"""

import base64
import hashlib
import hmac
import re
from enum import Enum, auto

_PURPOSE = b"imgsvc file URL v1"
_EXP = re.compile(r"[1-9][0-9]{0,11}")


class Verdict(Enum):
    """What a signature is worth. EXPIRED was once VALID: who asks may be told to fetch a new URL."""

    VALID = auto()
    EXPIRED = auto()
    INVALID = auto()


def sign(path: str, exp: int, secret: bytes) -> str:
    """The `sig` of a path, as it stands decoded in the URL, until `exp`."""
    message = b"\n".join((_PURPOSE, str(exp).encode(), path.encode()))
    return base64.urlsafe_b64encode(hmac.digest(secret, message, hashlib.sha256)).rstrip(b"=").decode()


def verify(path: str, exp: str, sig: str, secret: bytes, now_s: float) -> Verdict:
    """Judges what a client sent; takes the same time wherever a signature is wrong."""
    if not _EXP.fullmatch(exp) or not hmac.compare_digest(sign(path, int(exp), secret).encode(), sig.encode()):
        return Verdict.INVALID
    return Verdict.VALID if now_s < int(exp) else Verdict.EXPIRED
