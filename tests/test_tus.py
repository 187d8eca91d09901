"""Uploads that resume, by tus 1.0.0: what is begun, added, told, finished and given up (rows T1 to T6)."""

import asyncio
import os
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from time import time
from uuid import uuid4

import pytest

from tests.support import images
from tests.support.service import Service, until
from tests.support.tus import PART, PIECE, Tus, assert_stored, checksum, described, id_of, kept_of, large_photo
from tests.support.wire import Connection, request

PHOTO = images.photo()
LARGE = large_photo()


@pytest.fixture
def tus(service: Service) -> Tus:
    return Tus(service.client)


async def test_an_upload_in_one_piece_is_queued_when_its_patch_is_answered(service: Service, tus: Tus) -> None:
    path = await tus.begun(len(PHOTO), filename="sommer.jpg", filetype="image/png", metadata='{"album": "summer"}')
    assert path == f"/tus/{id_of(path)}"
    unknown = await service.client.get(f"/upload/{id_of(path)}/status")
    assert unknown.status_code == 404, "as of any upload that is being received"
    answer = await tus.patch(path, 0, PHOTO)
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(len(PHOTO)))
    assert answer.headers["location"] == f"/upload/{id_of(path)}/status"
    status = await assert_stored(service, path, PHOTO)
    assert (status["filename"], status["metadata"]) == ("sommer.jpg", {"album": "summer"})


