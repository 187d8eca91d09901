"""The overlays of a presets file: named, pinned, and refused at the start where anything is wrong."""

import hashlib
import os
from pathlib import Path

import pytest

from imgsvc.domain.overlays import MAX_FILE_BYTES, MAX_OVERLAYS, Overlay
from imgsvc.domain.presets import PresetError, compact, expand, load, pin, read
from tests.support import images

LOGO = images.encoded(images.plain("red", size=(40, 20)), "PNG")
PINNED = hashlib.sha256(LOGO).hexdigest()
OTHER = "0" * 64
TABLE = f'[overlays.logo]\nfile = "logo.png"\nsha256 = "{PINNED}"\n'
CARD = '[shop.card]\nwidth = 9\noverlay = {name = "logo", opacity = 0.5}\n'
BADGE = CARD.replace('"logo"', '"badge"')
ANOTHER = CARD.replace("0.5", f'0.5, sha256 = "{OTHER}"')


def written(folder: Path, text: str) -> Path:
    (folder / "logo.png").write_bytes(LOGO)
    file = folder / "presets.toml"
    file.write_text(text)
    return file


def refusal(file: Path) -> str:
    with pytest.raises(PresetError) as caught:
        load(file)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{file}: ")


def test_an_overlay_is_read_from_beside_the_presets_file(tmp_path: Path) -> None:
    catalogue = load(written(tmp_path, CARD + TABLE))
    logo = catalogue.overlays["logo"]
    assert (logo.data, logo.sha256, logo.media_type) == (LOGO, PINNED, "image/png")
    assert "overlays" not in catalogue.presets
    (card,) = catalogue.presets["shop"]
    assert card.overlay
    assert card.overlay == Overlay("logo", opacity=0.5)
    assert card.overlay.sha256 == PINNED, "which no name can change"


def test_a_file_may_be_anywhere_and_its_sum_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "logo.png").write_bytes(LOGO)
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc" / "presets.toml"
    for path in ("../logo.png", tmp_path / "logo.png"):
        file.write_text(f'[overlays.logo]\nfile = "{path}"\nsha256 = "{PINNED.upper()}"')
        assert load(file).overlays["logo"].sha256 == PINNED


def test_a_file_of_overlays_alone_keeps_the_built_in_presets(tmp_path: Path) -> None:
    assert set(load(written(tmp_path, TABLE)).presets) == {"default"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TABLE.replace(PINNED, OTHER), f"overlays.logo.sha256 is {OTHER}, and logo.png has {PINNED}: correct the one"),
        (TABLE.partition("sha256")[0], "overlays.logo.sha256 must be given: if logo.png is the right image, write "),
        (TABLE.replace(PINNED, "abc"), "overlays.logo.sha256 must be 64 hexadecimal digits, as `sha256sum logo.png`"),
        (TABLE.replace(f'"{PINNED}"', "1"), "overlays.logo.sha256 must be 64 hexadecimal digits"),
        (TABLE.replace("logo.png", "nowhere.png"), "overlays.logo.file: there is no file "),
        (TABLE.replace("logo.png", "."), "overlays.logo.file: there is no file "),
        (TABLE.replace("logo.png", ""), "overlays.logo.file must be the path of an image, relative to the "),
        (TABLE.replace("logo.png", "a\\u0000b"), "overlays.logo.file: there is no file "),
        (TABLE.replace("logo.png", "x" * 5000), "overlays.logo.file: "),
        (TABLE.replace('"logo.png"', "[]"), "overlays.logo.file must be the path of an image"),
        (TABLE + 'opacity = 0.5', "overlays.logo.opacity is no field of an overlay (they are file and sha256)"),
        ("overlays = 3", "overlays must have at most 20 overlays, each a name with a table of fields"),
        ("[overlays]\nlogo = 3", "overlays.logo must be an overlay with the fields file and sha256"),
        (TABLE.replace("logo]", '"../logo"]'), "overlays.../logo is not a valid name of an overlay: use 1 to 40 char"),
        (TABLE.replace("logo]", '"Logo"]'), "overlays.Logo is not a valid name of an overlay"),
        (TABLE.replace("logo]", f'"{"a" * 41}"]'), f"overlays.{'a' * 41} is not a valid name of an overlay"),
        (CARD, "shop.card.overlay.name: there is no overlay logo (this service has none)"),
        (BADGE + TABLE, "shop.card.overlay.name: there is no overlay badge (the overlays are logo)"),
        (ANOTHER + TABLE, f"shop.card.overlay.sha256 is not that of logo, which is {PINNED}"),
        (CARD.replace("0.5", "nan") + TABLE, "shop.card.overlay must be an object with name (the name of an overlay)"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_overlay_is_named_at_the_start(tmp_path: Path, text: str, says: str) -> None:
    assert refusal(written(tmp_path, text)).startswith(says)


def test_more_overlays_than_there_may_be_are_refused(tmp_path: Path) -> None:
    tables = [TABLE.replace("logo]", f"logo{number}]") for number in range(MAX_OVERLAYS + 1)]
    assert len(load(written(tmp_path, "".join(tables[1:]))).overlays) == MAX_OVERLAYS
    assert refusal(written(tmp_path, "".join(tables))).startswith("overlays must have at most 20 overlays")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (LOGO + bytes(MAX_FILE_BYTES), f"has more than {MAX_FILE_BYTES} bytes: use a smaller image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "logo.png is no image that can be read here: use jpeg, png, "),
        (b"", "logo.png is no image that can be read here"),
    ],
)
def test_a_file_that_is_too_large_or_no_image_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    file = written(tmp_path, TABLE.replace(PINNED, hashlib.sha256(data).hexdigest()))
    (tmp_path / "logo.png").write_bytes(data)
    assert says in refusal(file)


