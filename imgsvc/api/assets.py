"""What is served as it is: prepared once, told apart by its entity tag."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from starlette.requests import Request
from starlette.responses import Response

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS = {"cache-control": "no-cache", "x-content-type-options": "nosniff"}
"""A copy may be kept, and is asked about before each use: it is as new as the service."""

PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}
"""A page whose scripts and styles are its own files, and which speaks to this service alone."""


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    media_type: str
    headers: Mapping[str, str]
    etag: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.blake2b(self.body, digest_size=12).hexdigest()
        object.__setattr__(self, "etag", f'"{digest}"')

    @classmethod
    def of(cls, file: Path) -> Self:
        kind = _MEDIA_TYPES[file.suffix]
        return cls(file.read_bytes(), kind, PAGE_HEADERS if file.suffix == ".html" else {})

    def answer(self, request: Request) -> Response:
        headers = {**_HEADERS, **self.headers, "etag": self.etag}
        if _has_copy(request, self.etag):
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type=self.media_type)


def _has_copy(request: Request, etag: str) -> bool:
    """Whether If-None-Match names it (RFC 9110, 13.1.2)."""
    tags = ",".join(request.headers.getlist("if-none-match")).split(",")
    return bool({"*", etag} & {tag.strip().removeprefix("W/") for tag in tags})
