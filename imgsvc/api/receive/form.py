"""Upload bodies: a request's stream is split into the chunks of the file and the fields.

Nothing is spooled: `chunks` yields what has just arrived from the network. The fields of a form may come before or
after its file, so they are complete once `chunks` is exhausted.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping, Set

from starlette.requests import Request

from imgsvc.api.http.errors import ProblemError
from imgsvc.api.receive.disposition import decoded, filename, parameters
from imgsvc.api.receive.multipart import MultipartError, MultipartParser, PartBegins, PartEnds
from imgsvc.api.receive.options import no_content_encoding, no_query
from imgsvc.api.receive.transfer_encoding import decoder
from imgsvc.domain.options import FORM_FIELDS, OPTIONS

FILE_FIELD = "file"
IGNORED_FIELDS = frozenset({"name", "type", "relativePath"})
"""Fields that Uppy sends with each file by default."""

FORM_OVERHEAD_BYTES = 64 * 1024
"""How much longer than its file a form may be."""

_MAX_FIELD_BYTES = 16 * 1024
_CHARSET_FIELD = "_charset_"  # browsers set it to the charset of the following fields (RFC 7578, 4.6)


class RawBody:
    """A body that is the file itself; its fields are query parameters, its name also a header."""

    def __init__(self, request: Request, stream: AsyncIterator[bytes]) -> None:
        self.fields: dict[str, str] = {}
        for name, value in request.query_params.multi_items():
            _check_name(name, OPTIONS.keys())
            if name in self.fields:
                raise _repeated(name)
            self.fields[name] = value
        _, given = parameters(_header(request, "content-disposition"))
        if in_header := filename(given, in_form=False):
            self.fields["filename"] = in_header
        self.media_type = request.headers.get("content-type", "")
        self._stream = stream

    async def chunks(self) -> AsyncGenerator[bytes]:
        async for chunk in self._stream:
            yield chunk


class FormBody:
    """A `multipart/form-data` body (RFC 7578) with one file."""

    def __init__(self, request: Request, stream: AsyncIterator[bytes]) -> None:
        no_query(request, "Send it as a field of the form.")
        self.fields: dict[str, str] = {}
        self.media_type = ""
        self._stream = stream
        self._seen: set[str] = set()
        self._charset: str | None = None
        self._part = _Part({})
        self._overhead = 0  # bytes of the body outside the file
        _, given = parameters(_header(request, "content-type"))
        if b"boundary" not in given:
            raise _malformed("The Content-Type has no boundary. Let the HTTP library set this header.")
        try:
            self._parser = MultipartParser(given[b"boundary"])
        except MultipartError as error:
            raise _malformed(f"The form cannot be read: {error}.") from None

    async def chunks(self) -> AsyncGenerator[bytes]:
        async for data in self._stream:
            self._overhead += len(data)
            try:
                for content in self._contents(data):
                    yield content
            except MultipartError as error:
                raise _malformed(f"The form cannot be read: {error}.") from None
            if self._overhead > FORM_OVERHEAD_BYTES:
                raise _malformed(f"The form has more than {FORM_OVERHEAD_BYTES} bytes in addition to its file.")
        if not self._parser.ended:
            raise _malformed("The form is incomplete: its final boundary is missing.")
        if FILE_FIELD not in self._seen:
            raise ProblemError("missing_file", f"The form has no file. Send the image as a file field {FILE_FIELD!r}.")

    def _contents(self, data: bytes) -> Generator[bytes]:
        """Yields the bytes of the file in `data`."""
        for event in self._parser.feed(data):
            if isinstance(event, PartBegins):
                self._part = self._begin(event)
                continue
            content = self._part.take(event)
            if not self._part.is_file:
                if isinstance(event, PartEnds):
                    self._keep(self._part)
                continue
            if isinstance(event, bytes):
                self._overhead -= len(event)
            if content:
                yield content

    def _begin(self, event: PartBegins) -> "_Part":
        part = _Part(event.headers)
        if not part.is_file:
            if part.name not in IGNORED_FIELDS and part.name != _CHARSET_FIELD:
                _check_name(part.name, FORM_FIELDS)
            if part.name in self._seen:
                raise _repeated(part.name)
        elif part.name in self._seen:
            raise ProblemError("too_many_files", "Send one file per request.")
        else:
            self.fields["filename"] = part.filename
            self.media_type = part.media_type
        part.check_readable()
        self._seen.add(part.name)
        return part

    def _keep(self, part: "_Part") -> None:
        if part.name in IGNORED_FIELDS:
            return
        try:
            text = decoded(bytes(part.value), part.charset or self._charset or "utf-8")
            if part.name == _CHARSET_FIELD:
                decoded(b"", text)  # raises if it is unknown
        except ValueError as error:
            raise ProblemError("invalid_field", f"{part.name!r} cannot be read: {error}.") from None
        if part.name == _CHARSET_FIELD:
            self._charset = text
        else:
            self.fields[part.name] = text


class _Part:
    """A part of a form: the file, with its content passed on, or a field, with its `value` kept."""

    def __init__(self, headers: Mapping[bytes, bytes]) -> None:
        _, given = parameters(headers.get(b"content-disposition", b""))
        self.name = decoded(given.get(b"name", b""))
        self.is_file = self.name == FILE_FIELD
        self.filename = filename(given, in_form=True)
        self.value = bytearray()
        self._kind, of_type = parameters(headers.get(b"content-type", b""))
        self.charset = decoded(of_type[b"charset"]) if b"charset" in of_type else None
        self._encodings = [headers.get(name, b"") for name in (b"content-encoding", b"content-transfer-encoding")]
        self._decoder = decoder(self._encodings[1])

    @property
    def media_type(self) -> str:
        """As its client declares it."""
        return decoded(self._kind[:80])

    def check_readable(self) -> None:
        """Raises ProblemError if the content has an encoding that is not supported."""
        coding, transfer = (decoded(encoding[:40]) for encoding in self._encodings)
        if self._kind.startswith(b"multipart/"):
            raise _unreadable(f"{self.name!r} is a {decoded(self._kind[:40])!r}: send the file as a separate part.")
        if coding.lower() not in {"", "identity"}:
            raise _unreadable(f"{self.name!r} has Content-Encoding {coding!r}: send it without.")
        if self._decoder is None:
            raise _unreadable(f"{self.name!r} has Content-Transfer-Encoding {transfer!r}: use binary.")

    def take(self, event: bytes | PartEnds) -> bytes:
        """Returns the content that the event adds."""
        assert self._decoder is not None
        try:
            content = self._decoder.feed(event) if isinstance(event, bytes) else self._decoder.finish()
        except ValueError as error:
            raise _malformed(f"{self.name!r} does not have the encoding that its headers declare: {error}.") from None
        if not self.is_file:
            self.value += content
            if len(self.value) > _MAX_FIELD_BYTES:
                raise ProblemError("invalid_field", f"{self.name!r} is longer than {_MAX_FIELD_BYTES} bytes.")
        return content


def open_body(request: Request, stream: AsyncIterator[bytes]) -> RawBody | FormBody:
    """Returns the upload in `stream`, the body of a request.

    Raises:
        ProblemError: now or while reading: malformed_body, missing_file, too_many_files, unknown_field,
            invalid_field, unsupported_media_type.
    """
    no_content_encoding(request)
    kind, _ = parameters(_header(request, "content-type"))
    if kind == b"multipart/form-data":
        return FormBody(request, stream)
    if kind in {b"", b"application/octet-stream"} or kind.startswith(b"image/"):
        return RawBody(request, stream)
    raise _unreadable(
        "Send the image as multipart/form-data with a file field 'file', or as the whole body with an image/* type."
    )


async def at_most(chunks: AsyncIterator[bytes], max_bytes: int) -> AsyncGenerator[bytes]:
    """Yields the same chunks; raises upload_too_large as soon as they exceed `max_bytes`."""
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise too_large(max_bytes)
        yield chunk


def too_large(max_bytes: int) -> ProblemError:
    return ProblemError("upload_too_large", f"The file is larger than the {max_bytes} bytes that this service accepts.")


def _check_name(name: str, fields: Set[str]) -> None:
    if name not in fields:
        names = ", ".join(sorted(fields | {FILE_FIELD}))
        raise ProblemError("unknown_field", f"{name[:80]!r} is not a field of an upload. The fields are: {names}.")


def _repeated(name: str) -> ProblemError:
    return ProblemError("invalid_field", f"{name[:80]!r} is there twice. Send it once.")


def _malformed(detail: str) -> ProblemError:
    return ProblemError("malformed_body", detail)


def _unreadable(detail: str) -> ProblemError:
    return ProblemError("unsupported_media_type", detail)


def _header(request: Request, name: str) -> bytes:
    """Returns the bytes of a header: HTTP does not define their charset."""
    return request.headers.get(name, "").encode("latin-1")
