"""The gate: nothing that is made of an image can be seen before the operator's own service has allowed it."""

import asyncio
import base64
import io
from collections.abc import AsyncGenerator
from pathlib import Path
from time import time
from typing import Any
from uuid import uuid4

import orjson
import pytest
import pytest_asyncio
from PIL import Image
from pydantic import ValidationError

from imgsvc.domain.gate import Verdict, read_verdict
from imgsvc.domain.presets import PresetError, load
from imgsvc.jobs.record import Postponed, Record
from imgsvc.runtime.settings import Settings
from imgsvc.worker.gate import Gate, NotYetError
from tests.support import images
from tests.support.peers import Receiver
from tests.support.service import Servers, Service, leftovers, settings_of, until

SMALL = images.photo(800, 600)
SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()
PRESETS = """
[trusted]
gate = false
thumb = { width = 50 }
"""


def answer(body: object, status: int = 200) -> bytes:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%s" % (status, len(content), content)


ALLOW, HOLD = answer({"decision": "allow"}), answer({"decision": "hold"})
REJECT = answer({"decision": "reject", "reason": "No\u202e faces,\n please.", "score": 0.9})
DOWN = answer(b"", 500)


@pytest_asyncio.fixture(scope="module")
async def gate() -> AsyncGenerator[Receiver]:
    async with Receiver.start(ALLOW) as receiver:
        yield receiver


@pytest_asyncio.fixture(scope="module")
async def gated(gate: Receiver, servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Service]:
    presets = tmp_path_factory.mktemp("presets") / "presets.toml"
    presets.write_text(PRESETS)
    settings: dict[str, Any] = {"webhook_secret": SECRET, "gate_url": gate.url, "presets_file": presets}
    async with Service.start(servers.environment(), decoders=1, **settings) as started:
        yield started


def published(service: Service) -> list[str]:
    return [key for key in leftovers(service.environment)["objects"] if key.startswith("processed/")]


async def until_held(service: Service, upload_id: str) -> dict[str, Any]:
    async def held() -> bool:
        return (await service.status(upload_id))["step"] == "held"

    await until(held)
    return await service.status(upload_id)


async def test_v1_the_gate_sees_a_small_picture_and_the_upload_signed_before_anything_is_stored(
    gated: Service, gate: Receiver
) -> None:
    gate.told.clear()
    gate.will_answer(ALLOW)
    upload_id = await gated.upload(SMALL, metadata='{"order": "7"}')
    assert (await gated.result(upload_id))["warnings"] == []
    (told,) = gate.told
    told.verify(SECRET)
    assert told.event["type"] == "upload.gate"
    assert told.event["data"]["status"]["metadata"] == {"order": "7"}
    assert told.event["data"]["result"] is None
    head, _, text = told.event["image"].partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(text))) as seen:
        assert (seen.format, seen.size) == ("JPEG", (512, 384))


async def test_v1_what_is_rejected_fails_with_the_reason_and_nothing_of_it_is_published(
    gated: Service, gate: Receiver
) -> None:
    before = published(gated)
    gate.will_answer(REJECT)
    upload_id = await gated.upload(SMALL)
    status = await gated.ended(upload_id)
    assert status["error"] == {"code": "rejected", "message": "No faces, please."}
    assert published(gated) == before
    gate.will_answer(ALLOW)
    assert (await gated.client.post(f"/upload/{upload_id}/retry")).status_code == 202
    assert (await gated.ended(upload_id))["status"] == "SUCCESS", "it was asked anew"


async def test_v2_what_is_held_waits_for_its_release_and_is_not_asked_about_again(
    gated: Service, gate: Receiver
) -> None:
    before = published(gated)
    gate.will_answer(HOLD)
    upload_id = await gated.upload(SMALL)
    status = await until_held(gated, upload_id)
    assert (status["status"], published(gated)) == ("PROGRESS", before)
    gate.will_answer(ALLOW)
    await gated.result(await gated.upload(SMALL))  # other jobs are not held up
    asked = len(gate.told)
    released = await gated.client.post(f"/upload/{upload_id}/release")
    assert released.status_code == 202
    await gated.result(upload_id)
    assert len(gate.told) == asked
    again = await gated.client.post(f"/upload/{upload_id}/release")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert (await gated.client.post("/upload/unknown/release")).status_code == 404


async def test_v2_what_is_held_can_be_cancelled_and_deleted(gated: Service, gate: Receiver) -> None:
    gate.will_answer(HOLD)
    one, other = await gated.upload(SMALL), await gated.upload(SMALL)
    for upload_id in (one, other):
        await until_held(gated, upload_id)
    assert (await gated.client.post(f"/upload/{one}/cancel")).json()["status"] == "CANCELLED"
    assert (await gated.client.post(f"/upload/{one}/release")).status_code == 409
    assert (await gated.client.delete(f"/upload/{other}")).status_code == 204
    assert (await gated.client.post(f"/upload/{other}/release")).status_code == 404


async def test_v2_what_was_held_and_cancelled_is_asked_about_anew_when_it_is_retried(
    gated: Service, gate: Receiver
) -> None:
    before = published(gated)
    gate.will_answer(HOLD)
    upload_id = await gated.upload(SMALL)
    await until_held(gated, upload_id)
    assert (await gated.client.post(f"/upload/{upload_id}/cancel")).status_code == 200
    gate.will_answer(REJECT)
    assert (await gated.client.post(f"/upload/{upload_id}/retry")).status_code == 202
    assert (await gated.ended(upload_id))["error"]["code"] == "rejected"
    assert published(gated) == before


