"""An upload's body: fields and a file, which is read as it is sent."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from aiohttp import FormData
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to upload, open for reading from its start."""

    name: str
    file: BinaryIO

    @property
    def size(self) -> int:
        return os.fstat(self.file.fileno()).st_size


def form(source: LocalFile, fields: Mapping[str, str], on_sent: Callable[[int], None]) -> FormData:
    """The form that `POST /upload` takes. Its length is known, so that a server can refuse it before it comes."""
    data = FormData(quote_fields=False, default_to_multipart=True)  # names go as UTF-8, as browsers send them
    for name, value in fields.items():
        data.add_field(name, value)
    data.add_field("file", _FilePart(source, on_sent), filename=_sendable(source.name))
    return data


def _sendable(name: str) -> str:
    """A name may hold anything but NUL and a slash, and a header none of that."""
    return "".join(char if char.isprintable() else "_" for char in name)


class _FilePart(Payload):
    def __init__(self, source: LocalFile, on_sent: Callable[[int], None]) -> None:
        super().__init__(source.file, content_type="application/octet-stream")
        self._file = source.file
        self._size = source.size
        self._on_sent = on_sent

    async def write(self, writer: AbstractStreamWriter) -> None:
        self._file.seek(0)
        left, whole = self._size or 0, self._size or 0
        while left:
            chunk = await asyncio.to_thread(self._file.read, min(_CHUNK_BYTES, left))
            if not chunk:
                raise OSError("the file became shorter while it was sent")
            await writer.write(chunk)
            left -= len(chunk)
            self._on_sent(whole - left)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> NoReturn:
        raise TypeError("a file is never taken for text")
