"""A record: what is kept of an upload is little, and what an older version kept is still read."""

from dataclasses import astuple

import orjson
import pytest

from imgsvc.domain.facts import Facts, Position
from imgsvc.domain.file_urls import FileUrls
from imgsvc.domain.model import Placeholder, Point, Variant
from imgsvc.domain.options import Options, pack
from imgsvc.domain.presets import CUSTOM, PRESETS, Preset
from imgsvc.domain.problems import WARNINGS
from imgsvc.jobs.record import Record, Source, Submission, Success

PUBLIC = FileUrls("", None, 0)
SIZE = {"width": 4, "height": 3, "bytes": 9, "content_type": "image/jpeg", "sha256": "ab", "frames": 1}
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
    assert record.options.variants == PRESETS["default"]
    assert record.success
    assert record.success.placeholder is None
    assert "placeholder" not in record.result_document(PUBLIC)


def test_a_placeholder_stands_beside_the_original() -> None:
    success = b'[4,3,1,[["thumbnail",4,3,9,"ab","jpeg"]],["YJqGPQw7sFlslqhFafSE","#7a6b52"]]'
    record = Record.from_hash("an-id", {**ROW, b"success": success})
    assert record
    assert record.success
    assert record.success.placeholder == Placeholder("YJqGPQw7sFlslqhFafSE", "#7a6b52")
    assert record.result_document(PUBLIC).get("placeholder") == {
        "thumbhash": "YJqGPQw7sFlslqhFafSE",
        "color": "#7a6b52",
    }


def test_what_was_given_up_stands_beside_the_files_and_is_empty_in_older_records() -> None:
    older = Record.from_hash("an-id", ROW)
    assert older
    assert older.result_document(PUBLIC).get("warnings") == []
    success = b'[4,3,1,[["thumbnail",4,3,9,"ab","jpeg"]],null,["truncated","of a later version"]]'
    record = Record.from_hash("an-id", {**ROW, b"success": success})
    assert record
    assert record.result_document(PUBLIC).get("warnings") == [{"code": "truncated", "message": WARNINGS["truncated"]}]


def test_what_an_original_tells_stands_beside_its_size_and_is_unknown_in_older_records() -> None:
    row = {**ROW, b"success": b'[4,3,1,[["thumbnail",4,3,9,"ab","jpeg"]],null,[]]'}
    older = Record.from_hash("an-id", row)
    assert older
    original = older.result_document(PUBLIC).get("original")
    assert original == SIZE | {"taken_at": None, "camera": None, "palette": [], "dhash": None, "position": None}
    facts = Facts("2026-05-01T12:34:56", "Canon EOS 5D", ("#102030",), "0123456789abcdef", Position(1.5, -2.5))
    success = orjson.dumps(astuple(Success(4, 3, 1, (), facts=facts)))
    record = Record.from_hash("an-id", {**ROW, b"success": success})
    assert record
    assert record.success
    assert record.success.facts == facts
    assert record.result_document(PUBLIC).get("original") == SIZE | {
        "taken_at": "2026-05-01T12:34:56",
        "camera": "Canon EOS 5D",
        "palette": ["#102030"],
        "dhash": "0123456789abcdef",
        "position": {"latitude": 1.5, "longitude": -2.5, "altitude": None},
    }


def test_an_upload_is_repeated_by_its_presets_name_or_by_its_own_variants() -> None:
    other = (Variant("card", width=1, height=None),)
    named = _submission("shop")
    assert named.is_repeated_by(_submission("shop", other)), "the file of presets may have changed"
    assert not named.is_repeated_by(_submission(CUSTOM))
    assert _submission(CUSTOM).is_repeated_by(_submission(CUSTOM))
    assert not _submission(CUSTOM).is_repeated_by(_submission(CUSTOM, other))


def _submission(preset: str, variants: Preset = PRESETS["default"]) -> Submission:
    return Submission("an-id", Options(preset, variants, filename="a.jpg"), Source(9, "ab", "jpeg"))


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(
            preset=CUSTOM,
            variants=(Variant("card", width=1, blur=0.5),),
            metadata={"k": "v"},
            expires_in=60,
            webhook_url="https://shop.example/hook",
            keep_location=True,
            filename="n\u00e4h.jpg",
            focus=Point(0.25, 1.0),
        ),
    ],
)
def test_a_record_returns_the_options_that_it_was_given(options: Options) -> None:
    record = Record.from_hash("an-id", ROW | {key.encode(): value.encode() for key, value in pack(options).items()})
    assert record
    assert record.options == options
    assert record.submission == Submission("an-id", options, Source(9, "ab", "jpeg"))


def test_the_time_limit_of_an_older_record_is_known() -> None:
    record = Record.from_hash("an-id", ROW | {b"created_at": b"1000", b"expires_at": b"61000"})
    assert record
    assert record.options.expires_in == 60


def test_a_file_of_a_later_version_is_read() -> None:
    file = ["thumbnail", 4, 3, 9, "ab", "jpeg", 80, True, None, 2, "more", 7]
    record = Record.from_hash("an-id", ROW | {b"success": orjson.dumps([4, 3, 1, [file]])})
    assert record
    assert record.success
    assert record.success.files[0].revision == 2