async def test_an_upload_that_is_being_received_is_unknown_and_has_not_expired(service: Service, tus: Tus) -> None:
    path = await tus.begun(len(PHOTO))
    await tus.added(path, 0, PHOTO[:5000])
    for call in ("status", "result", "events", "deliveries"):
        answer = await service.client.get(f"/upload/{id_of(path)}/{call}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), call
    assert (await service.client.delete(f"/upload/{id_of(path)}")).status_code == 404
    await tus.added(path, 5000, PHOTO[5000:])
    await assert_stored(service, path, PHOTO)


async def test_head_tells_what_is_there_and_what_was_said_of_it(tus: Tus) -> None:
    fields = {"filename": "näh 写真.jpg", "filetype": "image/jpeg"}
    answer = await tus.create(len(PHOTO), upload_metadata=described(**fields))
    assert answer.status_code == 201
    begun = await tus.call("HEAD", answer.headers["location"])
    assert begun.status_code == 200
    assert begun.headers["upload-expires"] == answer.headers["upload-expires"]
    assert 86_000 < parsedate_to_datetime(begun.headers["upload-expires"]).timestamp() - time() < 86_500
    assert begun.headers["cache-control"] == "no-store"
    assert begun.headers["upload-metadata"] == described(**fields)
    assert (begun.headers["upload-offset"], begun.headers["upload-length"]) == ("0", str(len(PHOTO)))
    await tus.added(answer.headers["location"], 0, PHOTO)
    ended = await tus.call("HEAD", answer.headers["location"])
    assert (ended.headers["upload-offset"], ended.headers["upload-length"]) == (str(len(PHOTO)), str(len(PHOTO)))
    assert ended.headers["upload-metadata"] == described(**fields)
    assert "upload-expires" not in ended.headers


@pytest.mark.parametrize("sizes", [[1, 40, 23, 5000], [PART], [PART - 1, 1, 1], [3, PART, PART - 3]])
async def test_t1_pieces_of_any_sizes_become_the_same_bytes(service: Service, tus: Tus, sizes: list[int]) -> None:
    path, offset = await tus.begun(len(LARGE)), 0
    for size in [*sizes, len(LARGE)]:
        offset = await tus.added(path, offset, LARGE[offset : offset + size])
        assert await tus.offset(path) == offset
    await assert_stored(service, path, LARGE)
    assert kept_of(service.environment, path)["uploads"] == []
    assert f"originals/{id_of(path)}" in kept_of(service.environment, path)["objects"]


async def test_creation_may_bring_the_first_piece_or_all(service: Service, tus: Tus) -> None:
    begun = await tus.create(len(PHOTO), PHOTO[:100])
    assert (begun.status_code, begun.headers["upload-offset"]) == (201, "100")
    unknown = await service.client.get(f"/upload/{id_of(begun.headers['location'])}/status")
    assert unknown.status_code == 404, "a piece is no original of an upload that has expired"
    await tus.added(begun.headers["location"], 100, PHOTO[100:])
    whole = await tus.create(len(PHOTO), PHOTO)
    assert (whole.status_code, whole.headers["upload-offset"]) == (201, str(len(PHOTO)))
    for answer in (begun, whole):
        await assert_stored(service, answer.headers["location"], PHOTO)


@pytest.mark.parametrize("data", [PHOTO, LARGE[: 2 * PART]], ids=["a-photo", "whole-parts"])
@pytest.mark.parametrize("when", ["with the last piece", "after it", "before it"])
async def test_a_length_may_become_known_later(service: Service, tus: Tus, data: bytes, when: str) -> None:
    path = await tus.begun(None)
    begun = await tus.call("HEAD", path)
    assert begun.headers["upload-defer-length"] == "1"
    assert "upload-length" not in begun.headers
    known = {"upload_length": str(len(data))}
    at = await tus.added(path, 0, data[:1000], **(known if when == "before it" else {}))
    at = await tus.added(path, at, data[at:], **(known if when == "with the last piece" else {}))
    if when == "after it":
        assert at == len(data)
        at = await tus.added(path, at, b"", **known)
    assert at == len(data)
    await assert_stored(service, path, data)


async def test_t2_offsets_and_lengths_that_lie_change_nothing(service: Service, tus: Tus) -> None:
    path = await tus.begun(len(PHOTO))
    await tus.added(path, 0, PHOTO[:100])
    for offset in (0, 99, 101, len(PHOTO), 10**17):
        answer = await tus.patch(path, offset, PHOTO[100:])
        assert (answer.status_code, answer.headers["upload-offset"]) == (409, "100")
    longer = await tus.patch(path, 100, PHOTO[100:] + b"x")
    assert (longer.status_code, longer.json()["code"]) == (413, "upload_too_large")

    async def endless() -> AsyncIterator[bytes]:
        yield PHOTO[100:] + b"x"

    assert (await tus.patch(path, 100, endless())).status_code == 413
    other = await tus.patch(path, 100, PHOTO[100:], upload_length=str(len(PHOTO) + 1))
    assert other.status_code == 409
    assert await tus.offset(path) == 100
    await tus.added(path, 100, PHOTO[100:], upload_length=str(len(PHOTO)))
    await assert_stored(service, path, PHOTO)
    deferred = await tus.begun(None)
    await tus.added(deferred, 0, PHOTO[:100])
    assert (await tus.patch(deferred, 100, b"", upload_length="99")).status_code == 409
    assert (await tus.patch(deferred, 100, b"", upload_length=str(10**12))).status_code == 413
    assert await tus.offset(deferred) == 100


async def test_t3_a_checksum_that_does_not_agree_costs_the_piece_and_no_more(service: Service, tus: Tus) -> None:
    path = await tus.begun(len(LARGE))
    at = await tus.added(path, 0, LARGE[:1000], upload_checksum=checksum(LARGE[:1000]))
    for wrong in (checksum(b"other"), checksum(b"other", "sha1")):
        answer = await tus.patch(path, at, LARGE[at : PART + 5000], upload_checksum=wrong)
        assert (answer.status_code, answer.json()["code"]) == (460, "checksum_mismatch")
        assert await tus.offset(path) == at
        assert len(kept_of(service.environment, path)["objects"]) == 1, "what was there before"
    for wrong in ("md5 rL0Y20zC+Fzt72VPzMSk2A==", "sha1", "sha1 !", "sha256 AAAA", "sha1  " + "A" * 4000):
        answer = await tus.patch(path, at, LARGE[at:], upload_checksum=wrong)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    at = await tus.added(path, at, LARGE[at : PART + 9], upload_checksum=checksum(LARGE[at : PART + 9], "sha1"))
    at = await tus.added(path, at, LARGE[at:], upload_checksum=checksum(LARGE[at:]))
    await assert_stored(service, path, LARGE)


async def test_t4_what_is_no_image_is_refused_by_its_first_bytes_and_gone(service: Service, tus: Tus) -> None:
    no_image = b"MZ" + bytes(100)
    path = await tus.begun(10 * PART)
    at = await tus.added(path, 0, no_image[:60])

    head = f"PATCH {path} HTTP/1.1\nTus-Resumable: 1.0.0\nUpload-Offset: {at}\nContent-Type: {PIECE['content-type']}"
    async with Connection.to(service.port) as connection:
        await connection.send(request(f"{head}\nContent-Length: {PART}", no_image[60:]))
        answer = await connection.answer()  # while more is still to come
    answer.assert_problem(415, "unsupported_media_type")
    assert (await tus.call("HEAD", path)).status_code == 404
    assert kept_of(service.environment, path) == {"objects": [], "uploads": []}
    short = await tus.begun(5)
    assert (await tus.patch(short, 0, b"hello")).status_code == 415
    assert (await tus.create(0)).json()["code"] == "empty_file"
    with_body = await tus.create(len(no_image), no_image)
    assert with_body.status_code == 415


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"upload_length": "-1"}, 400, "malformed_request"),
        ({"upload_length": "1e3"}, 400, "malformed_request"),
        ({"upload_length": "NaN"}, 400, "malformed_request"),
        ({"upload_length": "٣"}, 400, "malformed_request"),
        ({"upload_length": "9" * 19}, 400, "malformed_request"),
        ({"upload_length": "9" * 18}, 413, "upload_too_large"),
        ({"upload_length": ""}, 400, "malformed_request"),
        ({}, 400, "malformed_request"),
        ({"upload_defer_length": "2"}, 400, "malformed_request"),
        ({"upload_length": "9", "upload_defer_length": "1"}, 400, "malformed_request"),
        ({"upload_length": "9", "upload_concat": "partial"}, 400, "malformed_request"),
        ({"upload_length": "9", "upload_metadata": described(preset="none")}, 422, "invalid_preset"),
        ({"upload_length": "9", "upload_metadata": described(variants="{}")}, 422, "invalid_variants"),
        ({"upload_length": "9", "upload_metadata": described(priority="true")}, 422, "invalid_field"),
        ({"upload_length": "9", "upload_metadata": described(focus='{"x": NaN, "y": 0}')}, 422, "invalid_field"),
        ({"upload_length": "9", "upload_metadata": described(expires_in="-1")}, 422, "invalid_field"),
        ({"upload_length": "9", "upload_metadata": described(other="x")}, 422, "unknown_field"),
        ({"upload_length": "9", "upload_metadata": "filename"}, 201, ""),
        ({"upload_length": "9", "upload_metadata": "filename YQ==,filename YQ=="}, 422, "invalid_field"),
        ({"upload_length": "9", "upload_metadata": "filename a"}, 422, "invalid_field"),
        ({"upload_length": "9", "upload_metadata": "filename /w=="}, 422, "invalid_field"),
        ({"upload_length": "9", "upload_metadata": ",,"}, 400, "malformed_request"),
        ({"upload_length": "9", "upload_metadata": described(metadata="x" * 20_000)}, 431, "headers_too_large"),
    ],
)
async def test_t5_a_creation_is_checked_as_a_form_is(tus: Tus, fields: dict[str, str], status: int, code: str) -> None:
    answer = await tus.call("POST", "/tus", None, **fields)
    assert answer.status_code == status, answer.text
    assert not code or answer.json()["code"] == code


