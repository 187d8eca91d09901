"""The API described as an OpenAPI 3.1 document.

What only a reader needs stands here: summaries, descriptions, examples. What the code goes by is taken from it: the
statuses of problems, the codes of jobs, the rules of variants, formats and limits.
"""

from collections.abc import Collection

from imgsvc.api.openapi import admin, deliveries, files, jobs, problems, resumable, service, shared, uploads, webhooks
from imgsvc.api.openapi.operations import KEY_OR_OPEN
from imgsvc.api.openapi.parts import Json
from imgsvc.api.openapi.schemas import schemas
from imgsvc.runtime.version import VERSION

_DESCRIPTION = """\
Upload an image; resized, compressed and thumbnail versions of it are made in the background.

1. `POST /upload` stores the image and queues its job: 202 with an `id`.
2. `GET /upload/{id}/status` returns its progress, `GET /upload/{id}/events` streams it.
3. `GET /upload/{id}/result` returns the URLs of the files.

Times are RFC 3339 in UTC, sizes bytes, dimensions pixels. Every error is a problem document (RFC 9457) with a stable
`code`; anything may be answered with 404 `not_found` where there is no such path, and with 405 `method_not_allowed`.
HEAD answers wherever GET does. Parameters of a query that are not known are let through by GET and HEAD, and refused
with 422 `unknown_field` by all else.
"""
_TAGS = {
    "Uploads": "Images go in.",
    "Jobs": "Their processing.",
    "Files": "Their results.",
    "Service": "The service itself.",
    "Operators": "All owners' uploads, and how the service is doing.",
}
_KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of this service. Uploads belong to the key's name, and another's are 404. A service without "
    "keys needs none.",
}


_TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "description": "An upload token of `POST /tokens`: it makes one upload, and opens what belongs to that.",
}
_TOKEN_IN_URL = {
    "type": "apiKey",
    "in": "query",
    "name": "token",
    "description": "The same in the URL, for web pages of the token's `origin`, which then need no other permission.",
}


def document(max_upload_bytes: int, presets: Collection[str], base_path: str = "") -> Json:
    """That of a service below `base_path` which takes files of so many bytes, and has presets of these names."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "imgsvc",
            "version": VERSION,
            "summary": "Image uploads, processed in the background.",
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": base_path or "/"}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "security": KEY_OR_OPEN,
        "paths": {
            **uploads.paths(max_upload_bytes),
            **resumable.paths(max_upload_bytes),
            **jobs.paths(),
            **deliveries.paths(),
            **files.paths(),
            **service.paths(),
            **admin.paths(),
        },
        "webhooks": webhooks.webhooks(),
        "components": {
            "schemas": schemas(presets),
            "responses": problems.responses(),
            "headers": shared.HEADERS,
            "parameters": shared.PARAMETERS,
            "examples": problems.examples(),
            "securitySchemes": {"key": _KEY, "token": _TOKEN, "token_in_url": _TOKEN_IN_URL},
        },
    }
