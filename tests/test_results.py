"""What becomes of an upload: its status, its variants, its failure, its end."""

from unittest.mock import ANY
from uuid import uuid4

import pytest
from PIL import Image, ImageChops, ImageStat

from tests.support import images
from tests.support.images import distance
from tests.support.ledger import sha256
from tests.support.service import Service

PHOTO = images.photo(1600, 1200)


async def test_the_default_preset_makes_a_resized_one_and_a_thumbnail(service: Service) -> None:
    upload_id = await service.upload(PHOTO, "holiday.jpg")
    result = await service.result(upload_id)
    assert result["status"] == "SUCCESS"
    assert result["result"] == {
        "resized_compressed": f"/files/processed/{upload_id}/holiday_resized_compressed.jpeg",
        "thumbnail": f"/files/processed/{upload_id}/holiday_thumbnail.jpeg",
    }
    for name, size in {"resized_compressed": (1024, 768), "thumbnail": (200, 150)}.items():
        facts, data = result["variants"][name], await service.file(upload_id, name)
        image = images.opened(data)
        assert (image.size, image.format, image.mode) == (size, "JPEG", "RGB")
        assert (facts["width"], facts["height"], facts["bytes"]) == (*size, len(data))
        assert (facts["content_type"], facts["sha256"]) == ("image/jpeg", sha256(data))
    assert result["original"] == {
        "width": 1600,
        "height": 1200,
        "bytes": len(PHOTO),
        "content_type": "image/jpeg",
        "sha256": sha256(PHOTO),
        "frames": 1,
        "taken_at": None,
        "camera": None,
        "palette": ANY,
        "dhash": ANY,
        "position": None,
    }
    assert result["placeholder"] == {"thumbhash": ANY, "color": ANY}
    assert distance(Image.new("RGB", (1, 1), result["placeholder"]["color"]), images.scene().resize((1, 1))) < 64


async def test_a_status_tells_the_whole_way(service: Service) -> None:
    upload_id = await service.upload(PHOTO, metadata='{"album": "7"}')
    status = await service.ended(upload_id)
    assert status == {
        "id": upload_id,
        "task_id": upload_id,
        "status": "SUCCESS",
        "progress": 100,
        "step": None,
        "filename": "sample.jpg",
        "preset": "default",
        "attempt": 1,
        "created_at": status["created_at"],
        "started_at": status["started_at"],
        "finished_at": status["finished_at"],
        "expires_at": None,
        "error": None,
        "metadata": {"album": "7"},
        "focus": None,
        "derivation": None,
    }
    assert status["created_at"] <= status["started_at"] <= status["finished_at"]
    whole = (await service.client.get(f"/upload/{upload_id}")).json()
    assert whole["status"] == status
    assert whole["result"]["status"] == "SUCCESS"


async def test_the_links_of_an_upload_lead_to_all_that_there_is_of_it(service: Service) -> None:
    upload_id = await service.upload(PHOTO)
    await service.ended(upload_id)
    links = (await service.client.get(f"/upload/{upload_id}")).json()["links"]
    assert links.keys() == {"self", "status", "result", "events"}
    for path in links.values():
        assert (await service.client.get(path)).status_code == 200, path


async def test_a_damaged_image_ends_in_failure_decode_failed(service: Service) -> None:
    upload_id = await service.upload(PHOTO[: len(PHOTO) // 2])
    status = await service.ended(upload_id)
    result = (await service.client.get(f"/upload/{upload_id}/result")).json()
    assert (status["status"], status["error"]["code"], status["attempt"]) == ("FAILURE", "decode_failed", 1)
    assert result == {"status": "FAILURE", "result": None, "error": status["error"]}


async def test_an_image_with_too_many_pixels_ends_in_failure(service: Service) -> None:
    upload_id = await service.upload(images.png_header_bomb())
    assert (await service.ended(upload_id))["error"]["code"] == "image_too_large"


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_every_orientation_comes_out_upright(service: Service, orientation: int) -> None:
    upload_id = await service.upload(images.photo(600, 400, orientation=orientation))
    reference = await service.upload(images.photo(600, 400))
    turned, upright = [images.opened(await service.file(i, "thumbnail")) for i in (upload_id, reference)]
    assert turned.size == upright.size
    assert max(ImageStat.Stat(ImageChops.difference(turned, upright)).mean) < 4


async def test_deleting_removes_record_and_files_and_may_be_repeated(service: Service) -> None:
    upload_id = await service.upload(PHOTO)
    result = await service.result(upload_id)
    assert [(await service.client.delete(f"/upload/{upload_id}")).status_code for _ in range(2)] == [204, 204]
    for path in (f"/upload/{upload_id}", f"/upload/{upload_id}/status", *result["result"].values()):
        assert (await service.client.get(path)).status_code == 404, path


async def test_what_is_not_known_is_a_404_with_one_body(service: Service) -> None:
    unknown = [f"/upload/{uuid4()}", "/upload/not-an-id", f"/upload/{str(uuid4()).upper()}"]
    answers = [await service.client.get(path) for path in unknown]
    answers += [await service.client.delete(unknown[0])]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert len({answer.json()["detail"] for answer in answers}) == 1


async def test_other_methods_are_told_what_is_allowed(service: Service) -> None:
    answer = await service.client.put(f"/upload/{uuid4()}")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert {"GET", "DELETE"} <= {method.strip() for method in answer.headers["allow"].split(",")}


async def test_health_and_readiness(service: Service) -> None:
    assert (await service.client.get("/healthz")).json() == {"status": "ok"}
    ready = (await service.client.get("/readyz")).json()
    assert ready["status"] == "ready"
    assert ready["checks"]["workers"] == {"ok": True, "alive": 1, "queued": 0, "sandbox": "full"}


async def test_every_answer_carries_its_request_id(service: Service) -> None:
    given = await service.client.get("/healthz", headers={"x-request-id": "client-chosen-1"})
    odd = await service.client.get("/healthz", headers={"x-request-id": "no good; id"})
    assert given.headers["x-request-id"] == "client-chosen-1"
    assert odd.headers["x-request-id"] not in {"", "no good; id"}


async def test_what_was_given_up_of_an_original_is_told_beside_its_files(service: Service) -> None:
    whole = await service.result(await service.upload(PHOTO, "whole.jpg"))
    assert whole["warnings"] == []
    cut = await service.result(await service.upload(PHOTO[:-1000], "cut.jpg"))
    assert cut["status"] == "SUCCESS"
    assert [warning["code"] for warning in cut["warnings"]] == ["truncated"]
    assert cut["warnings"][0]["message"]