async def test_t5_metadata_may_come_in_several_headers_and_nothing_twice(service: Service) -> None:
    head = [("tus-resumable", "1.0.0"), ("upload-length", "9")]
    options = [("upload-metadata", described(**{name: "a.jpg"})) for name in ("filename", "relativePath", "filename")]
    begun = await service.client.post("/tus", headers=head + options[:2])
    assert begun.status_code == 201
    told = await service.client.head(begun.headers["location"], headers=head[:1])
    assert told.headers["upload-metadata"] == ",".join(value for _, value in options[:2])
    assert (await service.client.post("/tus", headers=head + options)).json()["code"] == "invalid_field"


async def test_t5_headers_of_pieces_are_checked(tus: Tus) -> None:
    path = await tus.begun(len(PHOTO))
    for name, value, status in (
        ("content_type", "image/jpeg", 415),
        ("content_encoding", "gzip", 415),
        ("upload_offset", "-1", 400),
        ("upload_offset", "0x0", 400),
        ("upload_length", "x", 400),
    ):
        assert (await tus.patch(path, 0, PHOTO, **{name: value})).status_code == status
    assert (await tus.call("PATCH", path, PHOTO, content_type=PIECE["content-type"])).status_code == 400
    assert (await tus.patch(f"{path}?x=1", 0, PHOTO)).status_code == 422
    assert await tus.offset(path) == 0
    for other in (f"/tus/{uuid4()}", "/tus/none", f"{path}0"):
        assert (await tus.patch(other, 0, PHOTO)).status_code == 404
        assert (await tus.call("HEAD", other)).status_code == 404
        assert (await tus.call("DELETE", other)).status_code == 404


async def test_other_versions_of_the_protocol_are_refused_and_ours_is_named(service: Service, tus: Tus) -> None:
    path = await tus.begun(len(PHOTO))
    for headers in ({}, {"tus-resumable": "0.2.2"}, {"tus-resumable": "1.0.0, 1.0.0"}):
        for method, where in (("POST", "/tus"), ("HEAD", path), ("PATCH", path), ("DELETE", path)):
            answer = await service.client.request(method, where, headers=headers)
            assert answer.status_code == 412
            assert (answer.headers["tus-version"], answer.headers["tus-resumable"]) == ("1.0.0", "1.0.0")
    for where in ("/tus", path):
        answer = await service.client.options(where)
        assert answer.status_code == 204
        assert answer.headers["tus-version"] == "1.0.0"
        assert answer.headers["tus-max-size"] == str(64 * 1024 * 1024)
        assert answer.headers["tus-checksum-algorithm"] == "sha1,sha256"
        assert "concatenation" not in answer.headers["tus-extension"]


