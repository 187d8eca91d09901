"""`Upload-Metadata` (tus): the options of an upload, each with its text in base64."""

import base64
import re

from imgsvc.api.http.errors import ProblemError
from imgsvc.api.receive.form import IGNORED_FIELDS
from imgsvc.domain.options import OPTIONS

MAX_BYTES = 16 * 1024
_TYPE = "filetype"
_NAME = re.compile(r"[!-+\--~]{1,80}")  # no comma, no space


def fields_of(header: str) -> tuple[dict[str, str], str]:
    """Returns the options in a header, each as the text that a form field would have; and what `filetype` says.

    Raises:
        ProblemError: malformed_request, unknown_field or invalid_field.
    """
    fields, filetype = dict[str, str](), ""
    if len(header) > MAX_BYTES:
        raise ProblemError("headers_too_large", f"Upload-Metadata is longer than {MAX_BYTES} bytes.")
    seen = set[str]()
    for pair in header.split(",") if header.strip() else ():
        name, _, text = pair.strip().partition(" ")
        if not _NAME.fullmatch(name):
            raise ProblemError("malformed_request", "Upload-Metadata must be pairs of a name and a base64 text.")
        if name in seen:
            raise ProblemError("invalid_field", f"{name!r} is there twice. Send it once.")
        seen.add(name)
        value = _decoded(name, text.strip())
        if name in OPTIONS:
            fields[name] = value
        elif name == _TYPE:
            filetype = value
        elif name not in IGNORED_FIELDS:
            names = ", ".join(sorted(OPTIONS.keys() | {_TYPE}))
            raise ProblemError("unknown_field", f"{name!r} is not a field of an upload. The fields are: {names}.")
    return fields, filetype


def _decoded(name: str, text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        raise ProblemError("invalid_field", f"{name!r} in Upload-Metadata is not UTF-8 text in base64.") from None
