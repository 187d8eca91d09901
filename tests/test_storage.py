"""Whatever answers in S3's place, storage ends in its own error, and says what an operator can do."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import time

import pytest

from imgsvc.metrics import Metrics
from imgsvc.storage import PART_BYTES, Storage, StorageError
from tests.scripted_s3 import Answer, Request, Script, ScriptedS3, answer, error, one_photo, stored

PHOTO = b"photo"
DENIED = error(403, "AccessDenied")
EMPTY_LIST = answer(200, "<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>")
ENDLESS = "<ListBucketResult><IsTruncated>true</IsTruncated>{}</ListBucketResult>"
HTML = "<!DOCTYPE html><html><body>Welcome to the hotel</body></html>"


def raw(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


NONSENSE: dict[str, bytes | None] = {
    "reset": None,
    "nothing": b"\r\n\r\n",
    "no HTTP": b"-ERR unknown command\r\n\r\n",
    "a status that is none": raw("HTTP/1.1 0 No\nContent-Length: 0\n\n"),
    "only a head": raw("HTTP/1.1 200 OK\nContent-Length: 100\nConnection: close\n\n"),
    "two lengths": raw("HTTP/1.1 200 OK\nContent-Length: 1\nContent-Length: 2\n\nxx"),
    "a negative length": raw("HTTP/1.1 200 OK\nContent-Length: -1\n\n"),
    "a broken chunk": raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nxyz\n"),
    "headers that are no UTF-8": b"HTTP/1.1 200 OK\r\nETag: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
    "a header too long": raw(f"HTTP/1.1 200 OK\nX-Long: {'x' * 100_000}\nContent-Length: 0\n\n"),
    "200 and nothing": answer(200),
    "204": answer(204, content_length=""),
    "206 unasked": stored(content_range="bytes 3-7/90"),
    "a range of nothing": stored(content_range="bytes */90"),
    "a range that is none": stored(content_range="many"),
    "200 without length": raw('HTTP/1.1 200 OK\nETag: "1"\nConnection: close\n\nphoto'),
    "no ETag": stored(etag=""),
    "no Last-Modified": stored(last_modified=""),
    "a date that is none": stored(last_modified="yesterday"),
    "a time that is none": stored(x_amz_meta_expires_at="soon"),
    "gzip": stored(gzip.compress(PHOTO), content_encoding="gzip"),
    "gzip that is none": stored(content_encoding="gzip"),
    "HTML": answer(200, HTML, content_type="text/html"),
    "XHTML": answer(200, "<html><body><p>Welcome</p></body></html>", content_type="text/html"),
    "JSON": answer(200, '{"error": "no"}', content_type="application/json"),
    "XML of another kind": answer(200, "<rss version='2.0'><channel/></rss>"),
    "half an XML": answer(200, "<ListBucketResult><Contents><Key>a"),
    "XML with an entity bomb": answer(200, '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>'),
    "an error with 200": error(200, "InternalError"),
    "a lasting error with 200": error(200, "AccessDenied"),
    "an endless list of nothing": answer(200, ENDLESS.format("")),
    "an endless list": answer(200, ENDLESS.format("<Contents><Key>photo</Key></Contents>")),
    "a list of others' keys": answer(200, ENDLESS.format("<Contents><Key>others</Key></Contents>")),
    "a list without keys": answer(200, ENDLESS.format("<Contents><Size>7</Size></Contents>")),
    "301": answer(301, content_length="0"),
    "301 PermanentRedirect": error(301, "PermanentRedirect"),
    "301 with a region": error(301, "PermanentRedirect", x_amz_bucket_region="eu-west-1"),
    "302 to itself": answer(302, location="/"),
    "307 to elsewhere": error(307, "TemporaryRedirect", location="http://127.0.0.1:9/"),
    "308": answer(308, location="not a URL://"),
    "400": answer(400),
    "400 RequestTimeout": error(400, "RequestTimeout"),
    "400 of another region": error(400, "AuthorizationHeaderMalformed", more="<Region>eu-west-1</Region>"),
    "403": answer(403),
    "404 in HTML": answer(404, HTML),
    "409": error(409, "OperationAborted"),
    "411": error(411, "MissingContentLength"),
    "412": error(412, "PreconditionFailed"),
    "416": error(416, "InvalidRange"),
    "417": answer(417),
    "418 without a code": answer(418, "<Error><Message>short and stout</Message></Error>"),
    "429": error(429, "TooManyRequests"),
    "451 with a deep body": answer(451, "<a>" * 3000 + "</a>" * 3000),
    "500 in HTML": answer(500, HTML),
    "501": error(501, "NotImplemented"),
    "502": answer(502, HTML),
    "503": error(503, "SlowDown"),
    "504": answer(504),
    "507": answer(507),
    "599": answer(599),
    "999": answer(999),
}


async def two_parts() -> AsyncIterator[bytes]:
    yield bytes(PART_BYTES + 1)


def every_call(storage: Storage) -> dict[str, Callable[[], Awaitable[object]]]:
    async def put_stream() -> None:
        await storage.put_stream("photo", two_parts(), "image/jpeg", owner="", on_begin=lambda: None)

    async def read(span: tuple[int, int] | None) -> bytes | None:
        async with storage.read("photo", span) as found:
            return b"".join([chunk async for chunk in found[1]]) if found else None

    return {
        "put": lambda: storage.put("photo", PHOTO, "image/jpeg"),
        "put with odd words": lambda: storage.put(
            "ph\u00f6to \ud83d\ude00\n/../x", PHOTO, "image/jpeg", owner="caf\u00e9"
        ),
        "put_stream": put_stream,
        "head": lambda: storage.head("photo"),
        "head of an impossible key": lambda: storage.head(""),
        "read": lambda: read(None),
        "read a span": lambda: read((2, 3)),
        "clear": lambda: storage.clear("photo"),
        "ensure_bucket": storage.ensure_bucket,
        "ping": storage.ping,
        "is_versioned": storage.is_versioned,
        "can_list_uploads": storage.can_list_uploads,
    }


async def test_s14_nothing_that_answers_in_s3s_place_makes_storage_raise_anything_but_its_own_error() -> None:
    kinds = list(NONSENSE)

    def script(request: Request) -> Answer:
        return NONSENSE[kinds[int(request.path.split("/")[1].removeprefix("kind-"))]]

    async def attempt(kind: int, name: str, call: Callable[[], Awaitable[object]]) -> tuple[str, str, str]:
        try:
            await call()
        except StorageError:
            return kinds[kind], name, "refused"
        return kinds[kind], name, "done"

    async with AsyncExitStack() as stack:
        s3 = await stack.enter_async_context(ScriptedS3.start(script))
        plain = await stack.enter_async_context(Storage.open(s3.settings(s3_timeout_s=1)))
        ends: list[tuple[str, str, str]] = []
        for first in range(0, len(kinds), 4):  # no more than there are connections to it
            calls = [
                attempt(kind, name, call)
                for kind in range(first, min(first + 4, len(kinds)))
                for versions in (False, True)
                for name, call in every_call(
                    Storage(
                        plain._client,  # pyright: ignore[reportPrivateUsage]
                        s3.settings(s3_timeout_s=0.3, s3_bucket=f"kind-{kind}", s3_delete_versions=versions),
                        Metrics().storage,
                    )
                ).items()
                if not versions or name == "clear"
            ]
            ends += await asyncio.gather(*calls)
    print(f"S14: {len(ends)} calls, {len(s3.requests)} requests")
    done = {(kind, name) for kind, name, end in ends if end == "done"}
    said = {kind for kind, _ in done}
    assert not {"HTML", "XHTML", "JSON", "200 and nothing"} & {k for k, n in done if n in {"put", "read", "put_stream"}}
    assert not {k for k, n in done if n == "clear"} - {"501"}, "nothing that is no listing is an empty one"
    assert said, "a status alone is enough for some calls"


async def said(script: Script, call: str, **settings: object) -> tuple[StorageError, int]:
    """The error that a call ends in, and how many requests that took."""
    async with ScriptedS3.start(script) as s3, Storage.open(s3.settings(**settings)) as storage:
        with pytest.raises(StorageError) as caught:
            await every_call(storage)[call]()
    return caught.value, len(s3.requests)


REGION = "<Region>eu-west-1</Region>"


@pytest.mark.parametrize(
    ("given", "call", "reason"),
    [
        (error(301, "PermanentRedirect", x_amz_bucket_region="eu-west-1"), "put", "set it to eu-west-1"),
        (answer(301, x_amz_bucket_region="eu-west-1"), "ping", "set it to eu-west-1"),
        (answer(400, x_amz_bucket_region="eu-west-1"), "head", "set it to eu-west-1"),
        (answer(301), "ping", "set IMGSVC_S3_REGION"),
        (error(307, "TemporaryRedirect", location="http://127.0.0.1:9/b"), "read", "set IMGSVC_S3_REGION"),
        (error(400, "AuthorizationHeaderMalformed", more=REGION), "read", "set it to eu-west-1"),
        (error(400, "IllegalLocationConstraintException"), "put", "set IMGSVC_S3_REGION"),
        (error(403, "InvalidAccessKeyId"), "put", "IMGSVC_S3_ACCESS_KEY_ID"),
        (error(403, "SignatureDoesNotMatch"), "read", "IMGSVC_S3_SECRET_ACCESS_KEY"),
        (DENIED, "read", "may not call GetObject"),
        (DENIED, "ensure_bucket", "credentials"),
        (error(400, "ExpiredToken"), "put", "expired: renew"),
        (error(404, "NoSuchBucket"), "put", "no such bucket: make it"),
        (error(404, "NoSuchBucket"), "put_stream", "no such bucket: make it"),
        (answer(404), "ping", "no such bucket: make it"),
        (error(507, "XMinioStorageFull"), "put", "disks are full"),
        (error(403, "InvalidObjectState"), "read", "archived"),
        (error(501, "NotImplemented"), "put_stream", "does not know CreateMultipartUpload"),
        (answer(200, HTML), "clear", "does not speak S3"),
        (stored(gzip.compress(PHOTO), content_encoding="gzip"), "read", "does not speak S3"),
    ],
)
async def test_s15_what_s3_refuses_says_what_to_set(given: bytes, call: str, reason: str) -> None:
    failure, requests = await said(lambda _: given, call)
    assert reason in (failure.reason or "")
    assert requests <= 2, "it is asked no more than it has to be"


@pytest.mark.parametrize(("off_s", "side"), [(3600, "behind"), (-7200, "ahead of")])
@pytest.mark.parametrize("call", ["put", "ping"])
async def test_s15_a_clock_that_is_off_is_named_with_how_much(off_s: int, side: str, call: str) -> None:
    at = time() + off_s
    server_time = f"<ServerTime>{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}</ServerTime>"
    refusal = error(403, "RequestTimeTooSkewed", more=server_time, date=at)
    failure, requests = await said(lambda r: answer(403, date=at) if r.method == "HEAD" else refusal, call)
    assert failure.reason
    assert f"s {side} S3's" in failure.reason
    assert int(failure.reason.split(" s ")[0].rpartition(" ")[2]) == pytest.approx(abs(off_s), abs=30)
    assert requests == 1


@pytest.mark.parametrize(
    "given",
    [
        *(error(429, "TooManyRequests"), error(429, "SlowDown"), error(503, "SlowDown"), error(400, "RequestTimeout")),
        *(answer(500), answer(502, HTML), answer(504), answer(408), error(409, "OperationAborted"), None),
        error(200, "InternalError"),
    ],
)
async def test_s13_what_passes_is_tried_again_alike(given: Answer) -> None:
    left = 3

    def script(request: Request) -> Answer:
        nonlocal left
        left -= 1
        if left >= 0:
            return given
        return answer(200, etag='"1"') if request.method == "PUT" else EMPTY_LIST

    async with ScriptedS3.start(script) as s3, Storage.open(s3.settings()) as storage:
        if given and b" 200 " in given[:20]:
            await storage.clear("photo")  # only an answer with a body can be one of these
        else:
            await storage.put("photo", PHOTO, "image/jpeg")


async def test_s13_a_multipart_upload_completes_though_s3_says_so_with_an_error_in_a_200() -> None:
    tries = 0

    def script(request: Request) -> Answer:
        nonlocal tries
        if "uploads" in request.query:
            return answer(200, "<InitiateMultipartUploadResult><UploadId>7</UploadId></InitiateMultipartUploadResult>")
        if request.method == "POST":
            tries += 1
            done = "<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>"
            return answer(200, done) if tries == 3 else error(200, "InternalError")
        return answer(200, etag='"1"')

    async with ScriptedS3.start(script) as s3, Storage.open(s3.settings()) as storage:
        digest = await storage.put_stream("photo", two_parts(), "image/jpeg", owner="", on_begin=lambda: None)
    assert (digest.bytes, tries) == (PART_BYTES + 1, 3)


async def test_an_upload_that_s3_answers_with_an_empty_200_is_stored_only_if_it_is_there_in_full() -> None:
    size = PART_BYTES

    def script(request: Request) -> Answer:
        if "uploads" in request.query:
            return answer(200, "<InitiateMultipartUploadResult><UploadId>7</UploadId></InitiateMultipartUploadResult>")
        if request.method == "HEAD":
            return stored(b"", content_length=str(size))
        return answer(200, etag='"1"')

    async with ScriptedS3.start(script) as s3, Storage.open(s3.settings()) as storage:
        put = every_call(storage)["put_stream"]
        with pytest.raises(StorageError):
            await put()
        size += 1
        await put()


@pytest.mark.parametrize(
    ("region", "body"),
    [("us-east-1", b""), ("eu-central-1", b"<LocationConstraint>eu-central-1</LocationConstraint>")],
)
async def test_a_bucket_is_made_in_the_region_of_the_settings(region: str, body: bytes) -> None:
    def script(request: Request) -> Answer:
        return answer(404) if request.method == "HEAD" else answer(200)

    async with ScriptedS3.start(script) as s3, Storage.open(s3.settings(s3_region=region)) as storage:
        await storage.ensure_bucket()
    made = s3.requests[-1].body
    assert body in made
    assert bool(made) is bool(body)


async def test_a_server_that_knows_no_regions_makes_the_bucket_without() -> None:
    def script(request: Request) -> Answer:
        if request.method == "HEAD":
            return answer(404)
        return error(400, "InvalidLocationConstraint") if request.body else answer(200)

    async with ScriptedS3.start(script) as s3, Storage.open(s3.settings(s3_region="here")) as storage:
        await storage.ensure_bucket()


async def test_a_bucket_that_another_process_makes_meanwhile_is_ours_and_anothers_is_said() -> None:
    ours, heads = True, 0

    def script(request: Request) -> Answer:
        nonlocal heads
        if request.method != "HEAD":
            return error(409, "BucketAlreadyOwnedByYou" if ours else "BucketAlreadyExists")
        heads += 1
        return answer(404) if heads % 2 else answer(200 if ours else 403)

    async with ScriptedS3.start(script) as s3, Storage.open(s3.settings()) as storage:
        await storage.ensure_bucket()
        ours = False
        with pytest.raises(StorageError) as caught:
            await storage.ensure_bucket()
    assert caught.value.reason


async def test_a_bucket_that_may_not_be_made_is_said() -> None:
    failure, _ = await said(lambda r: answer(404) if r.method == "HEAD" else DENIED, "ensure_bucket")
    assert "make the bucket imgsvc" in (failure.reason or "")


async def test_a_server_that_cannot_list_unfinished_uploads_still_has_its_objects_cleared() -> None:
    keys = ["photo/1"]

    def script(request: Request) -> Answer:
        if "uploads" in request.query:
            return error(501, "NotImplemented")
        if request.method == "DELETE":
            keys.clear()
            return answer(204, content_length="")
        return answer(200, f"<L><Name>b</Name>{''.join(f'<Contents><Key>{key}</Key></Contents>' for key in keys)}</L>")

    async with ScriptedS3.start(script) as s3, Storage.open(s3.settings()) as storage:
        await storage.clear("photo/")
        assert not keys
        assert not await storage.can_list_uploads()


async def test_an_object_lock_that_forbids_deletion_is_said() -> None:
    listed = answer(200, "<L><Name>b</Name><Contents><Key>photo</Key></Contents></L>")
    locked = error(403, "AccessDenied", "Object is WORM protected and cannot be overwritten")
    failure, _ = await said(lambda r: locked if r.method == "DELETE" else listed, "clear")
    assert "object lock" in (failure.reason or "")


async def test_a_reason_is_logged_once_until_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    refusal = error(403, "InvalidAccessKeyId")
    async with ScriptedS3.start(lambda _: refusal) as s3, Storage.open(s3.settings()) as storage:
        for _ in range(5):
            with pytest.raises(StorageError):
                await storage.put("photo", PHOTO, "image/jpeg")
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("imgsvc.storage")]
    assert ["IMGSVC_S3_ACCESS_KEY_ID" in line for line in lines] == [True]


async def test_s14_a_fault_in_the_client_library_is_a_storage_error_and_logged_once_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ScriptedS3.start(lambda _: answer(200)) as s3, Storage.open(s3.settings()) as storage:

        def fail(**_: object) -> None:
            raise RecursionError("maximum recursion depth exceeded")

        storage._client.meta.events.register("before-call.s3", fail)  # pyright: ignore[reportPrivateUsage]
        for _ in range(5):
            with pytest.raises(StorageError) as caught:
                await storage.ping()
            assert isinstance(caught.value.__cause__, RecursionError)
    assert [record.exc_info is not None for record in caplog.records if record.levelname == "ERROR"] == [True]


# --- what surrounds a process ---

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


async def test_a_redirect_is_not_followed_with_a_signed_request() -> None:
    async with ScriptedS3.start(one_photo) as elsewhere:
        failure, requests = await said(lambda _: answer(307, location=f"{elsewhere.url}/imgsvc/photo"), "put")
        assert (requests, elsewhere.requests) == (1, [])
    assert "redirects" in (failure.reason or "")


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