async def test_a_client_that_may_only_post_names_the_method_in_a_header(service: Service, tus: Tus) -> None:
    path = await tus.begun(len(PHOTO))
    kind = {"content_type": PIECE["content-type"], "upload_offset": "0"}
    answer = await tus.call("POST", path, PHOTO, x_http_method_override="patch", **kind)
    assert answer.status_code == 204
    assert (await tus.call("POST", path, x_http_method_override="HEAD")).headers["upload-offset"] == str(len(PHOTO))
    assert (await tus.call("POST", path, x_http_method_override="PUT")).status_code == 400
    assert (await tus.call("POST", path, x_http_method_override="DELETE")).status_code == 204
    assert (await service.client.get(f"/upload/{id_of(path)}")).status_code == 404


async def test_an_upload_that_is_given_up_leaves_nothing(service: Service, tus: Tus) -> None:
    path = await tus.begun(len(LARGE))
    await tus.added(path, 0, LARGE[: PART + 1000])
    assert kept_of(service.environment, path)["uploads"]
    assert (await tus.call("DELETE", path)).status_code == 204
    assert kept_of(service.environment, path) == {"objects": [], "uploads": []}
    for answer in (
        await tus.call("DELETE", path),
        await tus.call("HEAD", path),
        await tus.patch(path, PART + 1000, LARGE[PART + 1000 :]),
    ):
        assert answer.status_code == 404
    done = (await tus.create(len(PHOTO), PHOTO)).headers["location"]
    assert (await tus.call("DELETE", done)).status_code == 204
    assert (await tus.call("HEAD", done)).status_code == 404
    assert (await service.client.get(f"/upload/{id_of(done)}")).status_code == 404


async def test_t6_what_is_asked_again_after_the_end_is_answered_as_before(service: Service, tus: Tus) -> None:
    path = (await tus.create(len(PHOTO), PHOTO)).headers["location"]
    await assert_stored(service, path, PHOTO)
    assert await tus.offset(path) == len(PHOTO)
    again = await tus.patch(path, 0, PHOTO)
    assert (again.status_code, again.headers["upload-offset"]) == (409, str(len(PHOTO)))
    empty = await tus.patch(path, len(PHOTO), b"")
    assert (empty.status_code, empty.headers["upload-offset"]) == (204, str(len(PHOTO)))
    assert empty.headers["location"] == f"/upload/{id_of(path)}/status"
    assert (await tus.patch(path, len(PHOTO), b"x")).status_code == 413
    assert (await service.status(id_of(path)))["attempt"] == 1


async def test_t7_pieces_of_a_byte_become_few_objects(service: Service, tus: Tus) -> None:
    photo = images.photo(16, 16)
    path = await tus.begun(len(photo))
    for at in range(39):
        await tus.added(path, at, photo[at : at + 1])
    objects = kept_of(service.environment, path)["objects"]
    assert len(objects) == 4, "as many as 39 has binary ones"
    await tus.added(path, 39, photo[39:])
    await assert_stored(service, path, photo)
    assert kept_of(service.environment, path)["objects"][0] == f"originals/{id_of(path)}"
    assert not [key for key in kept_of(service.environment, path)["objects"] if ".piece." in key]


async def test_t8_of_two_clients_at_once_one_goes_on_and_the_other_is_told_the_offset(
    service: Service, tus: Tus
) -> None:
    path, arrived = await tus.begun(len(LARGE)), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield LARGE[: PART + 100]
        arrived.set()
        await asyncio.sleep(60)

    slow = asyncio.create_task(tus.patch(path, 0, slowly()))
    await arrived.wait()
    await until(lambda: bool(kept_of(service.environment, path)["uploads"]))

    async def told() -> bool:
        return await tus.offset(path) == PART

    await until(told)
    assert await tus.added(path, PART, LARGE[PART:]) == len(LARGE)
    slow.cancel()
    await assert_stored(service, path, LARGE)


async def test_t8_racing_clients_never_make_anything_but_the_file(service: Service, tus: Tus) -> None:
    photo = LARGE[: PART + 50_000]
    path, statuses = await tus.begun(len(photo)), list[int]()

    async def client(size: int) -> None:
        offset = 0
        while offset < len(photo):
            answer = await tus.patch(path, offset, photo[offset : offset + size])
            statuses.append(answer.status_code)
            offset = await tus.offset(path)

    await asyncio.gather(client(PART // 3), client(PART // 5), client(PART))
    assert set(statuses) <= {204, 409}
    await assert_stored(service, path, photo)


async def test_a_photo_of_random_bytes_is_stored_and_fails_as_any(service: Service, tus: Tus) -> None:
    data = b"\xff\xd8\xff" + os.urandom(5000)
    path = (await tus.create(len(data), data)).headers["location"]
    status = await service.ended(id_of(path))
    assert (status["status"], status["error"]["code"]) == ("FAILURE", "decode_failed")
