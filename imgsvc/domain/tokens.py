"""Upload tokens: the permission to make one upload, for a browser or a phone that must not have the key.

A token is `iut1.<terms>.<signature>`: all that it allows as compressed JSON, and the HMAC-SHA256 of everything before
it, both as base64 for URLs without padding. Nothing of it is stored. Its key is derived of the signing secret for this
purpose alone, so that no signed file URL can be taken for a token, or the other way round. There is one algorithm: what
begins with another word is no token.
"""

import base64
import hashlib
import hmac
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

PREFIX = "iut1."
"""What each token begins with, so that it is recognised among other texts."""

MAX_TOKEN_CHARS = 6 * 1024
"""Longest token: one that fits into a URL that common proxies let through."""

LEAST_VALID_S, MOST_VALID_S = 60, 86_400
"""How long a token may be valid, in seconds."""

VALID_S = 900

_PURPOSE = b"imgsvc upload token v1"
_TOKEN = re.compile(r"(iut1\.[A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class UploadToken:
    """What a token allows: one upload with this `id` for `owner`, until `expires_at` (seconds since the epoch).

    `options` are those that it fixes, each as the text of a form field. `max_bytes` None and no `content_types` allow
    what the service does. `origin` is the web page that may use it from a browser.
    """

    id: str
    owner: str
    expires_at: int
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    max_bytes: int | None = None
    content_types: tuple[str, ...] = ()
    origin: str | None = None

    def has_expired(self, now_s: float) -> bool:
        return now_s >= self.expires_at


def issue(token: UploadToken, secret: bytes) -> str:
    """Returns the token as it is sent. It is too long for URLs if it has more than MAX_TOKEN_CHARS characters."""
    terms = {name: value for name, value in asdict(token).items() if value}
    signed = PREFIX + _text(zlib.compress(orjson.dumps(terms), 9))
    return f"{signed}.{_signature(signed, secret)}"


def verify(text: str, secrets: Sequence[bytes]) -> UploadToken | None:
    """Returns the token that one of `secrets` has signed, which may have expired; None for everything else.

    Takes the same time wherever a signature is wrong.
    """
    match = _TOKEN.fullmatch(text) if len(text) <= MAX_TOKEN_CHARS else None
    if match is None:
        return None
    signed, given = match.groups()
    known = [hmac.compare_digest(_signature(signed, secret), given) for secret in secrets]
    return _read(signed) if any(known) else None


def _read(signed: str) -> UploadToken:
    """Reads what was signed, and so was written by `issue`."""
    encoded = signed.removeprefix(PREFIX)
    terms: dict[str, Any] = orjson.loads(zlib.decompress(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))))
    return UploadToken(
        id=terms["id"],
        owner=terms.get("owner", ""),
        expires_at=terms["expires_at"],
        options=terms.get("options", {}),
        max_bytes=terms.get("max_bytes"),
        content_types=tuple(terms.get("content_types", ())),
        origin=terms.get("origin"),
    )


def _signature(signed: str, secret: bytes) -> str:
    key = hmac.digest(secret, _PURPOSE, hashlib.sha256)
    return _text(hmac.digest(key, signed.encode(), hashlib.sha256))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
