"""Hostile uploads: cut, malformed, disguised, badly named (rows H1, H3, H8 to H10, H12 and H13 of the fault plan)."""

import asyncio
import re
import struct
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from io import BytesIO
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image, PngImagePlugin

from imgsvc.runtime.settings import MIB
from tests.support import images
from tests.support.fault_proxy import NONE, Fault, Proxy, script
from tests.support.service import Servers, Service, freeze, leftovers, thaw, until
from tests.support.wire import Connection, exchange, metered, request

PHOTO = images.photo()
EMPTY = {"keys": [], "objects": [], "uploads": []}
SLACK = 2
CRLF = b"\r\n"


async def test_h1_an_api_killed_between_the_put_and_the_submit_leaves_nothing(servers: Servers) -> None:
    """And the same Idempotency-Key works again. Its submit is held back on the way, so that Redis never sees it."""
    environment = servers.environment()
    async with Proxy.to("127.0.0.1", servers.valkey.port) as redis:
        through_proxy = environment | {"IMGSVC_REDIS_URL": redis.url(environment["IMGSVC_REDIS_URL"])}
        timeouts: dict[str, Any] = {"redis_timeout_s": 20, "reservation_ttl_s": 1, "sweep_interval_s": 0.2}
        async with Service.start(through_proxy, **timeouts) as service:
            redis.fault = Fault(on=script("submit"), silent=True)
            headers = {"idempotency-key": "cut", "content-type": "image/jpeg"}
            upload = asyncio.create_task(service.client.post("/upload", content=PHOTO, headers=headers))

            async def stored_and_about_to_submit() -> bool:
                return redis.struck > 0 and bool(leftovers(environment)["objects"])

            await until(stored_and_about_to_submit)
            await service.api.kill()
            redis.reset()
            redis.fault = NONE
            with pytest.raises(httpx.TransportError):
                await upload

            async def swept() -> bool:
                return leftovers(environment)["objects"] == []

            seconds = await until(swept, 10)
            print(f"orphans 0 after {seconds:.2f} s")
            await service.start_api()
            await service.until_ready(1)
            answer = await service.client.post("/upload", content=PHOTO, headers=headers)
            assert answer.status_code == 202
            assert (await service.ended(answer.json()["id"]))["status"] == "SUCCESS"


@pytest.mark.parametrize("ending", ["FIN", "RST"])
async def test_h3_clients_that_go_away_leave_nothing_behind(servers: Servers, ending: str) -> None:
    environment = servers.environment()
    async with Service.start(environment, workers=0) as service:
        await service.client.get("/readyz")
        api = psutil.Process(service.api.pid)
        before = api.num_fds()

        async def all_uploading() -> bool:
            return len(leftovers(environment)["uploads"]) == 4

        async def gone() -> bool:
            return leftovers(environment) == EMPTY

        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(Connection.to(service.port)) for _ in range(4)]
            for client in clients:
                await client.send(
                    request(f"POST /upload HTTP/1.1\nContent-Length: {30 * MIB}", PHOTO + bytes(10 * MIB))
                )
            await until(all_uploading)
            for client in clients:
                client.reset() if ending == "RST" else client.finish()
        seconds = await until(gone)
        fds = api.num_fds() - before
    print(f"nothing left after {seconds:.2f} s, {fds:+d} descriptors")
    assert seconds < SLACK * 10
    assert fds <= 5


async def test_a_client_that_was_gone_before_it_was_accepted_uploads_nothing(servers: Servers) -> None:
    """Its address is not known any more, and it must not count as the proxy on a Unix socket."""
    environment = servers.environment()
    async with Service.start(environment, workers=0) as service:
        freeze(service.api)
        async with Connection.to(service.port) as client:
            await client.send(request(f"POST /upload HTTP/1.1\nContent-Length: {len(PHOTO)}", PHOTO))
            client.reset()
        await asyncio.sleep(0.1)
        thaw(service.api)
        await asyncio.sleep(0.5)
        assert (await service.client.get("/uploads")).json()["uploads"] == []
        assert leftovers(environment) == EMPTY


def encapsulated(kind: bytes) -> bytes:
    return kind + b" " * 600


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encapsulated(b"just text"), id="text"),
        pytest.param(encapsulated(b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>"), id="SVG"),
        pytest.param(encapsulated(b"%PDF-1.7\n"), id="PDF"),
        pytest.param(encapsulated(b"%!PS-Adobe-3.0 EPSF-3.0\n"), id="EPS"),
        pytest.param(encapsulated(b"\xc5\xd0\xd3\xc6" + struct.pack("<I", 30)), id="EPS with a preview"),
        pytest.param(encapsulated(b"<!DOCTYPE html><script>alert(1)</script>"), id="HTML"),
        pytest.param(encapsulated(b"PK\x03\x04"), id="ZIP"),
        pytest.param(b"\n" + images.encoded(images.scene(), "PNG"), id="PNG behind a line"),
    ],
)
@pytest.mark.parametrize("claimed", ["image/png", "image/svg+xml", "application/octet-stream"])
async def test_h9_what_is_no_image_is_refused_whatever_it_claims_to_be(
    service: Service, data: bytes, claimed: str
) -> None:
    whole = await service.client.post("/upload?filename=a.png", content=data, headers={"content-type": claimed})
    part = await service.client.post("/upload", files={"file": ("a.png", data, claimed)})
    for answer in (whole, part):
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def part(head: str, body: bytes = b"") -> bytes:
    return b"--b\r\n" + head.encode() + b"\r\n\r\n" + body + CRLF


