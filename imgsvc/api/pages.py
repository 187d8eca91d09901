"""The web page at `/`, the operators' at `/admin` and the API reference at `/docs`, with the files they consist of.

Pages are public; what they show comes by the same calls that any client makes, with the visitor's own key.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import PurePath

import orjson
from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.http.context import services_of
from imgsvc.api.http.errors import NO_SUCH_PATH, ProblemError
from imgsvc.api.openapi import document

_FOLDERS = {"page", "admin", "docs", "shared"}
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


@cache
def _folder(name: str) -> Mapping[str, Asset]:
    """The files of one folder by name, read once: together they are smaller than a photo."""
    return {
        file.name: Asset(file.read_bytes(), _MEDIA_TYPES[PurePath(file.name).suffix])
        for file in (resources.files("imgsvc.api") / "static" / name).iterdir()
        if PurePath(file.name).suffix in _MEDIA_TYPES
    }


def _answer(request: Request, folder: str, name: str) -> Response:
    asset = _folder(folder).get(name) if folder in _FOLDERS else None
    if asset is None:
        raise ProblemError("not_found", NO_SUCH_PATH)
    return asset.answer(request)


async def index(request: Request) -> Response:
    return _answer(request, "page", "index.html")


async def admin(request: Request) -> Response:
    return _answer(request, "admin", "admin.html")


async def docs(request: Request) -> Response:
    return _answer(request, "docs", "docs.html")


async def asset(request: Request) -> Response:
    return _answer(request, request.path_params["folder"], request.path_params["name"])


async def openapi(request: Request) -> Response:
    settings, presets = services_of(request).settings, services_of(request).offer.catalogue.presets
    return _openapi(settings.max_upload_bytes, tuple(presets), settings.base_path).answer(request)


@cache
def _openapi(max_upload_bytes: int, presets: tuple[str, ...], base_path: str) -> Asset:
    return Asset(orjson.dumps(document(max_upload_bytes, presets, base_path)), "application/json")
