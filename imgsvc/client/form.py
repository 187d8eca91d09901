"""The form of an upload: fields, and a file that is read while it is sent."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import orjson
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


def form(source: LocalFile, options: Mapping[str, Any], on_sent: Callable[[int], None]) -> FormData:
    """Returns the form that `POST /upload` accepts. Its length is known, so that a server can refuse it unread."""
    data = FormData(quote_fields=False, default_to_multipart=True)  # names are sent as UTF-8, as browsers do
    for name, value in options.items():
        data.add_field(name, value if isinstance(value, str) else orjson.dumps(value).decode())
    data.add_field("file", _FilePart(source, on_sent), filename=_sendable(source.name))
    return data


def _sendable(name: str) -> str:
    """Replaces what a file's name may contain and a header may not."""
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
        raise TypeError("a file is not text")
