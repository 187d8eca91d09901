"""`GET /`: the web page, and the few small files that it is made of, served as they are written.

The page is public; what it shows comes by the same calls that any client makes, with the visitor's own key.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

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
    etag: str


async def index(request: Request) -> Response:
    return _serve(request, "index.html")


async def asset(request: Request) -> Response:
    return _serve(request, request.path_params["name"])


def _serve(request: Request, name: str) -> Response:
    found = _assets().get(name)
    if found is None:
        raise ProblemError("not_found", "There is nothing at this path.")
    headers = _HEADERS | {"etag": found.etag}
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if found.etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(found.data, headers=headers, media_type=found.media_type)


@cache
def _assets() -> Mapping[str, Asset]:
    """By name. Read once: together they are smaller than a photo."""
    return {
        file.name: _read(file.read_bytes(), _MEDIA_TYPES[suffix])
        for file in files("imgsvc.api.page").joinpath("static").iterdir()
        if (suffix := file.name[file.name.rfind(".") :]) in _MEDIA_TYPES
    }


def _read(data: bytes, media_type: str) -> Asset:
    return Asset(data, media_type, f'"{hashlib.blake2b(data, digest_size=8).hexdigest()}"')
