"""What surrounds a process must not matter to its S3: AWS settings, proxies, certificates, forms of endpoints."""

import asyncio
import base64
import logging
import ssl
import traceback
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError

from imgsvc.storage import Storage, StorageError
from tests.support.peers import Listener
from tests.support.scripted_s3 import OWN_KEYS, Script, ScriptedS3, answer, one_photo
from tests.support.service import settings_of

PHOTO = b"photo"

AWS_ENVIRONMENT = {
    "AWS_PROFILE": "dangling",
    "AWS_DEFAULT_PROFILE": "dangling-too",
    "AWS_CA_BUNDLE": "/nowhere/ca.pem",
    "REQUESTS_CA_BUNDLE": "/nowhere/ca.pem",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "nonsense",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "nonsense",
    "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT": "nonsense",
    "AWS_S3_USE_ARN_REGION": "nonsense",
    "AWS_MAX_ATTEMPTS": "many",
    "AWS_RETRY_MODE": "nonsense",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "AWS_USE_DUALSTACK_ENDPOINT": "true",
    "AWS_DEFAULTS_MODE": "nonsense",
    "AWS_STS_REGIONAL_ENDPOINTS": "nonsense",
    "AWS_CSM_ENABLED": "true",
    "AWS_CSM_PORT": "none",
    "AWS_METADATA_SERVICE_TIMEOUT": "long",
    "AWS_DEFAULT_REGION": "nowhere_at_all",
    "AWS_REGION": "nowhere_at_all",
    "AWS_SDK_UA_APP_ID": "\u00e9" * 99,
    "AWS_DATA_PATH": "/nowhere",
    "AWS_ACCOUNT_ID_ENDPOINT_MODE": "nonsense",
    "AWS_SIGV4A_SIGNING_REGION_SET": "*",
    "AWS_AUTH_SCHEME_PREFERENCE": "nonsense",
    "AWS_ACCESS_KEY_ID": "another",
    "AWS_SESSION_TOKEN": "another",
    "BOTOCORE_EXPERIMENTAL__PLUGINS": "x=no.such.module",
}
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture
def broken_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine where nothing of AWS is as it should be."""
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        path = tmp_path / name
        path.write_text("[profile\nthis is [ no INI\n")
        monkeypatch.setenv(name, str(path))
    for name, value in AWS_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("broken_aws")
async def test_s16_with_keys_of_ones_own_the_machines_aws_settings_do_not_matter() -> None:
    async with ScriptedS3.start(one_photo) as s3, Storage.open(s3.settings()) as storage:
        await storage.put("photo", PHOTO, "image/jpeg")
        assert await storage.head("photo")
    (request, _) = s3.requests
    assert "Credential=key/" in request.headers["authorization"]
    assert "/us-east-1/s3/" in request.headers["authorization"]
    assert not {"x-amz-security-token", "x-amz-checksum-crc32"} & request.headers.keys()


@pytest.mark.usefixtures("broken_aws")
async def test_s16_without_keys_what_is_wrong_with_the_machines_credentials_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with ScriptedS3.start(one_photo) as s3:
        settings = s3.settings().model_copy(update={"s3_access_key_id": None, "s3_secret_access_key": None})
        async with Storage.open(settings) as storage:
            with pytest.raises(StorageError) as caught:
                await storage.ping()
            assert "credentials" in (caught.value.reason or "")
            assert not s3.requests
            for name in (*AWS_ENVIRONMENT, "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
                monkeypatch.delenv(name)
            credentials = tmp_path / "credentials"
            credentials.write_text("[default]\naws_access_key_id = machine\naws_secret_access_key = secret\n")
            monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
            await storage.ping()  # set right, they are found without a restart
    assert "Credential=machine/" in s3.requests[0].headers["authorization"]


async def test_s17_an_endpoint_of_ones_own_is_reached_without_the_environments_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with ScriptedS3.start(lambda _: answer(403)) as proxy, ScriptedS3.start(one_photo) as s3:
        for name in PROXIES:
            monkeypatch.setenv(name, proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        async with Storage.open(s3.settings()) as storage:
            await storage.put("photo", PHOTO, "image/jpeg")
        assert (len(s3.requests), proxy.requests) == (1, [])
        async with Storage.open(s3.settings(s3_proxy_url=proxy.url)) as storage:
            assert not await storage.is_there()
        assert [request.target for request in proxy.requests] == [f"{s3.url}/imgsvc"]


@asynccontextmanager
async def over_tls(folder: Path, script: Script) -> AsyncGenerator[tuple[ScriptedS3, Path]]:
    """A server whose certificate nobody but its own file vouches for."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    files = ("-keyout", str(key), "-out", str(certificate))
    openssl = await asyncio.create_subprocess_exec(
        "openssl", "req", "-x509", *curve, *names, *files, stderr=asyncio.subprocess.DEVNULL
    )
    assert await openssl.wait() == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with ScriptedS3.start(script, tls=context) as s3:
        yield s3, certificate


