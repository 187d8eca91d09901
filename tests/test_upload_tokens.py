"""Upload tokens: one upload for whoever has one, and nothing else (rows U2, U3, U5, U6, U7, U9 and U12)."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from time import time
from typing import Any
from uuid import uuid4

import pytest

from imgsvc.domain.tokens import UploadToken, issue
from tests.support import images
from tests.support.callers import (
    APP,
    BLOG,
    ENVIRONMENT,
    JPEG,
    PHOTO,
    SHOP,
    by,
    raw,
    refusal,
)
from tests.support.service import Service, leftovers
from tests.support.tokens import ask, issued, kept_of, send, send_form

OTHER = images.photo(64, 48)
PNG = images.encoded(images.scene(64, 48), "PNG")
SECRET = ENVIRONMENT["IMGSVC_SIGNING_SECRET"].encode()


def token(owner: str = "shop", expires_at: float | None = None, **terms: Any) -> str:
    """One that is signed rightly, whatever it says."""
    ends = int(time() + 900 if expires_at is None else expires_at)
    return issue(UploadToken(str(uuid4()), owner, ends, **terms), SECRET)


async def test_a_token_makes_the_upload_that_it_names(keyed: Service) -> None:
    document = await issued(keyed, preset="default", metadata={"sku": "81"}, focus={"x": 0.25, "y": 0.5})
    path = f"/upload/{document['id']}"
    assert document["upload_url"] == f"/upload?token={document['token']}"
    assert {name: document[f"{name}_url"] for name in ("status", "result", "events")} == {
        name: f"{path}/{name}" for name in ("status", "result", "events")
    }
    answer = await send_form(keyed, document["upload_url"])
    assert answer.status_code == 202, answer.text
    assert (answer.json()["id"], answer.json()["url"]) == (document["id"], path)
    for url in (f"{path}/status?token={document['token']}&wait=30", f"{path}/result?wait=30&token={document['token']}"):
        assert (await ask(keyed, "GET", url)).status_code == 200
    status = await keyed.status(document["id"])
    assert (status["status"], status["metadata"], status["preset"]) == ("SUCCESS", {"sku": "81"}, "default")
    assert status["focus"] == {"x": 0.25, "y": 0.5}
    hidden = await keyed.client.get(path, headers=by(BLOG))
    assert refusal(hidden) == (404, "not_found"), "it is its issuer's"


async def test_a_token_travels_as_a_bearers_too(keyed: Service) -> None:
    document = await issued(keyed)
    bearer = by(document["token"])
    answer = await ask(keyed, "POST", "/upload?filename=a.jpg", content=PHOTO, headers=JPEG | bearer)
    assert answer.status_code == 202, answer.text
    events = await ask(keyed, "GET", document["events_url"], headers=bearer)
    assert '"status":"SUCCESS"' in events.text
    again = await ask(keyed, "POST", f"/upload/{document['id']}/cancel", headers=bearer)
    assert refusal(again) == (409, "conflict"), "it has ended, and might have been cancelled"


async def test_an_upload_by_a_token_is_derived_deleted_and_found_as_any(keyed: Service) -> None:
    document = await issued(keyed)
    await send(keyed, document["upload_url"])
    await keyed.ended(document["id"])
    derive = await keyed.client.post(f"/upload/{document['id']}/variants", json={"preset": "default"})
    assert derive.status_code == 202
    await keyed.client.get(f"/upload/{document['id']}/status?wait=30")
    assert (await keyed.status(document["id"]))["derivation"]["status"] == "SUCCESS"
    assert (await keyed.client.delete(f"/upload/{document['id']}")).status_code == 204
    assert not [key for key in leftovers(keyed.environment)["objects"] if document["id"] in key]


async def test_u2_an_expired_token_is_told_so(keyed: Service) -> None:
    for ends in (time() - 1, 1, time() - 10**6):
        text = token(expires_at=ends)
        assert refusal(await send(keyed, f"/upload?token={text}")) == (403, "token_expired")
        assert refusal(await ask(keyed, "GET", f"/uploads?token={text}")) == (403, "forbidden")


async def test_u2_an_owner_without_a_key_has_no_tokens(keyed: Service) -> None:
    for owner in ("former", "", "SHOP"):
        assert refusal(await send(keyed, f"/upload?token={token(owner)}")) == (401, "unauthorized")


async def test_u3_the_same_file_again_gets_the_same_answer_and_another_none(keyed: Service) -> None:
    document = await issued(keyed, preset="default")
    first = await send_form(keyed, document["upload_url"])
    before = leftovers(keyed.environment)["objects"]
    for again in (
        await send_form(keyed, document["upload_url"]),
        await send(keyed, document["upload_url"]),
        await send_form(keyed, document["upload_url"], metadata='{"a": "b"}'),
    ):
        assert (again.status_code, again.json()) == (202, first.json())
    for data in (OTHER, PNG, PHOTO[:-1], PHOTO + b"\0"):
        assert refusal(await send(keyed, document["upload_url"], data)) == (409, "token_used")
    assert (await keyed.ended(document["id"]))["status"] == "SUCCESS"
    assert [key for key in leftovers(keyed.environment)["objects"] if "originals" in key] == [
        key for key in before if "originals" in key
    ]


async def test_u3_a_token_whose_upload_is_deleted_makes_no_other(keyed: Service) -> None:
    document = await issued(keyed)
    await send(keyed, document["upload_url"])
    await keyed.client.delete(f"/upload/{document['id']}")
    for data in (PHOTO, OTHER):
        assert refusal(await send(keyed, document["upload_url"], data)) == (409, "token_used")
    status = await ask(keyed, "GET", f"{document['status_url']}?token={document['token']}")
    assert refusal(status) == (404, "not_found")


async def test_u3_a_token_whose_upload_was_refused_can_be_used(keyed: Service) -> None:
    document = await issued(keyed)
    for data, kind in ((b"no image", "unsupported_media_type"), (b"", "empty_file")):
        assert refusal(await send(keyed, document["upload_url"], data))[1] == kind
    assert refusal(await send_form(keyed, document["upload_url"], preset="none"))[1] == "invalid_preset"
    assert (await send(keyed, document["upload_url"])).status_code == 202
    assert (await keyed.ended(document["id"]))["status"] == "SUCCESS"


async def test_u4_many_at_once_make_one_upload(keyed: Service) -> None:
    document = await issued(keyed)
    files = [PHOTO, OTHER] * 8
    answers = await asyncio.gather(*(send(keyed, document["upload_url"], data) for data in files))
    print(f"sixteen at once: {Counter(answer.status_code for answer in answers)}")
    accepted = {data for data, answer in zip(files, answers, strict=True) if answer.status_code == 202}
    assert len(accepted) == 1
    codes = {answer.json()["code"] for answer in answers if answer.status_code != 202}
    assert codes <= {"idempotency_in_flight", "token_used"}
    original = (await keyed.result(document["id"]))["original"]
    assert original["bytes"] == len(accepted.pop())
    objects = leftovers(keyed.environment)["objects"]
    assert len([key for key in objects if key.startswith(f"originals/{document['id']}")]) == 1


async def test_u5_a_token_opens_nothing_else(keyed: Service) -> None:
    document, other = await issued(keyed), await issued(keyed)
    await send(keyed, document["upload_url"])
    await send(keyed, other["upload_url"])
    mine, theirs = document["id"], other["id"]
    calls = [
        *(("GET", f"/upload/{theirs}/{part}") for part in ("status", "result", "events")),
        *(("POST", f"/upload/{theirs}/cancel"), ("GET", f"/upload/{theirs}"), ("DELETE", f"/upload/{theirs}")),
        *(("GET", f"/upload/{mine}"), ("DELETE", f"/upload/{mine}"), ("PATCH", f"/upload/{mine}")),
        *(
            ("POST", f"/upload/{mine}/retry"),
            ("POST", f"/upload/{mine}/variants"),
            ("DELETE", f"/upload/{mine}/cancel"),
        ),
        *(
            ("PUT", "/upload"),
            ("GET", "/upload"),
            ("POST", "/upload/url"),
            ("POST", "/upload/"),
            ("OPTIONS", "/upload"),
        ),
        *(("GET", "/uploads"), ("GET", "/presets"), ("GET", "/metrics"), ("POST", "/tokens"), ("GET", "/nowhere")),
        *(("GET", f"/upload/{mine}/status/"), ("GET", f"/upload/{mine.upper()}/status")),
        *(("GET", f"/upload/x/{mine}/status"), ("GET", f"//upload/{mine}/status"), ("GET", "/Upload")),
    ]
    for method, path in calls:
        for answer in (
            await ask(keyed, method, f"{keyed.url}{path}?token={document['token']}"),
            await ask(keyed, method, f"{keyed.url}{path}", headers=by(document["token"])),
        ):
            assert refusal(answer) == (403, "forbidden"), (method, path)
    assert (await keyed.ended(theirs))["status"] == "SUCCESS"


async def test_u5_what_is_public_is_public_with_a_token_too(keyed: Service) -> None:
    document = await issued(keyed)
    await send(keyed, document["upload_url"])
    file = (await keyed.result(document["id"]))["result"]["thumbnail"]
    for path in ("/healthz", "/readyz", "/", file):
        assert (await ask(keyed, "GET", f"{path}?token={document['token']}")).status_code == 200
    assert "checks" not in (await ask(keyed, "GET", "/readyz", headers=by(document["token"]))).json()


@pytest.mark.parametrize(
    ("terms", "fields"),
    [
        ({"preset": "default"}, {"preset": "default"}),
        ({"preset": "default"}, {"variants": '{"a": {"width": 1}}'}),
        ({"variants": {"a": {"width": 9}}}, {"preset": "default"}),
        ({"metadata": {"a": "b"}}, {"metadata": "{}"}),
        ({"focus": {"x": 0, "y": 0}}, {"focus": '{"x": 1, "y": 1}'}),
        ({"expires_in": 3600}, {"expires_in": "60"}),
        ({}, {"expires_in": "60"}),
        ({}, {"webhook_url": "https://example.com/"}),
        ({}, {"priority": "high"}),
    ],
)
async def test_u6_what_the_token_fixes_and_what_is_its_issuers_cannot_be_given(
    keyed: Service, terms: dict[str, Any], fields: dict[str, str]
) -> None:
    document = await issued(keyed, **terms)
    for answer in (
        await send_form(keyed, document["upload_url"], PHOTO, "", **fields),
        await ask(keyed, "POST", document["upload_url"], params=fields | {"token": document["token"]}, content=PHOTO),
    ):
        assert refusal(answer) == (422, "invalid_field"), answer.text
        assert repr(next(iter(fields))) in answer.json()["detail"]
    assert kept_of(keyed, document["id"]) == []
    assert (await send(keyed, document["upload_url"])).status_code == 202


async def test_u6_what_is_left_open_can_be_given(keyed: Service) -> None:
    document = await issued(keyed, metadata={"a": "b"})
    answer = await send_form(
        keyed, document["upload_url"], variants='{"card": {"width": 64}}', focus='{"x": 1, "y": 0}'
    )
    assert answer.status_code == 202, answer.text
    status = await keyed.ended(document["id"])
    assert (status["preset"], status["metadata"], status["focus"]) == ("custom", {"a": "b"}, {"x": 1.0, "y": 0.0})


async def pieces(data: bytes, size: int = 4096) -> AsyncGenerator[bytes]:
    """A body without a length."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def test_u7_a_file_larger_than_the_token_allows_is_refused(keyed: Service) -> None:
    document = await issued(keyed, max_bytes=len(PHOTO) - 1)
    large = {"content-length": str(len(PHOTO) + 200_000)}
    for answer in (
        await send(keyed, document["upload_url"]),
        await send(keyed, document["upload_url"], pieces(PHOTO)),
        await send_form(keyed, document["upload_url"]),
    ):
        assert refusal(answer) == (413, "upload_too_large")
    head = f"POST {document['upload_url']} HTTP/1.1\nHost: x\nContent-Type: image/jpeg\n"
    announced = await raw(keyed, f"{head}Content-Length: {large['content-length']}\n\n")
    assert announced.startswith("HTTP/1.1 413"), "before a byte of it is read"
    assert kept_of(keyed, document["id"]) == []
    exact = await issued(keyed, max_bytes=len(PHOTO))
    assert (await send(keyed, exact["upload_url"], pieces(PHOTO))).status_code == 202


