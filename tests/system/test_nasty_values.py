"""Whatever stands in a parameter, a header, a path or a field: the answer is never a 5xx (row H44)."""

from collections.abc import AsyncGenerator, Mapping
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.support import images
from tests.support.service import Servers, Service, without_workers
from tests.support.wire import Answer, Connection, request

PHOTO = images.photo(16, 16)

TEXTS = (
    b"",
    b" ",
    b"\t",
    b"0",
    b"-0",
    b"-1",
    b"1e9",
    b"1e400",
    b"NaN",
    b"inf",
    b"0x10",
    b"1_0",
    b"9" * 20,
    b"9" * 400,
    b"9" * 5000,
    "١٢٣".encode(),
    "\uff15".encode(),
    b"true",
    b"null",
    b"None",
    b"[]",
    b"{}",
    b'{"a"',
    b'""',
    b"\\",
    b"\\ud800",
    b"\\u0000",
    b"%",
    b"%00",
    b"%zz",
    b"%ed%a0%80",
    b"%c0%af",
    b"%ff",
    b"%25%30%30",
    b"+",
    b"&",
    b";",
    b"=",
    b",",
    b"'",
    b'"',
    b'"a',
    b"*",
    b"**",
    b"..",
    b"../../etc/passwd",
    b"a" * 300,
    b"a" * 6000,
    b"\x80",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    "\u202e\u2028\ufeff".encode(),
    "\U0001f9d1\u200d\U0001f680".encode(),
    "İ".encode(),
    b"<script>",
    b"${jndi:ldap://x}",
    b"{{7*7}}",
    b"%s%n%d",
    b"wait=",
    b"wait=-1",
    b"wait=9999999999999999999",
    b"wait=1;;;",
    b"bytes=",
    b"bytes=-",
    b"bytes=-0",
    b"bytes=9-1",
    b"bytes=" + b"9" * 300 + b"-",
    b"bytes=0-0,1-1",
    b'W/"',
    b'"a", ',
    b"Thu, 99 Foo 2026 99:99:99 GMT",
    b"Fri, 31 Dec 9999 23:59:59 -9999",
    b"Mon, 01 Jan 0001 00:00:00 +2359",
    b"AAAA",
    b"====",
    b"A" * 40,
    b"Bearer",
    b"Bearer \xff",
    b"Basic Og==",
    b"filename",
    b"filename=",
    b'filename="',
    b'attachment; filename="\\',
    b"attachment; filename*=",
    b"attachment; filename*=UTF-8''%",
    b"attachment; filename*=utf-16''%d8",
    b"attachment; filename*=idna''xn--a",
    b"attachment; filename*0*=utf-8''a; filename*1*=%",
    b'attachment; filename="=?utf-8?B?=?="',
    b'attachment; filename="=?utf-8?Q?=ZZ?="',
    b'attachment; filename="=?utf-7?Q?+AD?="',
    b"http://[",
    b"http://[::1",
    b"http://a:99999/",
    b"http://a\x00b/",
    b"http://xn--/",
    "http://İ..ß/".encode(),
    b"http://" + b"a." * 200 + b"b/",
    b"http://user:pa ss@host/",
    b"file:///etc/passwd",
    b"//",
    b"http:",
)
"""None of these holds a line end: over the wire they go as they are."""

SPECIAL = frozenset(range(0x21)) | frozenset(b"\x7f#")
"""What may not stand in a request's target."""

NOBODYS = "00000000-0000-4000-8000-000000000000"
"""An id that no upload has."""

QUERIES = {
    "POST /upload": ("preset", "variants", "metadata", "expires_in", "webhook_url", "filename", "other"),
    f"GET /upload/{NOBODYS}/status": ("wait",),
    f"GET /upload/{NOBODYS}/result": ("wait",),
    "GET /uploads": ("status", "limit", "cursor"),
    f"GET /files/processed/{NOBODYS}/x.jpeg": ("exp", "sig", "download"),
    f"POST /upload/{NOBODYS}/cancel": ("other",),
    f"DELETE /upload/{NOBODYS}": ("other",),
}
HEADERS = {
    "POST /upload": (
        "Content-Type",
        "Content-Disposition",
        "Idempotency-Key",
        "X-Request-Id",
        "Origin",
        "Sec-Fetch-Site",
        "Authorization",
        "Content-Encoding",
    ),
    "GET /uploads": ("Accept", "Prefer", "X-Request-Id", "Authorization", "Accept-Encoding", "Cookie", "Referer"),
    "GET /openapi.json": ("If-None-Match", "Accept"),
    f"GET /upload/{NOBODYS}/status": ("Prefer",),
    "OPTIONS /upload": ("Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"),
}
PATHS = (
    "/upload/{}",
    "/upload/{}/status",
    "/files/{}",
    "/files/processed/{}/x",
    "/static/page/{}",
    "/static/{}",
    "/{}",
)


