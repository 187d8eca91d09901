"""Uploading: what is taken, what is refused and how, and what it costs."""

import os
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from imgsvc.runtime.settings import MIB
from tests.support import images
from tests.support.service import Servers, Service, leftovers

PHOTO = images.photo()


async def test_an_upload_is_answered_as_the_contract_says(service: Service) -> None:
    answer = await service.post(PHOTO, "sample.jpg")
    document = answer.json()
    assert answer.status_code == 202
    assert UUID(document["id"]).version == 4
    assert document == {
        "id": document["id"],
        "task_id": document["id"],
        "filename": "sample.jpg",
        "status_url": f"/upload/{document['id']}/status",
        "result_url": f"/upload/{document['id']}/result",
        "events_url": f"/upload/{document['id']}/events",
        "url": f"/upload/{document['id']}",
        "message": "File uploaded successfully. Processing started in the background.",
    }
    assert answer.headers["location"] == document["status_url"]


async def test_the_body_may_be_the_image_itself(service: Service) -> None:
    headers = {"content-type": "image/jpeg", "content-disposition": 'attachment; filename="in header.jpg"'}
    named_in_query = await service.client.post("/upload?filename=in%20query.jpg", content=PHOTO)
    named_in_header = await service.client.post("/upload", content=PHOTO, headers=headers)
    assert named_in_query.json()["filename"] == "in query.jpg"
    assert named_in_header.json()["filename"] == "in header.jpg"
    for answer in (named_in_query, named_in_header):
        assert (await service.ended(answer.json()["id"]))["status"] == "SUCCESS"


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("attachment; filename*=UTF-8''n%C3%A4h%20am%20Meer.jpg", "n\u00e4h am Meer.jpg"),
        ("attachment; filename=\"nah.jpg\"; filename*=utf-8'de'n%C3%A4h.jpg", "n\u00e4h.jpg"),
        ("attachment; filename*=UTF-8''..%2F%00a.jpg", "a.jpg"),
        ("attachment; filename*=EBCDIC''%C1; filename=plain.jpg", "plain.jpg"),
    ],
)
async def test_the_name_of_a_bare_image_is_read_as_rfc_6266_says(service: Service, disposition: str, name: str) -> None:
    answer = await service.client.post("/upload", content=PHOTO, headers={"content-disposition": disposition})
    assert (answer.status_code, answer.json()["filename"]) == (202, name)


@pytest.mark.parametrize("fields_first", [True, False])
async def test_fields_may_stand_before_or_after_the_file(service: Service, fields_first: bool) -> None:
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n' + PHOTO + b"\r\n"
    field = b'--b\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n{"album": "summer"}\r\n'
    body = (field + file if fields_first else file + field) + b"--b--\r\n"
    answer = await service.client.post(
        "/upload", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code == 202
    assert (await service.status(answer.json()["id"]))["metadata"] == {"album": "summer"}


async def test_a_body_that_comes_byte_by_byte_is_the_same_upload(service: Service) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="slow.gif"\r\n\r\n'
    body = head + images.encoded(images.scene(), "GIF") + b"\r\n--b--\r\n"

    async def trickle() -> AsyncIterator[bytes]:
        for at in range(len(body)):
            yield body[at : at + 1]

    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = await service.client.post("/upload", content=trickle(), headers=headers)
    assert answer.status_code == 202
    assert (await service.ended(answer.json()["id"]))["status"] == "SUCCESS"


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd.jpg", "passwd.jpg"),
        ("C:\\Users\\me\\photo.jpg", "photo.jpg"),
        ("a\u202egpj.exe.jpg", "agpj.exe.jpg"),
        ("näh ~ 写真.jpg", "näh ~ 写真.jpg"),
        ("..", "image"),
        ("x" * 400 + ".jpg", "x" * 146 + ".jpg"),
    ],
)
async def test_h12_a_name_comes_back_made_safe(service: Service, name: str, safe: str) -> None:
    answer = await service.client.post("/upload", params={"filename": name}, content=PHOTO)
    assert answer.json()["filename"] == safe
    result = await service.result(answer.json()["id"])
    for path in result["result"].values():
        assert (await service.client.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"just text", "image/png", 415, "unsupported_media_type"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", 415, "unsupported_media_type"),
        (b"%PDF-1.7", "application/octet-stream", 415, "unsupported_media_type"),
        (PHOTO, "text/html", 415, "unsupported_media_type"),
        (b"", "image/jpeg", 422, "empty_file"),
        (b"", "multipart/form-data; boundary=b", 400, "malformed_body"),
        (b"--b\r\nbroken", "multipart/form-data; boundary=b", 400, "malformed_body"),
        (b"--b--\r\n", "multipart/form-data", 400, "malformed_body"),
    ],
)
async def test_h8_h9_what_is_no_image_is_refused_with_a_problem_document(
    service: Service, body: bytes, content_type: str, status: int, code: str
) -> None:
    answer = await service.client.post("/upload", content=body, headers={"content-type": content_type})
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert problem == {
        "type": f"about:blank#{code}",
        "title": problem["title"],
        "status": status,
        "detail": problem["detail"],
        "code": code,
        "instance": "/upload",
        "request_id": answer.headers["x-request-id"],
    }
    assert problem["detail"]


