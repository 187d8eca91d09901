"""`GET /openapi.json`: the API described; `GET /docs`: a page to read that, and to try it."""

from functools import cache
from importlib import resources

import orjson
from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.assets import Asset, Folder
from imgsvc.api.context import services
from imgsvc.api.openapi import document


async def openapi(request: Request) -> Response:
    here = services(request)
    return _described(here.settings.max_upload_bytes, tuple(here.presets), here.settings.base_path).answer(request)


async def docs(request: Request) -> Response:
    return _files().answer(request, "docs.html")


async def docs_asset(request: Request) -> Response:
    return _files().answer(request, request.path_params["name"])


@cache
def _described(max_upload_bytes: int, presets: tuple[str, ...], base_path: str) -> Asset:
    return Asset(orjson.dumps(document(max_upload_bytes, presets, base_path)), "application/json")


@cache
def _files() -> Folder:
    return Folder(resources.files("imgsvc.api") / "docs")