FILE_HEAD = 'Content-Disposition: form-data; name="file"; filename="a.jpg"'
FILE = part(FILE_HEAD, PHOTO)
END = b"--b--\r\n"
FORM = "multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code"),
    [
        pytest.param("multipart/form-data", FILE + END, 400, "malformed_body", id="no boundary"),
        pytest.param("multipart/form-data; boundary=", FILE + END, 400, "malformed_body", id="empty boundary"),
        pytest.param("multipart/form-data; boundary=c", FILE + END, 400, "malformed_body", id="another boundary"),
        pytest.param(f"{FORM}{'b' * 10_000}", FILE + END, 400, "malformed_body", id="10 kB boundary"),
        pytest.param(
            FORM,
            lambda: part("Content-Disposition: form-data; name=x") * 1_000_000,
            422,
            "unknown_field",
            id="1e6 fields",
        ),
        pytest.param(
            FORM,
            lambda: part("Content-Disposition: form-data; name=preset", b"default") * 1_000_000,
            422,
            "invalid_field",
            id="1e6 times a field",
        ),
        pytest.param(FORM, lambda: FILE * 1000, 422, "too_many_files", id="1000 files"),
        pytest.param(
            FORM, part("X: 1\r\n" * 1000 + FILE_HEAD, PHOTO) + END, 400, "malformed_body", id="1000 part headers"
        ),
        pytest.param(
            FORM, part(f"{FILE_HEAD}\r\nX: {'x' * 65536}", PHOTO) + END, 400, "malformed_body", id="64 KiB part header"
        ),
        pytest.param(FORM, part("Content-Disposition: form-data", PHOTO) + END, 422, "unknown_field", id="no name"),
        pytest.param(FORM, part("Content-Type: image/jpeg", PHOTO) + END, 422, "unknown_field", id="no disposition"),
        pytest.param(FORM, lambda: CRLF * 2_000_000 + FILE + END, 400, "malformed_body", id="4 MB of CRLF before"),
        pytest.param(FORM, lambda: FILE + END + CRLF * 2_000_000, 400, "malformed_body", id="4 MB of CRLF after"),
        pytest.param(FORM, lambda: b"-" * 4_000_000, 400, "malformed_body", id="4 MB of hyphens"),
        pytest.param(FORM, FILE[:-2], 400, "malformed_body", id="no last boundary"),
        pytest.param(
            FORM,
            FILE + part("Content-Disposition: form-data; name=metadata", b"x" * 20_000) + END,
            422,
            "invalid_field",
            id="20 kB field",
        ),
        pytest.param(
            FORM,
            FILE + part("Content-Disposition: form-data; name=metadata", b"\xff") + END,
            422,
            "invalid_field",
            id="field that is no UTF-8",
        ),
        pytest.param(
            FORM,
            part(f"{FILE_HEAD}\r\nContent-Type: multipart/mixed; boundary=c", b"--c\r\n\r\n" + PHOTO + b"\r\n--c--")
            + END,
            415,
            "unsupported_media_type",
            id="nested",
        ),
        pytest.param(FORM, CRLF * 1000 + FILE + END + CRLF * 1000, 202, None, id="some CRLF before and after"),
        pytest.param(
            FORM,
            b"--b  \t\r\n" + FILE.removeprefix(b"--b\r\n") + END,
            202,
            None,
            id="padded first boundary",
        ),
        pytest.param(FORM.upper().replace("=B", "=b"), FILE + END, 202, None, id="type in capitals"),
        pytest.param(
            FORM,
            lambda: FILE + b"\r\n--bb" * 600_000 + CRLF + END,
            400,
            "malformed_body",
            id="4 MB of all but boundaries",
        ),
        pytest.param(
            FORM,
            FILE.replace(b"--b", b"--b" + b" " * 255, 1) + END,
            202,
            None,
            id="as many blanks behind a boundary as there may be",
        ),
        pytest.param(
            FORM,
            lambda: part("Content-Disposition: form-data; name=name", b"x") * 1_000_000,
            422,
            "invalid_field",
            id="1e6 times a field that is ignored",
        ),
        pytest.param(
            FORM,
            part("X: " + "=?utf-8?q?=?=" * 400 + "\r\n " * 500 + CRLF.decode() + FILE_HEAD, PHOTO) + END,
            202,
            None,
            id="500 folds",
        ),
        pytest.param(FORM, part(f"{FILE_HEAD}; {'a=b;' * 1800}", PHOTO) + END, 202, None, id="1800 parameters"),
    ],
)
async def test_h10_a_form_is_taken_or_refused_at_little_cost(
    service: Service, content_type: str, body: bytes | Callable[[], bytes], status: int, code: str | None
) -> None:
    """What is large is made when it is needed, so that not every process that collects tests holds all of it."""
    body = body if isinstance(body, bytes) else body()
    head = f"POST /upload HTTP/1.1\nConnection: close\nContent-Type: {content_type}\nContent-Length: {len(body)}"
    async with metered(service) as cost:
        answer, rest = await exchange(service.port, request(head, body))
    print(cost)
    assert rest == b""
    if code is None:
        assert answer.status == status, answer.body
    else:
        answer.assert_problem(status, code)
    assert cost.cpu_s < 8 * 0.05, "on a slow machine; whoever reads all of it byte by byte takes seconds"
    assert cost.memory < SLACK * 2e6