async def test_u7_a_type_that_the_token_does_not_allow_is_refused_however_it_is_declared(keyed: Service) -> None:
    document = await issued(keyed, content_types=["image/jpeg", "image/heic"])
    url = document["upload_url"]
    for data, kind in (
        (PNG, "image/jpeg"),
        (PNG, "image/png"),
        (PNG, ""),
        (PHOTO, "image/png"),
        (PHOTO, "image/svg+xml"),
    ):
        for answer in (
            await ask(keyed, "POST", url, content=data, headers={"content-type": kind} if kind else {}),
            await ask(keyed, "POST", url, content=pieces(data, 100), headers={"content-type": kind}),
            await send_form(keyed, url, data, kind),
        ):
            assert refusal(answer) == (415, "unsupported_media_type"), kind
    assert kept_of(keyed, document["id"]) == []
    for kind in ("image/jpg", "IMAGE/JPEG; a=b", "application/octet-stream"):
        assert (await ask(keyed, "POST", url, content=PHOTO, headers={"content-type": kind})).status_code == 202


async def test_u9_one_credential_and_no_more(keyed: Service) -> None:
    document = await issued(keyed)
    text, url = document["token"], document["upload_url"]
    bearer, key = f"Authorization: Bearer {text}\n", f"Authorization: Bearer {SHOP}\n"
    for target, headers in (
        (url, bearer),
        (url, key),
        (f"{url}&token={text}", ""),
        (f"{url}&%74oken={text}", ""),
        (f"{url}&token=", ""),
        ("/upload", bearer + bearer),
        ("/upload", bearer + key),
        ("/upload", key + bearer),
    ):
        answer = await raw(keyed, f"POST {target} HTTP/1.1\nHost: x\n{headers}Content-Length: 0\nConnection: close\n\n")
        assert answer.startswith("HTTP/1.1 400"), (target, headers)
        assert "malformed_request" in answer


