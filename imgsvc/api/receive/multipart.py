"""An incremental parser of `multipart/form-data` (RFC 7578, RFC 2046): bytes go in, parts come out.

    preamble ──▶ head ──▶ content ──▶ … ──▶ end, and an epilogue that is ignored
             --b      blank line   \\r\\n--b      --b--

Memory is bounded by the size of a part's head; content is passed on at once, except for what may begin a delimiter.
Like MIME parsers it accepts a preamble, folded headers, blanks after a boundary, and lines that end in LF alone if the
first boundary's line does (as Go's mime/multipart).
"""

import re
from collections.abc import Generator
from dataclasses import dataclass
from enum import Enum, auto

MAX_HEAD_BYTES = 8 * 1024
MAX_HEADERS = 32
_MAX_BOUNDARY_BYTES = 200  # 70 by RFC 2046
_MAX_LIKE_DELIMITERS = 1_000  # lines that begin like one: none by RFC 2046, and each costs as much as 10 kB

_LINE_END = re.compile(rb"--|[ \t]{0,255}\r?\n")
_MAY_BECOME_ONE = re.compile(rb"-?|[ \t]{0,255}\r?")
_LINE_BREAK = re.compile(rb"[\r\n]")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class MultipartError(ValueError):
    """The body is not a form; the message says why."""


@dataclass(frozen=True, slots=True)
class PartBegins:
    """The start of a part; `headers` are by name in lower case."""

    headers: dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class PartEnds:
    pass


Event = PartBegins | bytes | PartEnds
"""A part is its start, its content in any number of pieces, and its end."""


class _State(Enum):
    PREAMBLE = auto()
    HEAD = auto()
    CONTENT = auto()
    ENDED = auto()


class MultipartParser:
    """Parses one body; raises MultipartError, now or while it is fed."""

    def __init__(self, boundary: bytes) -> None:
        if not boundary or len(boundary) > _MAX_BOUNDARY_BYTES or _LINE_BREAK.search(boundary):
            raise MultipartError(f"its boundary is not one of 1 to {_MAX_BOUNDARY_BYTES} bytes")
        self._state = _State.PREAMBLE
        self._boundary = boundary
        self._newline = b"\n"
        self._delimiter = b"\n--" + boundary
        self._buffer = b"\n"  # so that a boundary at the very start is at the start of a line
        self._skip = 0  # bytes of the buffer before the content
        self._like_delimiters = 0

    @property
    def ended(self) -> bool:
        """Whether the final boundary was read."""
        return self._state is _State.ENDED

    def feed(self, data: bytes) -> Generator[Event]:
        """Yields the events in `data`, which is parsed as far as the generator is run."""
        if self.ended:
            return
        self._buffer = self._buffer + data if self._buffer else data
        while not self.ended:
            if self._state is _State.HEAD:
                headers = self._take_head()
                if headers is None:
                    return
                yield PartBegins(headers)
            else:
                at, after = self._find_delimiter()
                if self._state is _State.CONTENT and at > self._skip:
                    yield self._buffer[self._skip : at]
                if after is None:
                    self._skip = max(0, self._skip - at)
                    self._buffer = self._buffer[at:]
                    return
                if self._state is _State.CONTENT:
                    yield PartEnds()
                self._pass_delimiter(after)

    def _find_delimiter(self) -> tuple[int, re.Match[bytes] | None]:
        """Returns where the next delimiter is and the end of its line; or the end of what has none, and None."""
        at = self._buffer.find(self._delimiter)
        while at >= 0:
            end = at + len(self._delimiter)
            if after := _LINE_END.match(self._buffer, end):
                return at, after
            if _MAY_BECOME_ONE.fullmatch(self._buffer, end):
                return at, None
            self._like_delimiters += 1
            if self._like_delimiters > _MAX_LIKE_DELIMITERS:
                raise MultipartError("its boundary occurs too often within a part")
            at = self._buffer.find(self._delimiter, end)
        # a boundary contains no line end, so only the last line can begin a delimiter
        at = self._buffer.rfind(self._newline[:1], -len(self._delimiter))
        return (at if at >= 0 and self._delimiter.startswith(self._buffer[at:]) else len(self._buffer)), None

    def _pass_delimiter(self, after: re.Match[bytes]) -> None:
        if after[0] == b"--":
            self._state = _State.ENDED
            self._buffer = b""
            return
        if self._state is _State.PREAMBLE and after[0].endswith(b"\r\n"):
            self._newline = b"\r\n"
            self._delimiter = b"\r\n--" + self._boundary
        self._state = _State.HEAD
        self._buffer = self._buffer[after.end() - 1 :]  # a head may be just the blank line that ends it

    def _take_head(self) -> dict[bytes, bytes] | None:
        """Returns the part's headers, or None until all of them have arrived."""
        ends = [(at, at + len(blank)) for blank in (b"\n\r\n", b"\n\n") if (at := self._buffer.find(blank)) >= 0]
        at, end = min(ends, default=(len(self._buffer), None))
        if at > MAX_HEAD_BYTES:
            raise MultipartError(f"the headers of a part are longer than {MAX_HEAD_BYTES} bytes")
        if end is None:
            return None
        headers = _headers(self._buffer[:at])
        self._state = _State.CONTENT
        # the end of the blank line may begin the delimiter (RFC 2046: a part without content)
        self._buffer = self._newline + self._buffer[end:]
        self._skip = len(self._newline)
        return headers


def _headers(head: bytes) -> dict[bytes, bytes]:
    """Parses the lines of a head, which begins with a line end."""
    headers: dict[bytes, bytes] = {}
    for line in _FOLD.sub(b" ", head[1:]).split(b"\n") if head else ():
        name, colon, value = line.partition(b":")
        name = name.rstrip(b" \t").lower()
        if not colon or not _TOKEN.fullmatch(name):
            raise MultipartError("a part has a line that is not a header")
        if name in headers:
            raise MultipartError(f"a part has the header {name.decode()!r} twice")
        headers[name] = value.strip(b" \t\r")
        if len(headers) > MAX_HEADERS:
            raise MultipartError(f"a part has more than {MAX_HEADERS} headers")
    return headers
