"""File names of clients: made safe to store, and to send in a header."""

import unicodedata
from urllib.parse import quote

MAX_NAME_BYTES = 150
FALLBACK = "image"


def safe_filename(name: str) -> str:
    """Removes the path and control, bidi and other invisible characters; cuts to MAX_NAME_BYTES of UTF-8.

    A long name keeps its extension.
    """
    base = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    visible = "".join(char for char in base if _is_visible(char)).strip(" .")
    if not visible:
        return FALLBACK
    stem, dot, extension = visible.rpartition(".")
    if not dot or len(extension) > 10:
        return _cut(visible, MAX_NAME_BYTES)
    suffix = dot + extension
    return _cut(stem, MAX_NAME_BYTES - len(suffix.encode())) + suffix


def content_disposition(kind: str, name: str) -> str:
    """Returns an RFC 6266 header value, with an ASCII fallback if RFC 8187 encoding is needed."""
    plain = name.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_").replace("\\", "_")
    value = f'{kind}; filename="{plain}"'
    return value if plain == name else f"{value}; filename*=UTF-8''{quote(name, safe='')}"


def _is_visible(char: str) -> bool:
    category = unicodedata.category(char)
    return category[0] != "C" and category not in {"Zl", "Zp"}  # line and paragraph separators


def _cut(text: str, max_bytes: int) -> str:
    return text.encode()[:max_bytes].decode(errors="ignore")
