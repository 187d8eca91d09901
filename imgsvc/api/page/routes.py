"""`GET /`: the web page, and the few small files that it is made of, served as they are written.

The page is public; what it shows comes by the same calls that any client makes, with the visitor's own key.
"""

from functools import cache
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.assets import Folder


async def index(request: Request) -> Response:
    return _files().answer(request, "index.html")


async def asset(request: Request) -> Response:
    return _files().answer(request, request.path_params["name"])


@cache
def _files() -> Folder:
    return Folder(resources.files("imgsvc.api.page") / "static")
