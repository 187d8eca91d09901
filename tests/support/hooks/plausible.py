"""For schemathesis (SCHEMATHESIS_HOOKS): gives its requests what no generator can make up.

Images where an image belongs, a URL on loopback where one is to be fetched, and a file that there is. Everything
else stays as it was generated.
"""

import os
from typing import Any

import schemathesis
from schemathesis import Case, HookContext

from tests.support import images

_FILE: dict[str, Any] = dict(zip(("id", "name"), os.environ["FUZZ_FILE"].split("/")[-2:], strict=True))
_PHOTO = images.photo()


@schemathesis.hook
def before_load_schema(context: HookContext, raw_schema: dict[str, Any]) -> None:
    """It makes wrong values of a schema by negating it, and gives up at conditions below the root."""
    variant = raw_schema["components"]["schemas"]["Variant"]
    del variant["allOf"], variant["anyOf"]


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    body: Any = case.body
    if case.path == "/upload":
        if isinstance(body, bytes) and case.media_type != "multipart/form-data":
            case.body = _PHOTO
        elif isinstance(body, dict) and "file" in body:
            body["file"] = _PHOTO
            case.query = {}  # a form has its fields within it
    elif case.path == "/upload/url" and isinstance(body, dict) and "url" in body:
        body["url"] = os.environ["FUZZ_URL"]
    elif case.path.startswith("/files/"):
        case.path_parameters.update(_FILE)
