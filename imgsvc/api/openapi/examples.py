"""The examples of documents, put together from those of their fields; and those of what clients send."""

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, get_args, get_origin, get_type_hints

import orjson
from typing_extensions import TypeAliasType, is_typeddict

from imgsvc.domain import documents
from imgsvc.domain.described import Described
from imgsvc.domain.states import Status

Json = dict[str, Any]


def example_of(document: type) -> Json:
    """One of a document: all its members, but optional ones that have no example."""
    hints = get_type_hints(document, include_extras=True)
    found = {name: _example(hint) for name, hint in hints.items()}
    return {name: example for name, example in found.items() if example is not ...}


def _example(hint: Any) -> Any:
    kind, inside = get_origin(hint), get_args(hint)
    if kind is Annotated:
        own = [note.example for note in hint.__metadata__ if isinstance(note, Described) and note.example is not ...]
        return own[-1] if own else _example(hint.__origin__)
    if isinstance(hint, TypeAliasType):
        return _example(hint.__value__)
    if is_typeddict(hint):
        return example_of(hint)
    if kind is Literal:
        return inside[0]
    if kind in {NotRequired, UnionType}:
        return _example(inside[0])
    if kind is dict:
        return {"thumbnail": _example(inside[1])}
    if kind is list:
        return [_example(inside[0])]
    return None if hint is NoneType else ...


VARIANT = {"width": 640, "height": 480, "fit": "cover", "gravity": "attention", "format": "webp", "quality": 80}
UPLOAD_URL = {
    "url": "https://example.com/photo.jpg",
    "preset": "default",
    "metadata": {"order": "1234"},
    "expires_in": 86_400,
}
TERMS = {
    "preset": "default",
    "metadata": {"sku": "81"},
    "max_bytes": 20_000_000,
    "content_types": ["image/jpeg", "image/heic"],
    "origin": "https://app.example.com",
}
ACCEPTED = example_of(documents.Accepted)
JOB_ERROR = example_of(documents.JobError)
PROGRESS = example_of(documents.JobStatus)
_END = {"step": None, "finished_at": "2026-11-25T10:35:00.078Z"}
SUCCEEDED = PROGRESS | _END | {"status": Status.SUCCESS, "progress": 100}
FAILED = PROGRESS | _END | {"status": Status.FAILURE, "progress": 10, "error": JOB_ERROR}
SUCCESS = example_of(documents.Success)
ENDED = example_of(documents.Ended)
UPLOAD = example_of(documents.Upload) | {"status": SUCCEEDED}
EVENT = example_of(documents.Event) | {"data": {name: part for name, part in UPLOAD.items() if name != "webhook"}}
STREAM_EVENT = {"id": "4be1f0a7c2d9e835", "event": "status", "data": orjson.dumps(PROGRESS).decode()}
FILE_NAME = SUCCESS["result"]["thumbnail"].rpartition("/")[2]
METRICS = "# TYPE imgsvc_uploads_in_flight gauge\nimgsvc_uploads_in_flight 2.0\n"