def test_a_pipe_or_a_file_without_end_keeps_no_service_from_its_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "there is no file" in refusal(written(tmp_path, TABLE.replace("logo.png", "pipe")))
    assert "there is no file" in refusal(written(tmp_path, TABLE.replace("logo.png", "/dev/zero")))


def test_a_record_keeps_the_file_that_a_name_stood_for(tmp_path: Path) -> None:
    catalogue = load(written(tmp_path, TABLE))
    (asked,) = read("variants", {"card": {"width": 9, "overlay": {"name": "logo"}}})
    (pinned,) = pin("variants", (asked,), catalogue.overlays)
    (kept,) = expand(compact((pinned,)))
    assert kept.overlay
    assert kept.overlay.sha256 == PINNED
    assert kept == asked, "a repeated upload asks for the same whichever file has the name by then"


@pytest.mark.parametrize(
    "overlay",
    [
        {},
        {"name": None},
        {"name": 1},
        {"name": ""},
        {"name": "../logo"},
        {"name": "logo\n"},
        {"name": "a" * 41},
        {"name": ["logo"]},
        {"name": "logo", "file": "/etc/passwd"},
        {"name": "logo", "position": "bottom right"},
        {"name": "logo", "position": None},
        {"name": "logo", "opacity": 1.01},
        {"name": "logo", "opacity": -0.01},
        {"name": "logo", "opacity": float("nan")},
        {"name": "logo", "opacity": True},
        {"name": "logo", "opacity": "1"},
        {"name": "logo", "scale": 0},
        {"name": "logo", "scale": 1.01},
        {"name": "logo", "scale": float("inf")},
        {"name": "logo", "scale": 10**5000},
        {"name": "logo", "margin": -1},
        {"name": "logo", "margin": 8193},
        {"name": "logo", "margin": 0.51},
        {"name": "logo", "margin": 10**5000},
        {"name": "logo", "margin": True},
        {"name": "logo", "tile": 1},
        {"name": "logo", "tile": "true"},
        {"name": "logo", "sha256": "0" * 63},
        {"name": "logo", "sha256": "/" * 64},
        [],
        ["logo"],
        "logo",
        True,
        0,
        {"name": {"name": {"name": "logo"}}},
    ],
)
def test_an_overlay_with_anything_odd_in_it_is_refused(overlay: object) -> None:
    with pytest.raises(PresetError, match=r"^variants\.card\.overlay must be an object with name \(the name of"):
        read("variants", {"card": {"width": 9, "overlay": overlay}})
