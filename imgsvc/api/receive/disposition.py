"""Headers with parameters (`form-data; name="file"; filename="a.jpg"`), and the file name in them.

It comes as

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

_QUOTED = re.compile(rb'\\(["\\])')  # before all else it is a backslash of its own, as in C:\photo.jpg
_OF_BROWSERS = re.compile(rb"%(22|0[ad])", re.IGNORECASE)  # all that the HTML standard escapes
_ALL_ESCAPED = re.compile(rb"(?:[\w.~-]|%[0-9a-f]{2})++", re.IGNORECASE)  # and nothing that an encoder would escape
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
"""Those that text may come in: Python has more, some of which are no charsets, or take their time."""

Parameters = dict[bytes, bytes]
"""Values as they were written, but for quotation marks and the backslashes before them; names in lower case."""


def parameters(header: bytes) -> tuple[bytes, Parameters]:
    """The value of a header in lower case, and its parameters; of one that is there twice, the first."""
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
    """Text in that charset; where there is none named, in UTF-8, else in Latin-1.

    Raises:
        ValueError: it is not text in that charset, or the charset is not one of CHARSETS.
    """
    if charset is not None:
        if charset.lower() not in CHARSETS:
            raise ValueError(f"the charset {charset[:40]!r} is not known here")
        return raw.decode(charset)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def filename(given: Parameters, *, in_form: bool) -> str:
    """The file's name, not yet made safe; "" where there is none.

    The extended one goes first (RFC 6266), also in a form: it is never the worse of the two.
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
            pass  # its percent signs are its own
    return decoded(_OF_BROWSERS.sub(lambda match: bytes.fromhex(match[1].decode()), name))


def _extended(value: bytes) -> str:
    match = _EXTENDED.fullmatch(value)
    if match is None:
        return ""
    try:
        return decoded(unquote_to_bytes(match[2]), match[1].decode())
    except ValueError:
        return ""


def _continued(given: Parameters) -> str:
    """RFC 2231, 3 and 4.1: a name in pieces, of which those with an asterisk at their end are percent-encoded."""
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
    """Text in which some words are encoded (RFC 2047); those that are not what they say stay as they are.

    Words of one charset are read together: some programs cut them in the middle of a character.
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
