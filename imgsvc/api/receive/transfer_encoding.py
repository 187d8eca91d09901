"""Content-Transfer-Encoding, which mail programs and some old HTTP clients apply to parts of a form."""

import binascii
from typing import Protocol


class Decoder(Protocol):
    """Decodes a part's content piece by piece; raises ValueError if it is invalid."""

    def feed(self, data: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


class _Identity:
    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class _Base64:
    def __init__(self) -> None:
        self._left = b""

    def feed(self, data: bytes) -> bytes:
        text = self._left + data.translate(None, b" \t\r\n")
        whole = len(text) - len(text) % 4
        self._left = text[whole:]
        return binascii.a2b_base64(text[:whole], strict_mode=True)

    def finish(self) -> bytes:
        return binascii.a2b_base64(self._left + b"=" * (-len(self._left) % 4), strict_mode=True)


class _QuotedPrintable:
    def __init__(self) -> None:
        self._left = b""

    def feed(self, data: bytes) -> bytes:
        text = self._left + data
        cut = text.rfind(b"=", -2)  # `=C3` and `=\r\n` may be incomplete
        end = cut if cut >= 0 else len(text)
        self._left = text[end:]
        return binascii.a2b_qp(text[:end])

    def finish(self) -> bytes:
        return binascii.a2b_qp(self._left)


_DECODERS: dict[bytes, type[Decoder]] = {
    **dict.fromkeys((b"", b"binary", b"8bit", b"7bit"), _Identity),
    b"base64": _Base64,
    b"quoted-printable": _QuotedPrintable,
}


def decoder(encoding: bytes) -> Decoder | None:
    """Returns the decoder of a Content-Transfer-Encoding, or None if that is not supported."""
    kind = _DECODERS.get(encoding.strip().lower())
    return kind and kind()