async def test_v3_a_gate_that_does_not_answer_is_asked_again_and_nothing_is_published_meanwhile(
    gated: Service, gate: Receiver
) -> None:
    before = published(gated)
    gate.will_answer(DOWN, answer(b"<html>allow</html>"), answer({"decision": "yes"}), ALLOW)
    asked = len(gate.told)
    upload_id = await gated.upload(SMALL)
    await gate.until_told(asked + 2)
    assert published(gated) == before
    await gated.result(upload_id)
    assert len(gate.told) == asked + 4


async def test_v3_a_gate_that_fails_on_one_owner_s_images_is_asked_about_the_others() -> None:
    async with Receiver.start(DOWN) as receiver, Gate.open(with_gate(receiver)) as gate:
        assert gate
        with pytest.raises(NotYetError):
            await gate(uploaded_by("shop"), look)
        receiver.will_answer(ALLOW)
        with pytest.raises(NotYetError):
            await gate(uploaded_by("shop"), look)
        assert len(receiver.told) == 1, "it is not asked again at once"
        assert await gate(uploaded_by("blog"), look) == ()


async def test_v3_a_gate_that_is_silent_about_an_owner_is_asked_about_one_image_at_a_time() -> None:
    async with Receiver.start(DOWN) as receiver, Gate.open(with_gate(receiver)) as gate:
        assert gate
        with pytest.raises(NotYetError) as first:
            await gate(uploaded_by("shop"), look)
        receiver.will_answer(None)
        assert isinstance(first.value.outcome, Postponed)
        await asyncio.sleep(first.value.outcome.delay_s)
        probe = asyncio.create_task(gate(uploaded_by("shop"), look))
        await receiver.until_told(2)
        with pytest.raises(NotYetError):
            await gate(uploaded_by("shop"), look)
        probe.cancel()
        assert len(receiver.told) == 2


def with_gate(receiver: Receiver) -> Settings:
    given = {"REDIS_URL": "redis://localhost", "GATE_URL": receiver.url, "WEBHOOK_SECRET": SECRET}
    return settings_of({f"IMGSVC_{name}": value for name, value in given.items()})


def uploaded_by(owner: str) -> Record:
    now_ms = str(round(time() * 1000))
    row = {"status": "PROGRESS", "owner": owner, "created_at": now_ms, "gate": "ask"}
    record = Record.from_hash(str(uuid4()), {name.encode(): text.encode() for name, text in row.items()})
    assert record
    return record


async def look() -> bytes:
    return b"a small picture"


async def test_v4_a_preset_can_do_without_the_gate_and_an_upload_s_own_variants_cannot(
    gated: Service, gate: Receiver
) -> None:
    gate.will_answer(ALLOW)
    asked = len(gate.told)
    await gated.result(await gated.upload(SMALL, preset="trusted"))
    assert len(gate.told) == asked
    await gated.result(await gated.upload(SMALL, variants='{"thumb": {"width": 50}}'))
    assert len(gate.told) == asked + 1


@pytest.mark.parametrize(("fails", "code"), [("closed", "gate_unavailable"), ("open", None)])
async def test_v3_after_its_deadline_the_operator_s_choice_decides(
    servers: Servers, fails: str, code: str | None
) -> None:
    async with Receiver.start(DOWN) as gate:
        settings: dict[str, Any] = {"webhook_secret": SECRET, "gate_url": gate.url, "gate_fails": fails}
        async with Service.start(servers.environment(), decoders=1, gate_deadline_s=0.1, **settings) as service:
            upload_id = await service.upload(SMALL)
            status = await service.ended(upload_id)
            if code:
                assert status["error"]["code"] == code
                assert published(service) == []
            else:
                assert [warning["code"] for warning in (await service.result(upload_id))["warnings"]] == [
                    "gate_skipped"
                ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"allow",
        b'"allow"',
        b"{}",
        b'{"decision": "ALLOW"}',
        b'{"decision": ["allow"]}',
        b'{"decision": {"a": 1}}',
        b'{"decision": "hold", "decision": "allow"}',
        b'{"decision": "\xff"}',
        b"[" * 1000,
    ],
    ids=repr,
)
def test_v3_anything_but_a_verdict_is_no_answer(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        read_verdict(body)


def test_a_reason_is_one_line_of_bounded_length() -> None:
    long = orjson.dumps({"decision": "reject", "reason": "a\x00\u2028b " * 1000})
    verdict = read_verdict(long)
    assert len(verdict.reason) <= 500
    assert verdict.reason.startswith("a b a b")
    assert read_verdict(b'{"decision": "reject", "reason": 7}') == Verdict("reject")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gate_url": "https://example.com/"}, "IMGSVC_WEBHOOK_SECRET is not set"),
        ({"gate_url": "example.com", "webhook_secret": SECRET}, "must look like https://example.com/gate"),
    ],
)
def test_a_gate_needs_a_url_and_a_secret(given: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings(redis_url="redis://localhost", **given)  # pyright: ignore[reportArgumentType]


def test_a_preset_s_gate_is_true_or_false(tmp_path: Path) -> None:
    file = tmp_path / "presets.toml"
    file.write_text('[shop]\ngate = "no"\nthumb = { width = 50 }')
    with pytest.raises(PresetError, match=r"shop\.gate must be true or false"):
        load(file)