@pytest_asyncio.fixture(scope="module")
async def service(servers: Servers) -> AsyncGenerator[Service]:
    async with without_workers(servers) as started:
        yield started


async def answered(service: Service, data: bytes) -> Answer:
    async with Connection.to(service.port) as connection:
        await connection.send(data)
        return await connection.answer(30)


def sent(call: str, query: str = "", headers: Mapping[str, bytes] | None = None) -> bytes:
    lines = {"Connection": b"close"} | dict(headers or {})
    if call.startswith("POST"):
        lines = {"Content-Type": b"image/jpeg", "Content-Length": b"%d" % len(PHOTO)} | lines
    head = f"{call}{query} HTTP/1.1\r\nHost: localhost\r\n".encode("latin-1")
    head += b"".join(b"%b: %b\r\n" % (name.encode(), value) for name, value in lines.items())
    return head + b"\r\n" + (PHOTO if call.startswith("POST") else b"")


async def faults(service: Service, requests: Mapping[str, bytes]) -> list[str]:
    """Of all that is sent, what was answered by a failure."""
    found: list[str] = []
    for what, data in requests.items():
        answer = await answered(service, data)
        if answer.status >= 500:
            found.append(f"{what}: {answer.status} {answer.body[:200]!r}")
    return found


@pytest.mark.parametrize("call", QUERIES)
async def test_h44_no_parameter_of_a_query_makes_the_service_fail(service: Service, call: str) -> None:
    requests: dict[str, bytes] = {}
    for name in QUERIES[call]:
        for text in TEXTS:
            plain = "".join(chr(byte) if byte not in SPECIAL else f"%{byte:02x}" for byte in text)
            for written in {plain, quote(text, safe="")}:
                requests[f"{name}={written[:80]}"] = sent(call, f"?{name}={written}")
        requests[f"{name} twice"] = sent(call, f"?{name}=1&{name}=2")
        requests[f"{name} alone"] = sent(call, f"?{name}")
    assert await faults(service, requests) == []


@pytest.mark.parametrize("call", HEADERS)
async def test_h44_no_header_makes_the_service_fail(service: Service, call: str) -> None:
    requests: dict[str, bytes] = {}
    for name in HEADERS[call]:
        for text in TEXTS:
            requests[f"{name}: {text[:80]!r}"] = sent(call, headers={name: text.replace(b"\0", b"")})
    assert await faults(service, requests) == []


@pytest.mark.parametrize("template", PATHS)
async def test_h44_no_path_makes_the_service_fail(service: Service, template: str) -> None:
    requests: dict[str, bytes] = {}
    for text in TEXTS:
        plain = "".join(chr(byte) if byte not in SPECIAL else f"%{byte:02x}" for byte in text)
        for written in {plain, quote(text, safe="")}:
            requests[written[:80]] = sent("GET " + template.format(written))
    assert await faults(service, requests) == []


@pytest.mark.parametrize("name", ["preset", "variants", "metadata", "expires_in", "webhook_url", "_charset_", "name"])
async def test_h44_no_field_of_a_form_makes_the_service_fail(service: Service, name: str) -> None:
    requests: dict[str, bytes] = {}
    for text in TEXTS:
        form = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), text)
        form += b'--b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n\r\n' % text + PHOTO
        form += b"\r\n--b--\r\n"
        head = f"POST /upload HTTP/1.1\nContent-Type: multipart/form-data; boundary=b\nContent-Length: {len(form)}"
        requests[f"{name}={text[:80]!r}"] = request(head, form)
    assert await faults(service, requests) == []