@pytest.mark.parametrize(
    ("terms", "code", "names"),
    [
        ({"other": 1}, "unknown_field", "other"),
        ({"filename": "a.jpg"}, "unknown_field", "filename"),
        ({"id": str(uuid4())}, "unknown_field", "id"),
        ({"owner": "blog"}, "unknown_field", "owner"),
        *(
            ({"valid_for": value}, "invalid_field", "60 to 86400")
            for value in (59, 86_401, True, "900", 1.5, None, -1, [900])
        ),
        *(({"max_bytes": value}, "invalid_field", "from 1") for value in (0, -1, True, "9", 2**41, 10**18, {}, None)),
        *(
            ({"content_types": value}, "invalid_field", "image/jpeg")
            for value in (
                [],
                "image/jpeg",
                ["image/*"],
                ["text/html"],
                ["image/jpeg"] * 2,
                [["image/jpeg"]],
                {},
                [None],
                [1],
            )
        ),
        *(
            ({"origin": value}, "invalid_field", "https://app.example.com")
            for value in (
                "*",
                "null",
                "https://a.example/",
                f"{APP}, https://b.example",
                "app.example.com",
                1,
                "",
                [APP],
            )
        ),
        ({"origin": f"{APP}\r\nx: y"}, "invalid_field", "https://app.example.com"),
        ({"preset": "none"}, "invalid_preset", "none"),
        ({"preset": "default", "variants": {"a": {"width": 1}}}, "invalid_variants", "not both"),
        ({"variants": "{}"}, "invalid_variants", "variants"),
        ({"variants": {"a": {"width": 0}}}, "invalid_variants", "width"),
        ({"metadata": {"a": 1}}, "invalid_field", "metadata"),
        ({"expires_in": 0}, "invalid_field", "expires_in"),
        ({"focus": {"x": 2, "y": 0}}, "invalid_field", "focus"),
        ({"webhook_url": "http://10.0.0.1/"}, "invalid_webhook_url", "IMGSVC_WEBHOOK_SECRET"),
    ],
)
async def test_u12_a_term_that_is_none_is_named(keyed: Service, terms: dict[str, Any], code: str, names: str) -> None:
    answer = await keyed.client.post("/tokens", json=terms)
    assert refusal(answer) == (422, code), answer.text
    assert names in answer.json()["detail"]


async def test_u12_tokens_are_for_those_with_a_key(keyed: Service, service: Service) -> None:
    assert refusal(await ask(keyed, "POST", "/tokens", json={})) == (401, "unauthorized")
    refused = await service.client.post("/tokens", json={})
    assert refusal(refused) == (403, "forbidden")
    assert "IMGSVC_SIGNING_SECRET" in refused.json()["detail"]
    for text in ("x", "iut1.x.y", ""):
        assert refusal(await send(service, f"/upload?token={text}")) == (401, "unauthorized")