async def test_a_certificate_of_ones_own_is_trusted_by_a_setting_and_else_refused(tmp_path: Path) -> None:
    async with over_tls(tmp_path, one_photo) as (s3, certificate):
        async with Storage.open(s3.settings()) as storage:
            with pytest.raises(StorageError) as caught:
                await storage.ping()
        assert "IMGSVC_S3_CA_FILE" in (caught.value.reason or "")
        async with Storage.open(s3.settings(s3_ca_file=certificate)) as storage:
            await storage.ping()
    assert len(s3.requests) == 1


@pytest.mark.parametrize(("host", "path"), [("127.0.0.1", "/"), ("127.0.0.1", "/s3"), ("::1", "")])
async def test_endpoints_may_have_a_path_or_an_ipv6_address(host: str, path: str) -> None:
    async with ScriptedS3.start(one_photo, host=host) as s3:
        settings = s3.settings(s3_endpoint_url=s3.url + path)
        async with Storage.open(settings) as storage:
            await storage.head("photo")
    assert s3.requests[0].path == f"{path.rstrip('/')}/imgsvc/photo"


async def test_a_bucket_can_stand_in_the_hosts_name() -> None:
    async with ScriptedS3.start(one_photo) as s3:
        url = s3.url.replace("127.0.0.1", "localhost")
        async with Storage.open(s3.settings(s3_endpoint_url=url, s3_addressing="virtual")) as storage:
            await storage.is_there()
    if s3.requests:  # imgsvc.localhost is this machine by RFC 6761, though not every resolver knows that
        assert s3.requests[0].headers["host"].startswith("imgsvc.localhost:")


