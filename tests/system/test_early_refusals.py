"""What is refused before its body is read reaches the client through a proxy as well (row H34)."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from imgsvc.runtime.settings import MIB
from tests.support.callers import SHOP, with_keys
from tests.support.proxies import haproxy, nginx
from tests.support.service import Servers, Service
from tests.support.wire import Answer, Connection, request

BODY = b"\xff\xd8\xff" + bytes(20 * MIB - 3)
KEY = f"Authorization: Bearer {SHOP}"
REFUSALS = {
    "without a key": (BODY, "Content-Type: image/jpeg", 401, "unauthorized"),
    "too large": (BODY, f"Content-Type: image/jpeg\n{KEY}", 413, "upload_too_large"),
}


@pytest_asyncio.fixture(scope="module")
async def small(servers: Servers) -> AsyncGenerator[Service]:
    """A service with keys that takes a megabyte."""
    async with with_keys(servers, workers=0, files="public", max_upload_bytes=MIB) as service:
        yield service


@asynccontextmanager
async def proxied(kind: str, folder: Path, service: Service) -> AsyncGenerator[int]:
    if kind == "haproxy":
        async with haproxy(folder, service.port) as port:
            yield port
    else:
        buffering = "on" if kind == "nginx that buffers" else "off"
        location = f"location / {{ proxy_pass {service.url}; proxy_request_buffering {buffering}; }}"
        async with nginx(folder, location) as url:
            port = urlsplit(url).port
            assert port
            yield port


async def refused(port: int, body: bytes, headers: str, framing: str) -> Answer:
    """The answer to an upload that is sent to its end unless the connection is closed before."""
    if framing == "chunked":
        head, sent = "Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        head, sent = f"Content-Length: {len(body)}", body
    async with Connection.to(port) as connection:
        sending = asyncio.create_task(connection.send(request(f"POST /upload HTTP/1.1\n{headers}\n{head}", sent)))
        try:
            return await connection.answer(30)
        finally:
            sending.cancel()


@pytest.mark.parametrize("kind", ["nginx", "nginx that buffers", "haproxy"])
async def test_h34_an_early_refusal_of_20_mb_is_seen_behind_a_proxy(kind: str, tmp_path: Path, small: Service) -> None:
    async with proxied(kind, tmp_path / "proxy", small) as port:
        for why, (body, headers, status, code) in REFUSALS.items():
            for framing in ("by length", "chunked"):
                print(f"{kind}: {why}, {framing}")
                (await refused(port, body, headers, framing)).assert_problem(status, code)
