"""Presets and variants: what may be asked for, and what is refused and how."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path
from typing import Any

import orjson
import pytest

from imgsvc.domain.model import DEFAULTS, VARIANT_FIELDS, Variant, variant_of
from imgsvc.domain.presets import PRESETS, Catalogue, PresetError, compact, document, expand, load, read
from imgsvc.domain.sets import max_files
from tests.support.service import DEADLINE_S

LOGO = {
    "name": "logo",
    "position": "top-left",
    "opacity": 0.5,
    "scale": 1.0,
    "margin": 8,
    "tile": True,
    "sha256": "0123456789abcdef" * 4,
}
EVERYTHING = {
    "width": 8192,
    "height": 1,
    "fit": "cover",
    "gravity": {"x": 0.25, "y": 1.0},
    "crop": {"x": -3, "y": 0, "width": 200, "height": 100},
    "trim": 10.0,
    "rotate": 270,
    "flip": "h",
    "padding": 0.25,
    "format": "keep",
    "quality": 1,
    "background": "#102030",
    "enlarge": True,
    "blur": 0.5,
    "sharpen": 10.0,
    "grayscale": True,
    "overlay": LOGO,
    "strip": False,
    "gamut": "keep",
    "frames": "all",
    "page": 7,
    "frame": 7,
    "max_bytes": 1,
    "progressive": False,
    "chroma": "4:4:4",
    "lossless": True,
    "effort": 0,
    "widths": [320, 640],
    "formats": ["keep", "webp"],
}


def test_a_variant_is_read_with_all_its_fields() -> None:
    (variant,) = read("variants", {"card": EVERYTHING})
    assert variant == variant_of("card", EVERYTHING)
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
    ({"width": 10, "quality": "Auto"}, f".quality {WHOLE} 100, or auto"),
    ({"width": 10, "quality": "80"}, f".quality {WHOLE} 100, or auto"),
    ({"width": 10, "quality": ["auto"]}, f".quality {WHOLE} 100, or auto"),
    ({"width": 10, "quality": 80.5}, f".quality {WHOLE} 100, or auto"),
    ({"width": 10, "quality": float("nan")}, f".quality {WHOLE} 100, or auto"),
    ({"width": 10, "gamut": "p3"}, ".gamut must be one of srgb, keep"),
    ({"width": 10, "gamut": ["keep"]}, ".gamut must be one of srgb, keep"),
    ({"width": 10, "gamut": True}, ".gamut must be one of srgb, keep"),
    ({"width": 10, "max_bytes": 0}, f".max_bytes {WHOLE} 2147483647"),
    ({"width": 10, "max_bytes": True}, f".max_bytes {WHOLE} 2147483647"),
    ({"width": 10, "max_bytes": 10**9999}, f".max_bytes {WHOLE} 2147483647"),
    ({"width": 10, "max_bytes": 1e5}, f".max_bytes {WHOLE} 2147483647"),
    ({"width": 10, "max_bytes": "100kB"}, f".max_bytes {WHOLE} 2147483647"),
    ({"width": 10, "progressive": 1}, ".progressive must be true or false"),
    ({"width": 10, "chroma": "4:2:2"}, ".chroma must be one of auto, 4:2:0, 4:4:4"),
    ({"width": 10, "chroma": 444}, ".chroma must be one of auto, 4:2:0, 4:4:4"),
    ({"width": 10, "lossless": "true"}, ".lossless must be true or false"),
    ({"width": 10, "effort": 11}, ".effort must be a whole number from 0 to 10"),
    ({"width": 10, "effort": -1}, ".effort must be a whole number from 0 to 10"),
    ({"width": 10, "effort": False}, ".effort must be a whole number from 0 to 10"),
    ({"width": 10, "effort": {"level": 3}}, ".effort must be a whole number from 0 to 10"),
    ({"width": 10, "lossless": True}, ".lossless can be given only if format is webp or png or jxl or keep"),
    (
        {"width": 10, "lossless": True, "format": "avif"},
        ".lossless can be given only if format is webp or png or jxl or keep",
    ),
    ({"width": 10, "progressive": False, "format": "png"}, ".progressive can be given only if format is jpeg or keep"),
    ({"width": 10, "chroma": "4:4:4", "format": "webp"}, ".chroma can be given only if format is jpeg or avif or keep"),
    ({"width": 10, "effort": 3, "format": "gif"}, ".effort can be given only if format is jpeg or webp or avif or png"),
    ({"width": 10, "fit": "crop"}, ".fit must be one of inside, cover, contain, fill"),
    ({"width": 10, "gravity": "centre"}, ".gravity must be one of center, top, bottom, left, right, entropy"),
    (
        {"width": 10, "format": "jpg"},
        ".format must be one of jpeg, webp, avif, png, gif, jxl (with the extra `jxl`), keep",
    ),
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
    ({"width": 10, "page": -1}, ".page must be a whole number from 0 to 65535"),
    ({"width": 10, "page": 1, "frame": 2}, ".frame must equal page if both are given"),
    ({"width": 10, "heigth": 10}, ".heigth is not a field of a variant (did you mean height?)"),
    ({"width": 10, "colour": "red"}, ".colour is not a field of a variant (the fields are width, height, fit"),
    ({"width": 10, "rotation": None}, ".rotation is not a field of a variant (did you mean rotate?)"),
    ({"width": 10, "gravity": {"x": 0.5}}, ".gravity must be one of center"),
    ({"width": 10, "gravity": {"x": 0.5, "y": 1.01}}, ".gravity must be one of center"),
    ({"width": 10, "gravity": {"x": float("nan"), "y": 0}}, ".gravity must be one of center"),
    ({"width": 10, "gravity": {"x": 0.5, "y": True}}, ".gravity must be one of center"),
    ({"width": 10, "gravity": {"x": 0.5, "y": 0.5, "z": 0.5}}, ".gravity must be one of center"),
    ({"width": 10, "gravity": [0.5, 0.5]}, ".gravity must be one of center"),
    ({"width": 10, "crop": {}}, ".crop must be an object with x (a number from -1 to 1)"),
    ({"width": 10, "crop": "0,0,1,1"}, ".crop must be an object"),
    ({"width": 10, "crop": {"x": 0, "y": 0, "width": 0, "height": 1}}, ".crop must be an object"),
    ({"width": 10, "crop": {"x": 0, "y": 0, "width": 10, "height": 0.5}}, ".crop must be an object"),
    ({"width": 10, "crop": {"x": 0, "y": 0, "width": 10, "height": -10}}, ".crop must be an object"),
    ({"width": 10, "crop": {"x": 0, "y": 0, "width": 10**400, "height": 1}}, ".crop must be an object"),
    ({"width": 10, "crop": {"x": 0, "y": float("inf"), "width": 1, "height": 1}}, ".crop must be an object"),
    ({"width": 10, "crop": {"x": 0, "y": 0, "width": 1, "height": 1, "unit": "px"}}, ".crop must be an object"),
    ({"width": 10, "crop": {"x": 0, "y": 0, "width": {"x": 1}, "height": 1}}, ".crop must be an object"),
    ({"width": 10, "crop": {"x": 1, "y": 0, "width": 0.5, "height": 1}}, ".crop must cover some of the image"),
    ({"width": 10, "crop": {"x": 0, "y": -90, "width": 90, "height": 90}}, ".crop must cover some of the image"),
    ({"width": 10, "trim": -1}, ".trim must be a number from 0 to 100"),
    ({"width": 10, "trim": True}, ".trim must be a number from 0 to 100"),
    ({"width": 10, "rotate": 45}, ".rotate must be one of 0, 90, 180, 270"),
    ({"width": 10, "rotate": 90.0}, ".rotate must be one of 0, 90, 180, 270"),
    ({"width": 10, "rotate": False}, ".rotate must be one of 0, 90, 180, 270"),
    ({"width": 10, "flip": "vertical"}, ".flip must be one of h, v"),
    ({"width": 10, "padding": 0.5}, ".padding must be a number from 0 to 0.49, or a whole number from 1 to 4095"),
    ({"width": 10, "padding": 1.5}, ".padding must be a number from 0 to 0.49"),
    ({"width": 10, "padding": 5}, ".padding must be less than half of the box's width and height"),
    ({"widths": [100, 8], "padding": 4}, ".padding must be less than half of the box's width and height"),
    ({"widths": [64], "width": 16, "height": 1, "padding": 2}, ".padding must be less than half of the box's width"),
    ({"width": 100, "height": 8, "padding": 4}, ".padding must be less than half of the box's width and height"),
    ({"width": 10, "name": "other"}, ".name is not a field of a variant"),
    ({"widths": 320}, ".widths must be a list of 1 to 40 different values, each a whole number from 1 to 8192"),
    ({"widths": []}, ".widths must be a list of 1 to 40 different values"),
    ({"widths": [320, 320]}, ".widths must be a list of 1 to 40 different values"),
    ({"widths": [320, True]}, ".widths must be a list of 1 to 40 different values"),
    ({"widths": [320, 640.0]}, ".widths must be a list of 1 to 40 different values"),
    ({"widths": [0]}, ".widths must be a list of 1 to 40 different values"),
    ({"widths": [8193]}, ".widths must be a list of 1 to 40 different values"),
    ({"widths": [None]}, ".widths must be a list of 1 to 40 different values"),
    ({"widths": {"320": 1}}, ".widths must be a list of 1 to 40 different values"),
    ({"widths": list(range(1, 42))}, ".widths must be a list of 1 to 40 different values"),
    ({"widths": [320], "width": 16}, ".height must be given: with widths, width and height are an aspect ratio"),
    ({"widths": [320], "height": 9}, ".width must be given: with widths, width and height are an aspect ratio"),
    ({"widths": [320], "fit": "cover"}, ".width must be given: fit cover needs both"),
    ({"widths": [4000], "width": 1, "height": 3}, ".widths must not make the box higher than 8192 pixels, and 12000"),
    ({"width": 10, "formats": []}, ".formats must be a list of 1 to 6 different values, each one of jpeg, webp"),
    ({"width": 10, "formats": "webp"}, ".formats must be a list of 1 to 6 different values"),
    ({"width": 10, "formats": ["webp", "webp"]}, ".formats must be a list of 1 to 6 different values"),
    ({"width": 10, "formats": ["webp", ["jpeg"]]}, ".formats must be a list of 1 to 6 different values"),
    ({"width": 10, "formats": ["tiff"]}, ".formats must be a list of 1 to 6 different values"),
    ({"width": 10, "formats": ["webp", "avif"], "frames": "all"}, ".frames can be all only if format is webp, gif"),
    ({"width": 10, "formats": ["webp", "avif"], "progressive": True}, ".progressive can be given only if format is"),
    ({"formats": ["webp"]}, ".width must be given, or height, or both, or widths"),
    ({}, ".width must be given, or height, or both"),
    ({"width": None, "quality": 80}, ".width must be given, or height, or both"),
    ({"width": 10, "fit": "cover"}, ".height must be given: fit cover needs both"),
    ({"height": 10, "fit": "contain"}, ".width must be given: fit contain needs both"),
    ({"height": 10, "fit": "fill"}, ".width must be given: fit fill needs both"),
    ({"width": 10, "frames": "all"}, ".frames can be all only if format is webp, gif or keep"),
    ({"width": 10, "format": "avif", "frames": "all"}, ".frames can be all only if format is webp"),
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
        ({"width": 10}, "shop.width must be a variant with fields such as width"),
        ({"Card": {"width": 1}}, "shop.Card is not a valid variant name: use 1 to 40 characters of a-z, 0-9 and _"),
        ({"": {"width": 1}}, "shop. is not a valid variant name"),
        ({"../up": {"width": 1}}, "shop.../up is not a valid variant name"),
        ({"x" * 41: {"width": 1}}, f"shop.{'x' * 41} is not a valid variant name"),
    ],
)
def test_what_is_no_map_of_variants_is_refused_with_its_reason(written: object, says: str) -> None:
    with pytest.raises(PresetError) as caught:
        read("shop", written)
    assert str(caught.value).startswith(says)


def test_ten_variants_with_the_longest_names_are_read() -> None:
    names = [f"{number}{'_' * 39}" for number in range(10)]
    assert [variant.name for variant in read("shop", {name: {"width": 1} for name in names})] == names


def test_a_set_needs_no_box_and_its_widths_are_put_in_order() -> None:
    (variant,) = read("variants", {"hero": {"widths": [640, 8192, 1], "formats": ["webp", "keep"]}})
    assert (variant.widths, variant.formats) == ((1, 640, 8192), ("webp", "keep"))
    assert expand(compact((variant,))) == (variant,)


@pytest.mark.parametrize("fields", [{"progressive": True}, {"lossless": True}, {"chroma": "4:4:4"}, {"effort": 9}])
def test_a_field_of_one_format_can_be_asked_of_a_set_that_has_it(fields: dict[str, Any]) -> None:
    assert read("variants", {"hero": {"width": 9, "formats": ["gif", "webp", "jpeg"], **fields}})


def test_forty_files_can_be_made_of_one_upload_and_no_more() -> None:
    formats = ["avif", "webp", "jpeg"]
    allowed: dict[str, object] = {"a": {"widths": list(range(1, 14)), "formats": formats}, "b": {"width": 9}}
    assert max_files(read("shop", allowed)) == 40
    with pytest.raises(PresetError, match=r"^shop\.a must have fewer .* make 41 files, and at most 40"):
        read("shop", allowed | {"c": {"width": 9}})


def test_a_file_adds_presets_and_may_replace_the_default(tmp_path: Path) -> None:
    file = tmp_path / "presets.toml"
    file.write_text('[shop-2024.card]\nwidth = 300\nblur = 1\n[shop-2024.icon]\nheight = 32\nformat = "png"')
    assert load(file).presets == {
        **PRESETS,
        "shop-2024": (
            Variant("card", width=300, height=None, blur=1.0),
            Variant("icon", width=None, height=32, format="png"),
        ),
    }
    file.write_text("[default.card]\nwidth = 300")
    assert load(file).presets == {"default": (Variant("card", width=300, height=None),)}
    assert load(None) == Catalogue(PRESETS, {})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[shop.card]\nwidth = 0", f"shop.card.width {WHOLE} 8192"),
        ("[shop.card]\nwidth = 1979-05-27", f"shop.card.width {WHOLE} 8192"),
        ("[shop.card]\nwidth = 1\nblur = nan", "shop.card.blur must be a number from 0 to 100"),
        ("[shop]\nwidth = 100", "shop.width must be a variant with fields such as width"),
        ("width = 100", "width must have 1 to 10 variants"),
        ("[Shop.card]\nwidth = 1", "Shop is not a valid preset name: use 1 to 40 characters of a-z, 0-9, _ and -"),
        ("[custom.card]\nwidth = 1", "custom is reserved for variants that an upload defines"),
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
        (b"[shop.card\nwidth = 1", "is not TOML: "),
        (b"[shop.card]\nwidth = 1\nwidth = 2", "is not TOML: "),
        (b"\xff\xfe", "is not TOML: "),
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
        "shop.card.format must be one of jpeg, webp, avif, png, gif, jxl (with the extra `jxl`), keep\n"
    )
    assert not data.exists(), "nothing was started"


README = (Path(__file__).parent.parent / "README.md").read_text()
USING = (Path(__file__).parent.parent / ".github/USING.md").read_text()


def fields_table() -> str:
    """The table in USING, as the code would write it."""
    rows = ["| field | default | allowed | meaning |", "|---|---|---|---|"]
    for name, field in VARIANT_FIELDS.items():
        default = "" if DEFAULTS[name] is None else f"`{orjson.dumps(DEFAULTS[name]).decode().strip(chr(34))}`"
        rows.append(f"| `{name}` | {default} | {field.rule.allowed} | {field.words} |")
    return "\n".join(rows)


def test_the_documentation_lists_every_field_as_it_is() -> None:
    found = re.search(r"<!-- fields -->\n(.*?)\n<!-- /fields -->", USING, re.DOTALL)
    assert found, "USING has no table of fields"
    assert found[1] == fields_table(), f"USING's table of fields should be\n{fields_table()}"


def test_the_readmes_examples_of_presets_are_right(tmp_path: Path) -> None:
    section = README.partition("\n## Presets\n")[2].partition("\n## ")[0]
    file = tmp_path / "presets.toml"
    file.write_text(section.partition("```toml\n")[2].partition("```")[0])
    assert [variant.name for variant in load(file).presets["shop"]] == ["card", "icon"]
    (variants,) = re.findall(r"-F 'variants=(.*?)'", section)
    assert read("variants", orjson.loads(variants)) == (Variant("card", width=640, height=480, fit="cover"),)


def test_a_record_keeps_only_what_is_not_by_default() -> None:
    preset = read("shop", {"card": {"width": 300, "fit": "inside", "strip": True, "blur": 0}, "full": EVERYTHING})
    kept = compact(preset)
    assert kept == {"card": {"width": 300}, "full": EVERYTHING}
    assert expand(orjson.loads(orjson.dumps(kept))) == preset
