"""An S3 server that answers what a test wants: the far side where a real server cannot be made to answer so."""

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from time import time
from urllib.parse import parse_qs, unquote, urlsplit

from imgsvc.runtime.settings import Settings
from tests.support.service import settings_of

OWN_KEYS = {"IMGSVC_S3_ACCESS_KEY_ID": "key", "IMGSVC_S3_SECRET_ACCESS_KEY": "secret"}


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query, True).items()}


Answer = bytes | None
"""The bytes of an answer, head and all; None resets the connection."""

Script = Callable[[Request], Answer | Awaitable[Answer]]


@dataclass
class ScriptedS3:
    url: str
    script: Script
    requests: list[Request] = field(default_factory=list[Request])

    @classmethod
    @asynccontextmanager
    async def start(
        cls, script: Script, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> AsyncGenerator["ScriptedS3"]:
        handlers: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task
            handlers.add(task)
            try:
                await self._serve(reader, writer)
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass  # its client has gone, or the test has ended
            finally:
                handlers.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(connected, host, 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        self = cls(f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{port}", script)
        try:
            yield self
        finally:
            server.close()
            for handler in handlers:
                handler.cancel()
            await asyncio.gather(*handlers, return_exceptions=True)

    def settings(self, **changes: object) -> Settings:
        """Settings of a process that uses it, with keys of its own."""
        own = {"IMGSVC_REDIS_URL": "redis://127.0.0.1", "IMGSVC_S3_ENDPOINT_URL": self.url} | OWN_KEYS
        return settings_of(own | {f"IMGSVC_{name.upper()}": str(value) for name, value in changes.items()})

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, target, _ = head[0].split(" ")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            request = Request(method, target, headers, body)
            self.requests.append(request)
            said = self.script(request)
            answer = said if isinstance(said, bytes | None) else await said
            if answer is None:
                return
            # an answer to HEAD is its head
            writer.write(answer if method != "HEAD" else answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
            await writer.drain()
            if b"connection: close" in answer.lower():
                writer.close()
                return


def answer(status: int, body: bytes | str = b"", *, date: float | None = None, **headers: str) -> bytes:
    """An HTTP answer; headers with underscores for hyphens, and a Date of now unless it is told."""
    data = body.encode() if isinstance(body, str) else body
    said = {"content-length": str(len(data)), "date": formatdate(time() if date is None else date, usegmt=True)}
    said |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in said.items() if value)
    return f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode() + data


def error(
    status: int, code: str, message: str = "", *, more: str = "", date: float | None = None, **headers: str
) -> bytes:
    """An answer as S3 refuses something."""
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message or code}</Message>{more}</Error>'
    return answer(status, body, date=date, content_type="application/xml", **headers)


def dated(given: bytes) -> bytes:
    """An answer that was written earlier, as if it were given now: a date of long ago is a fault of its own."""
    return re.sub(rb"(?m)^date: .*?\r$", f"date: {formatdate(usegmt=True)}\r".encode(), given)


def named(value: object) -> str:
    """A parameter's name that does not change with the time: of an answer, its status and what S3 calls it."""
    if not isinstance(value, bytes):
        return str(value)
    code = re.search(rb"<Code>(\w+)</Code>", value)
    return " ".join([value.split()[1].decode(), *([code[1].decode()] if code else [])])


def stored(data: bytes = b"photo", **headers: str) -> bytes:
    """An object as S3 gives it, whole."""
    said = {"etag": '"1"', "last_modified": formatdate(0, usegmt=True), "content_type": "image/jpeg"}
    return answer(200, data, date=None, **(said | headers))


def one_photo(request: Request) -> bytes:
    """A script for a server that stores whatever it is given, and has one photo under each key."""
    return answer(200, etag='"1"') if request.method == "PUT" else stored()
