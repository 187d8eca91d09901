"""Real clients: each uploads a photo of another alphabet, reads what came of it, and is told why where it is refused
(row H48). What the machine lacks is skipped, by its name.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import expect

from imgsvc.runtime.settings import MIB
from tests.support import callers, images
from tests.support.browser import chromium, visit
from tests.support.callers import SHOP, by
from tests.support.clients.native import BLOCKING, of_aiohttp
from tests.support.peers import Listener
from tests.support.programs import CLIENTS, bundled, node_modules, program, ran
from tests.support.service import UNHURRIED, Servers, Service

PHOTO = images.photo(320, 240)
NAME = "Füße 写真 \U0001f98a.jpg"
METADATA = '{"who": "Jürgen"}'

Answers = dict[str, tuple[int, dict[str, Any]]]
"""Status and document by what was tried."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a client is to do. `large` is more than the service takes, `text` no image."""

    server: str
    key: str
    name: str
    fields: dict[str, str]
    photo: str
    large: str
    text: str


@pytest_asyncio.fixture(scope="module")
async def service(servers: Servers) -> AsyncGenerator[Service]:
    async with callers.with_keys(servers, files="public", max_upload_bytes=9 * MIB, **UNHURRIED) as started:
        yield started


@pytest.fixture(scope="module")
def order(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Order:
    folder = tmp_path_factory.mktemp("order")
    files = {"photo": PHOTO, "large": PHOTO + bytes(9 * MIB + 100_000), "text": b"no image at all"}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    fields = {"preset": "default", "metadata": METADATA}
    return Order(service.url, SHOP, NAME, fields, **{name: str(folder / name) for name in files})


def told(out: bytes) -> Answers:
    """What a client of ours has said, line by line."""
    answers: Answers = {}
    for line in out.decode().splitlines():
        name, status, body = line.rsplit(" ", 2)
        answers[name] = int(status), json.loads(base64.b64decode(body))
    return answers


def assert_served(answers: Answers) -> None:
    status, accepted = answers["upload"]
    assert (status, accepted.get("filename")) == (202, NAME), accepted
    status, result = answers["result"]
    assert (status, result["status"]) == (200, "SUCCESS")
    assert result["original"]["sha256"] == hashlib.sha256(PHOTO).hexdigest()
    refusals = {name: (answer[0], answer[1]["code"]) for name, answer in answers.items() if "detail" in answer[1]}
    assert refusals == {
        "no key": (401, "unauthorized"),
        "too large": (413, "upload_too_large"),
        "no image": (415, "unsupported_media_type"),
    }


async def tried(
    order: Order, post: Callable[[str, bool], Awaitable[tuple[int, bytes]]], get: Callable[[str], Awaitable[bytes]]
) -> Answers:
    """What `post` is answered with a file, and with a key or without; and `get`, the result of it."""

    async def posted(file: str, with_key: bool) -> tuple[int, dict[str, Any]]:
        status, body = await post(file, with_key)
        return status, json.loads(body)

    accepted = await posted(order.photo, True)
    assert accepted[0] == 202, accepted
    return {
        "upload": accepted,
        "result": (200, json.loads(await get(f"{order.server}{accepted[1]['result_url']}?wait=30"))),
        "no key": await posted(order.large, False),
        "too large": await posted(order.large, True),
        "no image": await posted(order.text, True),
    }


@pytest.mark.parametrize("client", [*BLOCKING, "aiohttp"])
async def test_h48_the_clients_of_python_programs(service: Service, order: Order, client: str) -> None:
    url = f"{order.server}/upload"

    async def call(url: str, file: str | None, with_key: bool) -> tuple[int, bytes]:
        arguments = (url, by(SHOP) if with_key else {}, Path(file) if file else None, order.name, order.fields)
        return await (
            of_aiohttp(*arguments) if client == "aiohttp" else asyncio.to_thread(BLOCKING[client], *arguments)
        )

    async def get(url: str) -> bytes:
        return (await call(url, None, True))[1]

    answers = await tried(order, lambda file, with_key: call(url, file, with_key), get)
    assert_served(answers)
    assert (await service.status(answers["upload"][1]["id"]))["metadata"] == json.loads(METADATA)


CURL_FORM = ("-F", "preset=default", "-F", f"metadata={METADATA}", "-F", "file=@{file};filename=" + NAME)
CURL_RAW = ("-H", "Content-Type: image/jpeg", "-H", f'Content-Disposition: attachment; filename="{NAME}"')
CURL = {
    "a form": CURL_FORM,
    "a form, with the bare header that one may have been told to set": (
        *CURL_FORM,
        "-H",
        "Content-Type: multipart/form-data",
    ),
    "a form, its quotes escaped": (*CURL_FORM, "--form-escape"),
    "a form in base64": (*CURL_FORM[:4], "-F", "file=@{file};encoder=base64;filename=" + NAME),
    "a form, once it may": (*CURL_FORM, "-H", "Expect: 100-continue", "--expect100-timeout", "60"),
    "a form in chunks": (*CURL_FORM, "-H", "Transfer-Encoding: chunked"),
    "a form over HTTP/1.0": (*CURL_FORM, "--http1.0"),
    "the body itself": (*CURL_RAW, "--data-binary", "@{file}"),
    "the body itself in chunks": (*CURL_RAW, "-H", "Transfer-Encoding: chunked", "--data-binary", "@{file}"),
    "the body itself by -T": (*CURL_RAW, "-X", "POST", "-T", "{file}"),
}


@pytest.mark.parametrize("how", CURL.values(), ids=CURL.keys())
async def test_h48_curl(service: Service, order: Order, how: tuple[str, ...]) -> None:
    curl = program("curl", "curl")

    async def post(file: str, with_key: bool) -> tuple[int, bytes]:
        options = [option.replace("{file}", file) for option in how]
        access = ["-H", f"Authorization: Bearer {SHOP}"] if with_key else []
        # what a server answers before it has read all may come with the end of the connection (55, 56)
        out = await ran(
            *(curl, "-sS", *access, *options, "-w", "\n%{http_code}", f"{order.server}/upload"), expects=(0, 55, 56)
        )
        body, _, status = out.rpartition(b"\n")
        return int(status), body

    async def get(url: str) -> bytes:
        return await ran(curl, "-sS", "-H", f"Authorization: Bearer {SHOP}", url)

    assert_served(await tried(order, post, get))


async def test_h48_curl_is_told_which_method_it_is_that_uploads(order: Order) -> None:
    """`curl -T photo.jpg …/upload/` is PUT of /upload/photo.jpg."""
    access = ("-H", f"Authorization: Bearer {SHOP}")
    for path in ("/upload", "/upload/"):
        out = await ran(program("curl", "curl"), "-sS", "-i", *access, "-T", order.photo, order.server + path)
        head, _, body = out.rpartition(b"\r\n\r\n")
        assert b"405 Method Not Allowed" in head
        assert json.loads(body)["code"] == "method_not_allowed"
        assert b"\r\nallow: " in head.lower()


async def test_h48_wget(order: Order) -> None:
    wget = program("wget", "wget")

    async def asked(url: str, *options: str) -> tuple[int, bytes]:
        out = await ran(
            *(wget, "-q", "-O", "-", "--content-on-error", "--save-headers", "--tries=1", *options, url),
            expects=(0, 6, 8),
        )
        if not out:  # it shows no answer that asks for credentials, and says so by its exit code
            return 401, b'{"code": "unauthorized", "detail": "not shown"}'
        head, _, body = out.partition(b"\r\n\r\n")
        return int(head.split()[1]), body

    async def post(file: str, with_key: bool) -> tuple[int, bytes]:
        access = [f"--header=Authorization: Bearer {SHOP}"] if with_key else []
        named = [f'--header=Content-Disposition: attachment; filename="{NAME}"', "--header=Content-Type: image/jpeg"]
        return await asked(f"{order.server}/upload", *access, *named, f"--post-file={file}")

    async def get(url: str) -> bytes:
        return (await asked(url, f"--header=Authorization: Bearer {SHOP}"))[1]

    assert_served(await tried(order, post, get))


@pytest.mark.parametrize("client", ["fetch", "stream"])
async def test_h48_nodes_own_fetch(service: Service, order: Order, client: str) -> None:
    out = await ran(program("node", "nodejs"), str(CLIENTS / "upload.mjs"), client, json.dumps(asdict(order)))
    answers = told(out)
    assert_served(answers)
    assert (await service.status(answers["upload"][1]["id"]))["metadata"] == json.loads(METADATA)


@pytest_asyncio.fixture(scope="module")
async def modules(request: pytest.FixtureRequest) -> Path:
    """A folder with our clients of Node's world, and the packages that they use."""
    cache = request.config.cache
    assert cache is not None
    return await node_modules(cache)


@pytest.mark.parametrize("client", ["undici", "axios", "got"])
async def test_h48_clients_of_node_programs(order: Order, modules: Path, client: str) -> None:
    out = await ran(program("node", "nodejs"), str(modules / "upload.mjs"), client, json.dumps(asdict(order)))
    assert_served(told(out))


@pytest.mark.parametrize("version", ["HTTP_1_1", "HTTP_2"])
async def test_h48_the_jdks_own_client(order: Order, version: str) -> None:
    source = str(CLIENTS / "Upload.java")
    java = program("java", "default-jdk-headless")
    program("javac", "default-jdk-headless")
    out = await ran(
        *(java, "-Dfile.encoding=UTF-8", "-Dsun.jnu.encoding=UTF-8", source, version),
        *(order.server, order.key, order.name, METADATA, order.photo, order.large, order.text),
    )
    assert_served(told(out))


async def test_h48_uppy_with_its_defaults_uploads_from_another_origin(servers: Servers, modules: Path) -> None:
    """In a real browser, from a page of its own: its fields beside the file, and the `url` that it looks for."""
    page = await bundled(modules, "uppy")
    async with Listener.start(page) as site, chromium() as browser:
        origin = f"http://localhost:{site.port}"
        async with (
            Service.start(servers.environment(), cors_origins=origin) as service,
            visit(browser, f"{origin}/") as visited,
        ):
            await expect(visited).to_have_title("Uppy")
            endpoint = f"{service.url}/upload"
            done = await visited.evaluate("order => upload(...order)", [endpoint, NAME, list(PHOTO)])
            assert done["errors"] == []
            (url,) = done["urls"]
            upload_id = url.rpartition("/")[2]
            status = await service.ended(upload_id)
            assert (status["status"], status["filename"]) == ("SUCCESS", NAME)
