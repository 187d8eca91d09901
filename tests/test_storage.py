"""Whatever answers in S3's place, storage ends in its own error, and says what an operator can do."""

import asyncio
import gzip
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from time import time

import pytest
import pytest_asyncio

from imgsvc.runtime.metrics import Metrics
from imgsvc.storage import PART_BYTES, Storage, StorageError
from tests.support.s3_nonsense import HTML, NONSENSE, PHOTO
from tests.support.scripted_s3 import (
    Answer,
    Request,
    Script,
    ScriptedS3,
    answer,
    dated,
    error,
    named,
    one_photo,
    stored,
)

DENIED = error(403, "AccessDenied")
EMPTY_LIST = answer(200, "<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>")


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
        plain = await stack.enter_async_context(Storage.open(s3.settings()))
        ends: list[tuple[str, str, str]] = []
        for first in range(0, len(kinds), 5):  # no more than there are connections to it
            calls = [
                attempt(kind, name, call)
                for kind in range(first, min(first + 5, len(kinds)))
                for versions in (False, True)
                for name, call in every_call(
                    Storage(
                        plain._client,  # pyright: ignore[reportPrivateUsage]
                        s3.settings(s3_timeout_s=0.15, s3_bucket=f"kind-{kind}", s3_delete_versions=versions),
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


@pytest_asyncio.fixture(scope="module")
async def shared() -> AsyncGenerator[tuple[ScriptedS3, Storage]]:
    """A server that each test gives its script, and a client of it, since making one takes a while."""
    async with ScriptedS3.start(one_photo) as s3, Storage.open(s3.settings()) as storage:
        yield s3, storage


Scripted = Callable[[Script], tuple[ScriptedS3, Storage]]


@pytest.fixture
def scripted(shared: tuple[ScriptedS3, Storage]) -> Scripted:
    def follow(script: Script) -> tuple[ScriptedS3, Storage]:
        shared[0].script = script
        shared[0].requests.clear()
        return shared

    return follow


async def refused(scripted: tuple[ScriptedS3, Storage], call: str) -> tuple[StorageError, int]:
    """The error that a call ends in, and how many requests that took."""
    s3, storage = scripted
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
    ids=named,
)
async def test_s15_what_s3_refuses_says_what_to_set(scripted: Scripted, given: bytes, call: str, reason: str) -> None:
    failure, requests = await refused(scripted(lambda _: dated(given)), call)
    assert reason in (failure.reason or "")
    assert requests <= 2, "it is asked no more than it has to be"


@pytest.mark.parametrize(("off_s", "side"), [(3600, "behind"), (-7200, "ahead of")])
@pytest.mark.parametrize("call", ["put", "ping"])
async def test_s15_a_clock_that_is_off_is_named_with_how_much(
    scripted: Scripted, off_s: int, side: str, call: str
) -> None:
    at = time() + off_s
    server_time = f"<ServerTime>{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}</ServerTime>"
    refusal = error(403, "RequestTimeTooSkewed", more=server_time, date=at)
    failure, requests = await refused(scripted(lambda r: answer(403, date=at) if r.method == "HEAD" else refusal), call)
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
    ids=named,
)
async def test_s13_what_passes_is_tried_again_alike(scripted: Scripted, given: Answer) -> None:
    left = 3

    def script(request: Request) -> Answer:
        nonlocal left
        left -= 1
        if left >= 0:
            return given
        return answer(200, etag='"1"') if request.method == "PUT" else EMPTY_LIST

    _, storage = scripted(script)
    if given and b" 200 " in given[:20]:
        await storage.clear("photo")  # only an answer with a body can be one of these
    else:
        await storage.put("photo", PHOTO, "image/jpeg")


async def test_s13_a_multipart_upload_completes_though_s3_says_so_with_an_error_in_a_200(scripted: Scripted) -> None:
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

    _, storage = scripted(script)
    digest = await storage.put_stream("photo", two_parts(), "image/jpeg", owner="", on_begin=lambda: None)
    assert (digest.bytes, tries) == (PART_BYTES + 1, 3)


async def test_an_upload_that_s3_answers_with_an_empty_200_is_stored_only_if_it_is_there_in_full(
    scripted: Scripted,
) -> None:
    size = PART_BYTES

    def script(request: Request) -> Answer:
        if "uploads" in request.query:
            return answer(200, "<InitiateMultipartUploadResult><UploadId>7</UploadId></InitiateMultipartUploadResult>")
        if request.method == "HEAD":
            return stored(b"", content_length=str(size))
        return answer(200, etag='"1"')

    _, storage = scripted(script)
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


async def test_a_bucket_that_another_process_makes_meanwhile_is_ours_and_anothers_is_said(scripted: Scripted) -> None:
    ours, heads = True, 0

    def script(request: Request) -> Answer:
        nonlocal heads
        if request.method != "HEAD":
            return error(409, "BucketAlreadyOwnedByYou" if ours else "BucketAlreadyExists")
        heads += 1
        return answer(404) if heads % 2 else answer(200 if ours else 403)

    _, storage = scripted(script)
    await storage.ensure_bucket()
    ours = False
    with pytest.raises(StorageError) as caught:
        await storage.ensure_bucket()
    assert caught.value.reason


async def test_a_bucket_that_may_not_be_made_is_said(scripted: Scripted) -> None:
    failure, _ = await refused(scripted(lambda r: answer(404) if r.method == "HEAD" else DENIED), "ensure_bucket")
    assert "make the bucket imgsvc" in (failure.reason or "")


async def test_a_server_that_cannot_list_unfinished_uploads_still_has_its_objects_cleared(scripted: Scripted) -> None:
    keys = ["photo/1"]

    def script(request: Request) -> Answer:
        if "uploads" in request.query:
            return error(501, "NotImplemented")
        if request.method == "DELETE":
            keys.clear()
            return answer(204, content_length="")
        return answer(200, f"<L><Name>b</Name>{''.join(f'<Contents><Key>{key}</Key></Contents>' for key in keys)}</L>")

    _, storage = scripted(script)
    await storage.clear("photo/")
    assert not keys
    assert not await storage.can_list_uploads()


async def test_an_object_lock_that_forbids_deletion_is_said(scripted: Scripted) -> None:
    listed = answer(200, "<L><IsTruncated>false</IsTruncated><Contents><Key>photo</Key></Contents></L>")
    locked = error(403, "AccessDenied", "Object is WORM protected and cannot be overwritten")
    failure, _ = await refused(scripted(lambda r: locked if r.method == "DELETE" else listed), "clear")
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


async def test_a_redirect_is_not_followed_with_a_signed_request(scripted: Scripted) -> None:
    async with ScriptedS3.start(one_photo) as elsewhere:
        failure, requests = await refused(
            scripted(lambda _: answer(307, location=f"{elsewhere.url}/imgsvc/photo")), "put"
        )
        assert (requests, elsewhere.requests) == (1, [])
    assert "redirects" in (failure.reason or "")