@asynccontextmanager
async def connect_proxy(refusal: bytes = b"", credentials: bytes = b"") -> AsyncGenerator[tuple[str, list[str]]]:
    """An HTTP proxy that tunnels (CONNECT) or refuses to, and what it was asked to connect to.

    It refuses requests without `credentials` too: user and password, in Base64.
    """
    asked: list[str] = []
    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b" ")[1].decode())
        if refusal or credentials not in head:
            writer.write(refusal or b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            writer.close()
            return
        host, _, port = asked[-1].rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writers.append(far_writer)
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        for one in (pump(reader, far_writer), pump(far_reader, writer)):
            tasks.add(asyncio.create_task(one))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_s17_certificates_are_checked_through_a_proxy_too(tmp_path: Path) -> None:
    async with over_tls(tmp_path, one_photo) as (s3, certificate), connect_proxy() as (url, asked):
        async with Storage.open(s3.settings(s3_proxy_url=url)) as storage:
            with pytest.raises(StorageError) as caught:
                await storage.ping()
            assert "IMGSVC_S3_CA_FILE" in (caught.value.reason or "")
            assert s3.requests == [], "nothing is sent to who cannot prove to be it"
        async with Storage.open(s3.settings(s3_proxy_url=url, s3_ca_file=certificate)) as storage:
            await storage.put("photo", PHOTO, "image/jpeg")
    assert len(s3.requests) == 1
    assert set(asked) == {s3.url.removeprefix("https://")}


async def test_s17_a_proxy_gets_its_password_and_nobody_else_reads_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    credentials = b"Basic " + base64.b64encode(b"user:pass/word")
    async with over_tls(tmp_path, one_photo) as (s3, certificate), connect_proxy(credentials=credentials) as (url, _):
        async with opened_by(s3, url.replace("//", "//user:pass%2Fword@"), s3_ca_file=certificate) as storage:
            await storage.put("photo", PHOTO, "image/jpeg")
        async with opened_by(s3, url.replace("//", "//user:wrong%2Fword@"), s3_ca_file=certificate) as storage:
            with pytest.raises(StorageError) as caught:
                await storage.ping()
    assert len(s3.requests) == 1
    assert "proxy-authorization" not in s3.requests[0].headers
    for text in (caplog.text, "".join(traceback.format_exception(caught.value))):
        assert not any(form in text for form in ("pass/word", "wrong/word", "%2Fword"))


async def test_s17_a_proxy_that_forwards_gets_its_password_with_each_request() -> None:
    async with (
        ScriptedS3.start(one_photo) as proxy,
        ScriptedS3.start(lambda _: answer(500)) as s3,
        opened_by(s3, proxy.url.replace("//", "//user:pass%2Fword@")) as storage,
    ):
        await storage.put("photo", PHOTO, "image/jpeg")
    assert [request.headers["proxy-authorization"] for request in proxy.requests] == ["Basic dXNlcjpwYXNzL3dvcmQ="]


def opened_by(s3: ScriptedS3, proxy_url: str, **changes: object) -> AbstractAsyncContextManager[Storage]:
    settings = s3.settings(s3_proxy_url=proxy_url, **changes)
    assert "word" not in repr(settings)
    return Storage.open(settings)


@pytest.mark.parametrize(
    "url", ["http://user:secret/word@host:3128", "ftp://user:secret@host", "http://user:secret@:1"]
)
def test_s17_a_wrong_proxy_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        settings_of({"IMGSVC_REDIS_URL": "redis://x", "IMGSVC_S3_PROXY_URL": url})
    assert "must look like http://[user:password@]host:3128" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_s17_a_proxy_that_refuses_is_named_as_what_is_wrong() -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with connect_proxy(refusal) as (url, _), ScriptedS3.start(one_photo) as s3:
        settings = s3.settings(s3_endpoint_url=s3.url.replace("http:", "https:"), s3_proxy_url=url, s3_timeout_s=30)
        async with Storage.open(settings) as storage:
            with pytest.raises(StorageError) as caught:
                await storage.ping()
    assert "IMGSVC_S3_PROXY_URL" in (caught.value.reason or "")


async def test_a_file_of_certificates_that_is_none_is_said(tmp_path: Path) -> None:
    nothing = tmp_path / "ca.pem"
    nothing.write_text("no certificate")
    async with over_tls(tmp_path, one_photo) as (s3, _), Storage.open(s3.settings(s3_ca_file=nothing)) as storage:
        with pytest.raises(StorageError) as caught:
            await storage.ping()
    assert "IMGSVC_S3_CA_FILE" in (caught.value.reason or "")


@pytest.mark.parametrize("status", [200, 403, 503])
async def test_s14_an_answer_without_end_is_read_no_further_than_a_listing_is_long(status: int) -> None:
    sent = 0

    async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 %d Said\r\nContent-Length: 10000000000\r\nETag: 1\r\n\r\n" % status)
        while True:
            writer.write(bytes(64 * 1024))
            await writer.drain()
            sent += 64 * 1024

    async with Listener.start(endless) as host:
        settings = settings_of(
            {"IMGSVC_REDIS_URL": "redis://x", "IMGSVC_S3_ENDPOINT_URL": f"http://127.0.0.1:{host.port}"} | OWN_KEYS
        )
        async with Storage.open(settings) as storage:
            with pytest.raises(StorageError):
                await storage.clear("photo")
            if status != 200:
                with pytest.raises(StorageError):
                    async with storage.read("photo"):
                        pass
    assert sent < 32 * 1024 * 1024 * host.connections
