"""Presets and variants over HTTP: what is asked for is what is made, and what is wrong is named."""

from collections.abc import AsyncGenerator
from pathlib import Path

import orjson
import pytest
import pytest_asyncio

from imgsvc.domain.model import Variant
from imgsvc.domain.presets import document
from tests.support import images
from tests.support.service import DEADLINE_S, Servers, Service

PHOTO = images.photo(800, 600)
CARD = """
[shop.card]
width = 300

[shop.wide_one]
width = 640
height = 640
quality = 70

[default.tiny]
height = 32
"""


@pytest_asyncio.fixture(scope="module")
async def shop(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Service]:
    """A service with a file of presets, which only its API gets to read."""
    file = tmp_path_factory.mktemp("presets") / "presets.toml"
    file.write_text(CARD)
    async with Service.start(servers.environment(), presets_file=file) as started:
        yield started


async def made(service: Service, upload_id: str) -> dict[str, tuple[int, int]]:
    """The size of each file that came of an upload, by its own pixels."""
    variants = (await service.result(upload_id))["result"]
    return {name: images.opened(await service.file(upload_id, name)).size for name in variants}


async def test_presets_are_told_as_validated(shop: Service, service: Service) -> None:
    built_in = (await service.client.get("/presets")).json()["presets"]
    assert set(built_in) == {"default"}
    assert {name: (fields["width"], fields["height"]) for name, fields in built_in["default"].items()} == {
        "resized_compressed": (1024, 1024),
        "thumbnail": (200, 200),
    }
    told = (await shop.client.get("/presets")).json()["presets"]
    assert {name: set(variants) for name, variants in told.items()} == {
        "default": {"tiny"},
        "shop": {"card", "wide_one"},
    }
    assert (await shop.client.get("/presets")).json()["overlays"] == {}
    assert told["shop"]["card"] == document(Variant("card", width=300)), "with all fields"


async def test_what_presets_tells_may_be_sent_as_variants(service: Service) -> None:
    told = (await service.client.get("/presets")).json()["presets"]["default"]
    upload_id = await service.upload(PHOTO, variants=orjson.dumps(told).decode())
    assert await made(service, upload_id) == {"resized_compressed": (800, 600), "thumbnail": (200, 150)}


async def test_an_upload_gets_the_files_of_its_own_variants(service: Service) -> None:
    variants = '{"small": {"width": 64, "height": 64}, "half": {"width": 400, "height": 400, "quality": 50}}'
    in_form = await service.upload(PHOTO, "a.jpg", variants=variants)
    in_query = await service.client.post("/upload", params={"filename": "a.jpg", "variants": variants}, content=PHOTO)
    for upload_id in (in_form, in_query.json()["id"]):
        assert await made(service, upload_id) == {"small": (64, 48), "half": (400, 300)}
        assert (await service.status(upload_id))["preset"] == "custom"
        assert (await service.result(upload_id))["result"]["half"] == f"/files/processed/{upload_id}/a_half.jpeg"


@pytest.mark.parametrize(
    ("variants", "detail"),
    [
        ('{"card": {"width": 0}}', "variants.card.width must be a whole number from 1 to 8192."),
        ('{"card": {"width": 100000000000000000000}}', "'variants' is not JSON: Integer exceeds 64-bit range."),
        ('{"card": {"width": 9, "fit": "cover"}}', "variants.card.height must be given: fit cover needs both"),
        ('{"card": {"widht": 9}}', "variants.card.widht is not a field of a variant (did you mean width?)."),
        ('{"ca/rd": {"width": 9}}', "variants.ca/rd is not a valid variant name"),
        ("{}", "variants must have 1 to 10 variants"),
        ("[]", "variants must have 1 to 10 variants"),
        ("null", "variants must have 1 to 10 variants"),
        ("", "'variants' is not JSON"),
        ('{"card": {"width": NaN}}', "'variants' is not JSON"),
        ("[" * 8000, "'variants' is not JSON"),
        ('{"card": {"width": 9}}' + " " * 8192, "'variants' is longer than 8192 bytes."),
    ],
)
async def test_wrong_variants_are_refused_with_the_fields_name(service: Service, variants: str, detail: str) -> None:
    answer = await service.post(PHOTO, variants=variants)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_variants")
    assert answer.json()["detail"].startswith(detail)


async def test_an_upload_asks_for_a_preset_or_for_variants(service: Service) -> None:
    answer = await service.post(PHOTO, preset="default", variants='{"card": {"width": 9}}')
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_variants")
    assert answer.json()["detail"] == "Send either 'preset' or 'variants', not both."


async def test_a_preset_that_is_not_there_is_refused_with_those_that_are(shop: Service) -> None:
    for name in ("custom", "Shop"):
        answer = await shop.post(PHOTO, preset=name)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_preset")
        assert answer.json()["detail"] == f"There is no preset '{name}'. The presets are: default, shop."


async def test_a_preset_of_the_file_makes_the_files_asked_for(servers: Servers, tmp_path: Path) -> None:
    """By a worker that knows of no file, and also where the file has changed since."""
    file = tmp_path / "presets.toml"
    file.write_text("[shop.card]\nwidth = 300\nheight = 300")
    environment = servers.environment()
    async with Service.start(environment, workers=0, presets_file=file) as service:
        upload_id = await service.upload(PHOTO, preset="shop")
        await service.api.stop(DEADLINE_S)
        file.write_text("[shop.card]\nwidth = 20\nheight = 20")
        await service.start_api()
        await service.until_ready(0)
        again = await service.upload(PHOTO, preset="shop")
        del service.environment["IMGSVC_PRESETS_FILE"]
        await service.start_worker()
        assert await made(service, upload_id) == {"card": (300, 225)}
        assert await made(service, again) == {"card": (20, 15)}
        assert (await service.status(upload_id))["preset"] == "shop"
