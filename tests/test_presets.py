"""Presets and variants: what may be asked for, what is refused and how, and that it is what is made."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from imgsvc.jobs.record import Record, Source, Submission
from imgsvc.links import plain
from imgsvc.model import Placeholder, Variant
from imgsvc.presets import CUSTOM, PRESETS, PresetError, compact, document, expand, load, read
from tests import images
from tests.service import Servers, Service

PHOTO = images.photo(800, 600)
DEADLINE_S = 30

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
EVERYTHING = {
    "width": 8192,
    "height": 1,
    "fit": "cover",
    "gravity": "entropy",
    "format": "webp",
    "quality": 1,
    "background": "#102030",
    "enlarge": True,
    "blur": 0.5,
    "sharpen": 10.0,
    "grayscale": True,
    "strip": False,
    "frames": "all",
}


def test_a_variant_is_read_with_all_its_fields() -> None:
    (variant,) = read("variants", {"card": EVERYTHING})
    assert variant == Variant("card", **EVERYTHING)  # pyright: ignore[reportArgumentType] (each has its own type)
    assert document(variant) == EVERYTHING


def test_what_a_variant_leaves_out_or_gives_as_null_is_as_by_default() -> None:
    short = {"card": {"width": 10}}
    full = {"card": dict.fromkeys(EVERYTHING) | {"width": 10}}
    assert read("variants", short) == read("variants", full) == (Variant("card", width=10, height=None),)


@pytest.mark.parametrize(
    ("written", "kept"),
    [("#FfA", "#ffffaa"), ("#A1b2C3", "#a1b2c3"), ("white", "#ffffff"), ("Teal", "#008080")],
)
def test_a_background_is_kept_as_rrggbb(written: str, kept: str) -> None:
    (variant,) = read("variants", {"card": {"width": 1, "background": written}})
    assert variant.background == kept


@pytest.mark.parametrize("fmt", ["webp", "gif", "keep"])
def test_all_frames_can_be_asked_of_what_can_move(fmt: str) -> None:
    (variant,) = read("variants", {"card": {"width": 1, "format": fmt, "frames": "all"}})
    assert variant.frames == "all"


WHOLE = "must be a whole number from 1 to"
WRONG_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"width": 0}, f".width {WHOLE} 8192"),
    ({"height": 8193}, f".height {WHOLE} 8192"),
    ({"width": 10.0}, f".width {WHOLE} 8192"),
    ({"width": "10"}, f".width {WHOLE} 8192"),
    ({"width": True}, f".width {WHOLE} 8192"),
    ({"width": [10]}, f".width {WHOLE} 8192"),
    ({"width": 10, "quality": 0}, f".quality {WHOLE} 100"),
    ({"width": 10, "quality": 101}, f".quality {WHOLE} 100"),
    ({"width": 10, "fit": "crop"}, ".fit must be one of inside, cover, contain, fill"),
    ({"width": 10, "gravity": "centre"}, ".gravity must be one of center, top, bottom, left, right, entropy"),
    ({"width": 10, "format": "jpg"}, ".format must be one of jpeg, webp, avif, png, gif, keep"),
    ({"width": 10, "format": ["png"]}, ".format must be one of"),
    ({"width": 10, "frames": 1}, ".frames must be one of first, all"),
    ({"width": 10, "background": "#12345"}, ".background must be a colour: #rgb, #rrggbb or one of aqua, black"),
    ({"width": 10, "background": "#fff\n"}, ".background must be a colour"),
    ({"width": 10, "background": "rebeccapurple"}, ".background must be a colour"),
    ({"width": 10, "background": 0}, ".background must be a colour"),
    ({"width": 10, "blur": -0.1}, ".blur must be a number from 0 to 100"),
    ({"width": 10, "blur": True}, ".blur must be a number from 0 to 100"),
    ({"width": 10, "blur": float("nan")}, ".blur must be a number from 0 to 100"),
    ({"width": 10, "sharpen": 10.5}, ".sharpen must be a number from 0 to 10"),
    ({"width": 10, "sharpen": "1"}, ".sharpen must be a number from 0 to 10"),
    ({"width": 10, "enlarge": 1}, ".enlarge must be true or false"),
    ({"width": 10, "grayscale": "yes"}, ".grayscale must be true or false"),
    ({"width": 10, "strip": 0}, ".strip must be true or false"),
    ({"width": 10, "heigth": 10}, ".heigth is not a field of a variant (did you mean height?)"),
    ({"width": 10, "colour": "red"}, ".colour is not a field of a variant (there are width, height, fit"),
    ({"width": 10, "rotation": None}, ".rotation is not a field of a variant (there are width, height, fit"),
    ({"width": 10, "name": "other"}, ".name is not a field of a variant"),
    ({}, ".width must be given, or height, or both"),
    ({"width": None, "quality": 80}, ".width must be given, or height, or both"),
    ({"width": 10, "fit": "cover"}, ".height must be given: fit cover needs both"),
    ({"height": 10, "fit": "contain"}, ".width must be given: fit contain needs both"),
    ({"height": 10, "fit": "fill"}, ".width must be given: fit fill needs both"),
    ({"width": 10, "frames": "all"}, ".frames can be all only where format is webp, gif or keep"),
    ({"width": 10, "format": "avif", "frames": "all"}, ".frames can be all only where format is webp"),
]


@pytest.mark.parametrize(("fields", "says"), WRONG_FIELDS)
def test_a_wrong_field_is_named_with_what_is_allowed(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(PresetError) as caught:
        read("shop", {"good": {"width": 1}, "card": fields})
    assert str(caught.value).startswith(f"shop.card{says}")


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({}, "shop must have 1 to 10 variants"),
        ({f"v{number}": {"width": 1} for number in range(11)}, "shop must have 1 to 10 variants"),
        ([{"width": 1}], "shop must have 1 to 10 variants"),
        (None, "shop must have 1 to 10 variants"),
        ({"width": 10}, "shop.width must be a variant with fields of its own"),
        ({"Card": {"width": 1}}, "shop.Card is no name for a variant: use 1 to 40 of a-z, 0-9 and _"),
        ({"": {"width": 1}}, "shop. is no name for a variant"),
        ({"../up": {"width": 1}}, "shop.../up is no name for a variant"),
        ({"x" * 41: {"width": 1}}, f"shop.{'x' * 41} is no name for a variant"),
    ],
)
def test_what_is_no_map_of_variants_is_refused_with_its_reason(written: object, says: str) -> None:
    with pytest.raises(PresetError) as caught:
        read("shop", written)
    assert str(caught.value).startswith(says)


def test_ten_variants_with_the_longest_names_are_read() -> None:
    names = [f"{number}{'_' * 39}" for number in range(10)]
    assert [variant.name for variant in read("shop", {name: {"width": 1} for name in names})] == names


def test_a_file_adds_presets_and_may_replace_the_default(tmp_path: Path) -> None:
    file = tmp_path / "presets.toml"
    file.write_text('[shop-2024.card]\nwidth = 300\nblur = 1\n[shop-2024.icon]\nheight = 32\nformat = "png"')
    assert load(file) == {
        **PRESETS,
        "shop-2024": (
            Variant("card", width=300, height=None, blur=1.0),
            Variant("icon", width=None, height=32, format="png"),
        ),
    }
    file.write_text("[default.card]\nwidth = 300")
    assert load(file) == {"default": (Variant("card", width=300, height=None),)}
    assert load(None) == PRESETS


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[shop.card]\nwidth = 0", f"shop.card.width {WHOLE} 8192"),
        ("[shop.card]\nwidth = 1979-05-27", f"shop.card.width {WHOLE} 8192"),
        ("[shop.card]\nwidth = 1\nblur = nan", "shop.card.blur must be a number from 0 to 100"),
        ("[shop]\nwidth = 100", "shop.width must be a variant with fields of its own"),
        ("width = 100", "width must have 1 to 10 variants"),
        ("[Shop.card]\nwidth = 1", "Shop is no name for a preset: use 1 to 40 of a-z, 0-9, _ and -"),
        ("[custom.card]\nwidth = 1", "custom is what an upload's own variants go by"),
    ],
)
def test_a_wrong_file_is_named_with_preset_variant_and_field(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "presets.toml"
    file.write_text(text)
    with pytest.raises(PresetError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}: {says}")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"[shop.card\nwidth = 1", "is no TOML: "),
        (b"[shop.card]\nwidth = 1\nwidth = 2", "is no TOML: "),
        (b"\xff\xfe", "is no TOML: "),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, says: str) -> None:
    file = tmp_path / "presets.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(PresetError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file} {says}")


@pytest.mark.parametrize("command", [["api"], []], ids=["api", "everything"])
async def test_a_wrong_preset_is_said_in_one_line_before_anything_starts(tmp_path: Path, command: list[str]) -> None:
    file = tmp_path / "presets.toml"
    file.write_text('[shop.card]\nwidth = 300\nformat = "jpg"')
    data = tmp_path / "data"
    env = os.environ | {
        "IMGSVC_PRESETS_FILE": str(file),
        "IMGSVC_DATA_DIR": str(data),
        "IMGSVC_REDIS_URL": "redis://127.0.0.1:1/0",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "imgsvc", *command, env=env, stdout=PIPE, stderr=STDOUT
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 1
    assert output.decode() == (
        f"imgsvc cannot start:\nIMGSVC_PRESETS_FILE is wrong: {file}: "
        "shop.card.format must be one of jpeg, webp, avif, png, gif, keep\n"
    )
    assert not data.exists(), "nothing was started"


README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_readme_lists_every_field_and_its_examples_are_right(tmp_path: Path) -> None:
    section = README.partition("\n## Presets\n")[2].partition("\n## ")[0]
    table = section.partition("| field | default | what it is |\n|---|---|---|\n")[2].partition("\n\n")[0]
    assert [name for row in table.splitlines() for name in re.findall("`(.+?)`", row.split("|")[1])] == list(EVERYTHING)
    file = tmp_path / "presets.toml"
    file.write_text(section.partition("```toml\n")[2].partition("```")[0])
    assert [variant.name for variant in load(file)["shop"]] == ["card", "icon"]
    (variants,) = re.findall(r"-F 'variants=(.*?)'", section)
    assert read("variants", orjson.loads(variants)) == (Variant("card", width=640, height=480, fit="cover"),)


# What is kept of it


def test_a_record_keeps_only_what_is_not_by_default() -> None:
    preset = read("shop", {"card": {"width": 300, "fit": "inside", "strip": True, "blur": 0}, "full": EVERYTHING})
    kept = compact(preset)
    assert kept == {"card": {"width": 300}, "full": EVERYTHING}
    assert expand(orjson.loads(orjson.dumps(kept))) == preset


ROW = {
    b"status": b"SUCCESS",
    b"filename": b"a.jpg",
    b"preset": b"default",
    b"source": b'[9,"ab","jpeg"]',
    b"created_at": b"1",
    b"success": b'[4,3,1,[["thumbnail",4,3,9,"ab","jpeg"]]]',
}


def test_a_record_of_the_version_before_is_read() -> None:
    record = Record.from_hash("an-id", ROW)
    assert record
    assert record.variants == PRESETS["default"]
    assert record.success
    assert record.success.placeholder is None
    assert "placeholder" not in record.result_document(plain)


def test_a_placeholder_stands_beside_the_original() -> None:
    success = b'[4,3,1,[["thumbnail",4,3,9,"ab","jpeg"]],["YJqGPQw7sFlslqhFafSE","#7a6b52"]]'
    record = Record.from_hash("an-id", {**ROW, b"success": success})
    assert record
    assert record.success
    assert record.success.placeholder == Placeholder("YJqGPQw7sFlslqhFafSE", "#7a6b52")
    assert record.result_document(plain)["placeholder"] == {"thumbhash": "YJqGPQw7sFlslqhFafSE", "color": "#7a6b52"}


def test_an_upload_is_repeated_by_its_presets_name_or_by_its_own_variants() -> None:
    other = (Variant("card", width=1, height=None),)
    named = Submission("an-id", "a.jpg", "shop", PRESETS["default"], Source(9, "ab", "jpeg"))
    assert named.is_repeated_by(replace(named, variants=other)), "the file of presets may have changed"
    assert not named.is_repeated_by(replace(named, preset=CUSTOM))
    custom = replace(named, preset=CUSTOM)
    assert custom.is_repeated_by(replace(named, preset=CUSTOM))
    assert not custom.is_repeated_by(replace(custom, variants=other))


# Over HTTP


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
    assert told["shop"]["card"] == {
        "width": 300,
        "height": None,
        "fit": "inside",
        "gravity": "center",
        "format": "jpeg",
        "quality": None,
        "background": None,
        "enlarge": False,
        "blur": 0.0,
        "sharpen": 0.0,
        "grayscale": False,
        "strip": True,
        "frames": "first",
    }


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
        ('{"card": {"width": 100000000000000000000}}', "variants.card.width must be a whole number from 1 to 8192."),
        ('{"card": {"width": 9, "fit": "cover"}}', "variants.card.height must be given: fit cover needs both"),
        ('{"card": {"widht": 9}}', "variants.card.widht is not a field of a variant (did you mean width?)."),
        ('{"ca/rd": {"width": 9}}', "variants.ca/rd is no name for a variant"),
        ("{}", "variants must have 1 to 10 variants"),
        ("[]", "variants must have 1 to 10 variants"),
        ("null", "variants must have 1 to 10 variants"),
        ("", "'variants' is no JSON"),
        ('{"card": {"width": NaN}}', "'variants' is no JSON"),
        ("[" * 8000, "'variants' is no JSON"),
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
    assert answer.json()["detail"] == "Give either 'preset' or 'variants', not both."


async def test_a_preset_that_is_not_there_is_refused_with_those_that_are(shop: Service) -> None:
    for name in ("custom", "Shop"):
        answer = await shop.post(PHOTO, preset=name)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_preset")
        assert answer.json()["detail"] == f"There is no preset '{name}'. There are: default, shop."


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
