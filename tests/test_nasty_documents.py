"""No JSON that a client sends makes the service fail (row H43)."""

import json
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from tests.support import images
from tests.support.service import Servers, Service, without_workers
from tests.support.wire import exchange, request

PHOTO = images.photo(16, 16)


@pytest_asyncio.fixture(scope="module")
async def service(servers: Servers) -> AsyncGenerator[Service]:
    async with without_workers(servers) as started:
        yield started


DEEP = 300, 1020, 5000
DOCUMENTS = {
    **{f"{depth} lists": b"[" * depth + b"]" * depth for depth in DEEP},
    **{f"{depth} objects": b'{"a":' * depth + b"1" + b"}" * depth for depth in DEEP},
    **{f"{depth} lists without an end": b"[" * depth for depth in DEEP},
    "255 lists": b"[" * 255 + b"]" * 255,
    "33 lists": b"[" * 33 + b"]" * 33,
    "brackets in a string": json.dumps({"a": "[" * 500}).encode(),
    "65 bits": b"18446744073709551616",
    "400 digits": b"9" * 400,
    "a negative one": b"-9223372036854775809",
    "an exponent": b"1e400",
    "NaN": b"NaN",
    "Infinity": b"-Infinity",
    "half a pair": b'"\\ud800"',
    "half a pair as bytes": b'"\xed\xa0\x80"',
    "Latin-1": b'"\xe4"',
    "NUL": b'"a\\u0000b"',
    "a raw NUL": b'"a\0b"',
    "a line end": b'"a\nb"',
    "a name twice": b'{"width": 1, "width": 2}',
    "an empty name": b'{"": {"width": 1}}',
    "a name of NUL": b'{"\\u0000": "x"}',
    "__proto__": b'{"__proto__": {"width": 1}}',
    "1 000 names": json.dumps({f"n{number}": "" for number in range(1000)}).encode(),
    "UTF-16": '{"a": "b"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"a": "b"}',
    "a comma too much": b'{"a": "b",}',
    "a comment": b'{"a": "b"} // c',
    "nothing": b"",
}


MEMBERS = ("url", "filename", "preset", "variants", "metadata", "expires_in", "webhook_url", "other")


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS.keys())
async def test_h43_no_document_makes_the_service_fail(service: Service, document: bytes) -> None:
    """As the body, as each of its members, and as what a form's fields hold."""
    bodies = {"the body": document}
    for name in MEMBERS:
        others = b'"url": "http://192.0.2.1/a.jpg", ' if name != "url" else b""
        bodies[name] = b'{%b"%b": %b}' % (others, name.encode(), document)
        bodies[f"{name} of a variant"] = b'{%b"variants": {"a": {"%b": %b}}}' % (others, name.encode(), document)
        bodies[f"{name} of metadata"] = b'{%b"metadata": {"%b": %b}}' % (others, name.encode(), document)
    found: list[str] = []
    for what, body in bodies.items():
        answer = await service.client.post("/upload/url", content=body, headers={"content-type": "application/json"})
        if answer.status_code >= 500:
            found.append(f"{what}: {answer.text[:200]}")
    for name in ("variants", "metadata"):
        form = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), document)
        form += b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + PHOTO + b"\r\n--b--\r\n"
        kind = {"content-type": "multipart/form-data; boundary=b"}
        answer = await service.client.post("/upload", content=form, headers=kind)
        if answer.status_code >= 500:
            found.append(f"{name} in a form: {answer.text[:200]}")
    assert found == []


REFUSED = {
    "255 deep": (b'{"variants": %b}' % (b"[" * 254 + b"]" * 254), 400, "malformed_body"),
    "a member twice": (b'{"url": "http://192.0.2.1/", "url": "http://192.0.2.2/"}', 400, "malformed_body"),
    "a member's member twice": (b'{"metadata": {"a": "1", "a": "2"}}', 400, "malformed_body"),
    "a number of 65 bits": (b'{"expires_in": 18446744073709551616}', 400, "malformed_body"),
    "half a pair": (b'{"filename": "\\ud800"}', 400, "malformed_body"),
    "Latin-1": (b'{"filename": "\xe4"}', 400, "malformed_body"),
    "NaN": (b'{"expires_in": NaN}', 400, "malformed_body"),
    "a million names": (b'{"a":1,%b"b":1}' % (b'"a":1,' * 1_000_000), 413, "upload_too_large"),
}


@pytest.mark.parametrize(("body", "status", "code"), REFUSED.values(), ids=REFUSED.keys())
async def test_h43_a_document_that_is_none_is_refused_as_such(
    service: Service, body: bytes, status: int, code: str
) -> None:
    head = f"POST /upload/url HTTP/1.1\nConnection: close\nContent-Type: application/json\nContent-Length: {len(body)}"
    answer, _ = await exchange(service.port, request(head, body))
    answer.assert_problem(status, code)


async def test_h43_an_option_that_is_there_twice_in_a_field_is_refused(service: Service) -> None:
    for name, text, code in (
        ("variants", '{"a": {"width": 1, "width": 2}}', "invalid_variants"),
        ("metadata", '{"a": "1", "a": "2"}', "invalid_field"),
    ):
        answer = await service.post(PHOTO, **{name: text})
        assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert "twice" in answer.json()["detail"]
