"""`GET /openapi.json`: the API described; `GET /docs`: a page to read that, and to try it."""

from functools import cache
from pathlib import Path

import orjson
from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.assets import Asset
from imgsvc.api.context import services
from imgsvc.api.errors import ProblemError
from imgsvc.api.openapi import document

_FOLDER = Path(__file__).parent / "docs"
_PAGE = "docs.html"


async def openapi(request: Request) -> Response:
    here = services(request)
    return _described(here.settings.max_upload_bytes, tuple(here.presets)).answer(request)


async def docs(request: Request) -> Response:
    return _assets()[_PAGE].answer(request)


async def docs_asset(request: Request) -> Response:
    """The page's scripts and styles."""
    asset = _assets().get(request.path_params["name"])
    if asset is None:
        raise ProblemError("not_found", "The page has no such file.")
    return asset.answer(request)


@cache
def _described(max_upload_bytes: int, presets: tuple[str, ...]) -> Asset:
    return Asset(orjson.dumps(document(max_upload_bytes, presets)), "application/json", {})


@cache
def _assets() -> dict[str, Asset]:
    return {file.name: Asset.of(file) for file in _FOLDER.iterdir()}