@pytest.mark.parametrize(
    ("files", "fields", "code"),
    [
        ([], {"preset": "default"}, "missing_file"),
        ([("file", ("a.jpg", b""))], {}, "empty_file"),
        ([("file", ("a.jpg", PHOTO)), ("file", ("b.jpg", PHOTO))], {}, "too_many_files"),
        ([("file", ("a.jpg", PHOTO))], {"colour": "red"}, "unknown_field"),
        ([("image", ("a.jpg", PHOTO))], {}, "unknown_field"),
        ([("file", ("a.jpg", PHOTO))], {"preset": "no such"}, "invalid_preset"),
        ([("file", ("a.jpg", PHOTO))], {"metadata": "[1]"}, "invalid_field"),
        ([("file", ("a.jpg", PHOTO))], {"metadata": '{"a": 1}'}, "invalid_field"),
        ([("file", ("a.jpg", PHOTO))], {"metadata": '{"a": "%s"}' % ("x" * 5000)}, "invalid_field"),
    ],
)
async def test_h8_a_form_that_is_not_as_agreed_is_refused_with_its_reason(
    service: Service, files: list[tuple[str, tuple[str, bytes]]], fields: dict[str, str], code: str
) -> None:
    parts = [*files, *((name, (None, value)) for name, value in fields.items())]
    answer = await service.client.post("/upload", files=parts)  # pyright: ignore[reportArgumentType]
    assert (answer.status_code, answer.json()["code"]) == (422, code)


async def test_unknown_query_parameters_of_an_upload_are_refused(service: Service) -> None:
    answer = await service.client.post("/upload?colour=red", content=PHOTO)
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field")


async def test_an_option_that_is_there_twice_is_refused_in_the_query_as_in_a_form(service: Service) -> None:
    in_query = await service.client.post("/upload?expires_in=60&expires_in=600", content=PHOTO)
    fields = [("expires_in", (None, seconds)) for seconds in ("60", "600")]
    in_form = await service.client.post("/upload", files=[("file", ("a.jpg", PHOTO)), *fields])  # pyright: ignore[reportArgumentType]
    for answer in (in_query, in_form):
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")
        assert "expires_in" in answer.json()["detail"]


async def test_h9_a_png_that_claims_to_be_a_jpeg_is_taken_as_a_png(service: Service) -> None:
    upload_id = await service.upload(images.encoded(images.scene(), "PNG"), "claims.jpg")
    assert (await service.result(upload_id))["original"]["content_type"] == "image/png"


async def test_a_failed_upload_leaves_nothing_behind(servers: Servers) -> None:
    environment = servers.environment()
    async with Service.start(environment, workers=0) as service:
        for body in (PHOTO, PHOTO + os.urandom(20 * MIB)):  # stored by a single PUT, and by parts
            # its preset comes behind the file, and so is known only once the file is stored
            answer = await service.post(body, preset="no such")
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_preset")
    assert leftovers(environment) == {"keys": [], "objects": [], "uploads": []}