NAMES = {
    "CRLF": "a\r\nX-Injected: 1\r\n\r\n<script>.jpg",
    "line feed": "a\nX-Injected: 1.jpg",
    "quotation marks": 'a".jpg"; X="b.jpg',
    "semicolons": "a;filename=b;.jpg",
    "backslash at the end": "a.jpg\\",
    "bidi": "a\u202egpj.exe\u2066.jpg",
    "emoji": "\U0001f9d1\U0001f3fd\u200d\U0001f680.jpg",
    "NUL": "a\0.jpg",
    "device": "CON.jpg",
    "device and stream": "NUL:x:$DATA",
    "dots": "...",
    "spaces": " .jpg ",
    "percent": "%0d%0aX-Injected: 1%00.jpg",
    "lone surrogate, escaped": "\\ud800.jpg",
    "line separators": "a\u2028b\u2029c\x85.jpg",
    "tags": "<img src=x onerror=alert(1)>.jpg",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
async def test_h12_a_name_never_becomes_more_than_a_name(service: Service, name: str) -> None:
    in_query = await service.client.post("/upload", params={"filename": name}, content=PHOTO)
    body = part(f'Content-Disposition: form-data; name="file"; filename="{name}"', PHOTO) + END
    in_form = await service.client.post("/upload", content=body, headers={"content-type": FORM})
    for answer in (in_query, in_form):
        assert answer.status_code == 202 or 400 <= answer.status_code < 500, answer.text
        if answer.status_code == 202:
            filename = answer.json()["filename"]
            assert filename.isprintable(), repr(filename)
            assert not set(filename) & set("/\\")
            assert 0 < len(filename.encode()) <= 150
            await assert_safe(service, (await service.result(answer.json()["id"]))["result"])


async def test_h12_a_name_of_64_kib_is_refused(service: Service) -> None:
    answer = await service.post(PHOTO, "x" * 65536 + ".jpg")
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")


async def assert_safe(service: Service, result: Mapping[str, str]) -> None:
    """Each file's header is one of RFC 6266, and there are no others than a plain file has."""
    for path in result.values():
        async with Connection.to(service.port) as connection:
            await connection.send(request(f"GET {path}?download=1 HTTP/1.1"))
            answer = await connection.answer()
        assert answer.status == 200
        assert "x-injected" not in answer.headers
        assert re.fullmatch(
            r"""attachment; filename="[^"\\\x00-\x1f\x7f-\xff]+"(; filename\*=UTF-8''[\w.~%-]+)?""",
            answer.headers["content-disposition"],
        )


SCRIPT = b"<script>alert(1)</script>"


def png_with_texts() -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", SCRIPT.decode())
    texts.add_itxt("XML:com.adobe.xmp", SCRIPT.decode())
    texts.add_text("Comment", SCRIPT.decode(), zip=True)
    return images.encoded(images.scene(), "PNG", pnginfo=texts)


def jpeg_with_scripts() -> bytes:
    tags = Image.Exif()
    tags[0x010E] = SCRIPT.decode()  # ImageDescription
    return images.encoded(images.scene(), "JPEG", exif=tags, comment=SCRIPT) + SCRIPT


def gif_and_javascript() -> bytes:
    """A GIF that is JavaScript too: its width opens a comment, which its trailer closes."""
    gif = images.encoded(images.plain(1, "P", (0x2A2F, 1)), "GIF")  # "/*"
    assert gif.startswith((b"GIF87a/*", b"GIF89a/*"))
    return gif + b"*/=1;alert(1);" + SCRIPT


DISGUISED = {"PNG": png_with_texts, "JPEG": jpeg_with_scripts, "GIF": gif_and_javascript}


@pytest.mark.parametrize("make", DISGUISED.values(), ids=DISGUISED.keys())
async def test_h13_what_hides_in_an_image_is_not_served(service: Service, make: Any) -> None:
    data = make()
    assert b"alert(1)" in data
    result = await service.result(await service.upload(data, "<script>alert(1)</script>.html"))
    for path in result["result"].values():
        answer = await service.client.get(path)
        assert b"alert" not in answer.content
        assert b"script" not in answer.content
        assert Image.open(BytesIO(answer.content)).format == "JPEG"
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
