"""What is served as it is: pages, the few small files that they are made of, and documents that do not change."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import PurePath

from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.errors import ProblemError

_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' blob: data:",
    "connect-src 'self'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
)
_HEADERS = {
    "cache-control": "no-cache",  # kept, but asked about by its entity tag: all files change together
    "content-security-policy": "; ".join(_POLICY),
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",  # signed URLs stay here
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Asset:
    data: bytes
    media_type: str
    etag: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "etag", f'"{hashlib.blake2b(self.data, digest_size=8).hexdigest()}"')

    def answer(self, request: Request) -> Response:
        headers = _HEADERS | {"etag": self.etag}
        tags = ",".join(request.headers.getlist("if-none-match")).split(",")
        if {"*", self.etag} & {tag.strip().removeprefix("W/") for tag in tags}:  # RFC 9110, 13.1.2
            return Response(status_code=304, headers=headers)
        return Response(self.data, headers=headers, media_type=self.media_type)


class Folder:
    """Files by name. Read once: together they are smaller than a photo."""

    def __init__(self, path: Traversable) -> None:
        self._assets: Mapping[str, Asset] = {
            file.name: Asset(file.read_bytes(), _MEDIA_TYPES[PurePath(file.name).suffix])
            for file in path.iterdir()
            if PurePath(file.name).suffix in _MEDIA_TYPES
        }

    def answer(self, request: Request, name: str) -> Response:
        asset = self._assets.get(name)
        if asset is None:
            raise ProblemError("not_found", "There is nothing at this path.")
        return asset.answer(request)
