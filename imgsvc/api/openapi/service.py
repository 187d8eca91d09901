"""Operations on the service itself."""

from imgsvc.api.openapi import examples
from imgsvc.api.openapi.operations import operation
from imgsvc.api.openapi.parts import JSON, Json, answer, json, parameter, text

_TAG = "Service"
_PAGE = text("text/html", "A page.")
_COPIED = (
    "ETag",
    "Cache-Control",
    "Content-Security-Policy",
    "Cross-Origin-Opener-Policy",
    "Referrer-Policy",
    "X-Content-Type-Options",
)


def paths() -> Json:
    return {
        "/presets": {"get": _presets()},
        "/healthz": {"get": _health()},
        "/readyz": {"get": _readiness()},
        "/metrics": {"get": _metrics()},
        "/openapi.json": {"get": _openapi()},
        "/docs": {"get": _docs()},
        "/": {"get": _page()},
        "/admin": {"get": _admin()},
    }


def _copied(description: str, content: Json) -> dict[int, Json]:
    """Answers of what clients keep, and ask about by its tag."""
    return {
        200: answer(description, content, _COPIED),
        304: answer("The client's copy is current.", headers=_COPIED),
    }


def _presets() -> Json:
    return operation(
        _TAG,
        "get_presets",
        "List presets and overlays",
        "What an upload can ask for by name: presets, each variant in full, so that it may be sent back as one of an "
        "upload's own, and overlays, with the file that each name stands for now.",
        answers={200: answer("All presets and overlays.", json("Presets"))},
    )


def _health() -> Json:
    return operation(
        _TAG,
        "get_health",
        "Liveness",
        "Whether the process answers. Does not contact Redis or S3.",
        answers={200: answer("The process is alive.", json("Health"))},
        needs_key=False,
    )


def _readiness() -> Json:
    return operation(
        _TAG,
        "get_readiness",
        "Readiness",
        "Whether queue and storage are available. If no worker is alive, this is reported, but not with 503.",
        answers={
            200: answer("The process can serve.", json("Readiness")),
            503: answer("It cannot, or is stopping.", json("Readiness")),
        },
        needs_key=False,
    )


def _metrics() -> Json:
    return operation(
        _TAG,
        "get_metrics",
        "Metrics",
        "In Prometheus's text format.",
        answers={200: answer("The metrics.", text("text/plain", "Prometheus text.", examples.METRICS))},
    )


def _openapi() -> Json:
    return operation(
        _TAG,
        "get_openapi",
        "This document",
        "OpenAPI 3.1.",
        parameters=[parameter("If-None-Match")],
        answers=_copied("The document.", {JSON: {"schema": {"type": "object"}}}),
        needs_key=False,
    )


def _docs() -> Json:
    return operation(
        _TAG,
        "get_docs",
        "Documentation page",
        "Shows this document and sends requests. Loads nothing from other hosts.",
        parameters=[parameter("If-None-Match")],
        answers=_copied("The page.", _PAGE),
        needs_key=False,
    )


def _page() -> Json:
    return operation(
        _TAG,
        "get_page",
        "The web page",
        "Upload images, follow their processing, and download the results.",
        parameters=[parameter("If-None-Match")],
        answers=_copied("The page.", _PAGE),
        needs_key=False,
    )


def _admin() -> Json:
    return operation(
        _TAG,
        "get_admin_page",
        "The operators' page",
        "Watch the queue, search all owners' uploads, retry and cancel. Anybody may load it; what it shows needs an "
        "operator's key.",
        parameters=[parameter("If-None-Match")],
        answers=_copied("The page.", _PAGE),
        needs_key=False,
    )
