"""`GET /presets`: what an upload can ask for by name."""

from starlette.requests import Request
from starlette.responses import Response

from imgsvc.api.context import Document, services
from imgsvc.presets import document


async def presets(request: Request) -> Response:
    """Each variant in full, so that it may be sent back as one of an upload's own."""
    known = services(request).presets
    return Document(
        {"presets": {name: {variant.name: document(variant) for variant in preset} for name, preset in known.items()}}
    )
