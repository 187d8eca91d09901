"""Headers with parameters (`form-data; name="file"; filename="a.jpg"`), and the file name in them.

Clients write it as

    filename="näh.jpg"                        raw UTF-8, or Latin-1, as browsers and curl send it in forms
    filename="a%22b.jpg", filename="a\\"b.jpg"  a quotation mark, by browsers and by RFC 9110
    filename="n%C3%A4h.jpg"                   percent-encoded as a whole, by aiohttp
    filename*=UTF-8''n%C3%A4h.jpg             RFC 8187: in a request's header, and in forms by .NET, Node and others
    filename="=?utf-8?B?bsOkaC5qcGc=?="       RFC 2047: by .NET, Spring and mail programs
    filename*0="n"; filename*1="äh.jpg"       RFC 2231: by mail programs
"""

import base64
import quopri
import re
from urllib.parse import unquote_to_bytes

_PARAMETER = re.compile(rb"""[;\s]*+([^\s;=]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"?|([^;]*+))""", re.DOTALL)

_QUOTED = re.compile(rb'\\(["\\])')  # elsewhere a backslash is literal, as in C:\photo.jpg
_BROWSER_ESCAPE = re.compile(rb"%(22|0[ad])", re.IGNORECASE)  # all that the HTML standard escapes
_ALL_ESCAPED = re.compile(
    rb"(?:[\w.~-]|%[0-9a-f]{2})++", re.IGNORECASE
)  # and no character that an encoder would escape
_EXTENDED = re.compile(rb"([\w.:-]{1,40})'[^']*'(.*)", re.DOTALL)
_WORD = re.compile(rb"=\?([\w.:-]{1,40})(?:\*[\w-]*)?\?([bq])\?([^?\s]*)\?=", re.IGNORECASE)
_BETWEEN_WORDS = re.compile(rb"(\?=)\s+(?==\?)")

CHARSETS = frozenset(
    {
        *("utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1", "iso-8859-2", "iso-8859-15"),
        *("windows-1250", "windows-1251", "windows-1252", "koi8-r", "gb2312", "gbk", "gb18030", "big5"),
        *("shift_jis", "windows-31j", "euc-jp", "euc-kr", "iso-2022-jp"),
    }
)
"""The accepted charsets: Python has more, of which some are not charsets, and some are slow."""

Parameters = dict[bytes, bytes]
"""Values without their quotation marks and escapes; names in lower case."""


def parameters(header: bytes) -> tuple[bytes, Parameters]:
    """Returns the value of a header in lower case, and its parameters; the first wins if one is repeated."""
    kind, _, rest = header.partition(b";")
    found: Parameters = {}
    at = 0
    while at < len(rest):
        if match := _PARAMETER.match(rest, at):
            name, quoted, plain = match.groups()
            found.setdefault(name.lower(), plain.strip() if quoted is None else _QUOTED.sub(rb"\1", quoted))
            at = match.end()
        else:
            following = rest.find(b";", at + 1)
            at = following if following >= 0 else len(rest)
    return kind.strip().lower(), found


def decoded(raw: bytes, charset: str | None = None) -> str:
    """Decodes text in that charset; without one, in UTF-8 or else in Latin-1.

    Raises:
        ValueError: the bytes are not text in that charset, or the charset is not one of CHARSETS.
    """
    if charset is not None:
        if charset.lower() not in CHARSETS:
            raise ValueError(f"the charset {charset[:40]!r} is not supported")
        return raw.decode(charset)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def filename(given: Parameters, *, in_form: bool) -> str:
    """Returns the file's name, not yet made safe; "" if there is none.

    The extended form takes precedence (RFC 6266), also in a multipart form, where it is never the worse one.
    """
    extended = given.get(b"filename*", b"")
    for name in (_extended(extended), _continued(given)):
        if name:
            return name
    plain = given.get(b"filename", b"")
    if _WORD.search(plain):
        return _words(plain)
    return _unescaped(plain) if in_form else decoded(plain)


def _unescaped(name: bytes) -> str:
    if _ALL_ESCAPED.fullmatch(name):
        try:
            return unquote_to_bytes(name).decode()
        except UnicodeDecodeError:
            pass  # its percent signs are literal
    return decoded(_BROWSER_ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), name))


def _extended(value: bytes) -> str:
    match = _EXTENDED.fullmatch(value)
    if match is None:
        return ""
    try:
        return decoded(unquote_to_bytes(match[2]), match[1].decode())
    except ValueError:
        return ""


def _continued(given: Parameters) -> str:
    """Joins a name in pieces (RFC 2231, 3 and 4.1); those whose parameter ends with an asterisk are percent-encoded."""
    first = given.get(b"filename*0*")
    charset, pieces = None, b""
    for at in range(len(given)):
        plain, escaped = given.get(b"filename*%d" % at), given.get(b"filename*%d*" % at)
        if plain is None and escaped is None:
            break
        if escaped is not None and first is escaped:
            match = _EXTENDED.fullmatch(escaped)
            if match is None:
                return ""
            charset, escaped = match[1].decode(), match[2]
        pieces += unquote_to_bytes(escaped) if escaped is not None else plain or b""
    try:
        return decoded(pieces, charset)
    except ValueError:
        return ""


def _words(text: bytes) -> str:
    """Decodes the encoded words in a text (RFC 2047); invalid ones are kept as they are.

    Adjacent words of one charset are joined first: some programs split them within a character.
    """
    pieces: list[tuple[str | None, bytes]] = []
    at = 0
    text = _BETWEEN_WORDS.sub(rb"\1", text)
    for match in _WORD.finditer(text):
        if match.start() > at:
            pieces.append((None, text[at : match.start()]))
        at = match.end()
        try:
            charset, raw = match[1].decode().lower(), _word(match[2], match[3])
        except ValueError:
            charset, raw = None, match[0]
        if pieces and pieces[-1][0] == charset:
            raw = pieces.pop()[1] + raw
        pieces.append((charset, raw))
    pieces.append((None, text[at:]))
    return "".join(_piece(raw, charset) for charset, raw in pieces)


def _word(encoding: bytes, text: bytes) -> bytes:
    if encoding in b"Qq":
        return quopri.decodestring(text, header=True)
    return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)


def _piece(raw: bytes, charset: str | None) -> str:
    try:
        return decoded(raw, charset)
    except ValueError:
        return decoded(raw)
