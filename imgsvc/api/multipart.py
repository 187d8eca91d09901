"""Upload bodies: a request's stream becomes the file's chunks, and the fields beside them.

Nothing is spooled: what `chunks` yields is what just came from the network. The fields of a form may stand
before or after its file, so they are complete once `chunks` is exhausted.
"""

import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from urllib.parse import unquote

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from imgsvc.api.errors import ProblemError
from imgsvc.api.names import safe_filename
from imgsvc.api.options import no_query

FILE_FIELD = "file"
FORM_OVERHEAD_BYTES = 64 * 1024
"""How much longer than its file a form may be."""

_MAX_FIELD_BYTES = 16 * 1024
_EXTENDED_NAME = re.compile(r";\s*filename\*\s*=\s*UTF-8'[^']*'([^\s;]+)", re.IGNORECASE)  # RFC 8187


class RawBody:
    """A body that is the file itself; its fields and its name come in the query, or the name in a header."""

    def __init__(self, request: Request, fields: frozenset[str], stream: AsyncIterator[bytes]) -> None:
        self.fields: dict[str, str] = {}
        for name, value in request.query_params.multi_items():
            _check_known(name, fields | {"filename"})
            if name in self.fields:
                raise _twice(name)
            self.fields[name] = value
        in_query = self.fields.pop("filename", "")
        self.filename = safe_filename(_disposition_filename(request) or in_query)
        self._stream = stream

    async def chunks(self) -> AsyncGenerator[bytes]:
        async for chunk in self._stream:
            yield chunk


class FormBody:
    """A `multipart/form-data` body (RFC 7578) with one file."""

    def __init__(self, request: Request, fields: frozenset[str], stream: AsyncIterator[bytes]) -> None:
        no_query(request, "Send it as a field of the form.")
        self.filename = ""
        self.fields: dict[str, str] = {}
        self._known = fields
        self._stream = stream
        self._ready: deque[bytes] = deque()
        self._has_file = False
        self._ended = False
        self._name = ""
        self._value = bytearray()
        self._header = (bytearray(), bytearray())
        self._headers: dict[bytes, bytes] = {}
        self._parser = self._make_parser(request)

    async def chunks(self) -> AsyncGenerator[bytes]:
        overhead = 0
        async for data in self._stream:
            try:
                self._parser.write(data)
            except FormParserError as error:
                raise ProblemError("malformed_body", f"The form cannot be read: {error}.") from None
            overhead += len(data)
            while self._ready:
                chunk = self._ready.popleft()
                overhead -= len(chunk)
                yield chunk
            if overhead > FORM_OVERHEAD_BYTES:
                detail = f"The form has more than {FORM_OVERHEAD_BYTES} bytes besides its file."
                raise ProblemError("malformed_body", detail)
        if not self._ended:
            raise ProblemError("malformed_body", "The form ends in the middle: its last boundary is missing.")
        if not self._has_file:
            raise ProblemError("missing_file", f"The form has no file. Send the image as a file field {FILE_FIELD!r}.")

    def _make_parser(self, request: Request) -> MultipartParser:
        _, options = parse_options_header(request.headers["content-type"])
        boundary = options.get(b"boundary")
        if not boundary:
            raise ProblemError("malformed_body", "The Content-Type has no boundary. Let your client library set it.")
        callbacks = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }
        try:
            return MultipartParser(boundary, callbacks)  # pyright: ignore[reportArgumentType] (a TypedDict of its own)
        except FormParserError as error:
            raise ProblemError("malformed_body", f"The form cannot be read: {error}.") from None

    def _on_part_begin(self) -> None:
        self._headers = {}
        self._value = bytearray()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _on_header_end(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._name = options.get(b"name", b"").decode(errors="replace")
        if self._name != FILE_FIELD:
            _check_known(self._name, self._known)
            return
        if self._has_file:
            raise ProblemError("too_many_files", "Send one file a request.")
        self._has_file = True
        self.filename = safe_filename(options.get(b"filename", b"").decode(errors="replace"))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == FILE_FIELD:
            self._ready.append(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > _MAX_FIELD_BYTES:
            raise ProblemError("invalid_field", f"{self._name!r} is longer than {_MAX_FIELD_BYTES} bytes.")

    def _on_part_end(self) -> None:
        if self._name == FILE_FIELD:
            return
        if self._name in self.fields:
            raise _twice(self._name)
        try:
            self.fields[self._name] = self._value.decode()
        except UnicodeDecodeError:
            raise ProblemError("invalid_field", f"{self._name!r} is not UTF-8.") from None

    def _on_end(self) -> None:
        self._ended = True


def open_body(request: Request, fields: frozenset[str], stream: AsyncIterator[bytes]) -> RawBody | FormBody:
    """The upload that a request carries in `stream`. `fields` are the names that may stand beside the file.

    Raises:
        ProblemError: here or while reading: malformed_body, missing_file, too_many_files, unknown_field,
            invalid_field.
    """
    kind, _ = parse_options_header(request.headers.get("content-type"))
    if kind == b"multipart/form-data":
        return FormBody(request, fields, stream)
    if kind in {b"", b"application/octet-stream"} or kind.startswith(b"image/"):
        return RawBody(request, fields, stream)
    raise ProblemError(
        "unsupported_media_type",
        "Send the image as multipart/form-data with a file field 'file', or as the body itself with an image/* type.",
    )


async def at_most(chunks: AsyncIterator[bytes], max_bytes: int) -> AsyncGenerator[bytes]:
    """The same chunks; raises upload_too_large as soon as there are more than `max_bytes`."""
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise too_large(max_bytes)
        yield chunk


def too_large(max_bytes: int) -> ProblemError:
    return ProblemError("upload_too_large", f"The file is larger than the {max_bytes} bytes that this service takes.")


def _check_known(name: str, fields: frozenset[str]) -> None:
    if name not in fields:
        known = ", ".join(sorted(fields | {FILE_FIELD}))
        raise ProblemError("unknown_field", f"{name[:80]!r} is not a field of an upload. There are: {known}.")


def _twice(name: str) -> ProblemError:
    return ProblemError("invalid_field", f"{name[:80]!r} is there twice.")


def _disposition_filename(request: Request) -> str:
    """The name in the request's own header, where RFC 6266 lets `filename*` go first; a form's part has none of it."""
    if extended := _EXTENDED_NAME.search(request.headers.get("content-disposition", "")):
        return unquote(extended[1])
    _, options = parse_options_header(request.headers.get("content-disposition"))
    return options.get(b"filename", b"").decode(errors="replace")
