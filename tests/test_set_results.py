"""What a responsive set is answered as: its files by format, and HTML that is right whatever the file's name."""

import re
from dataclasses import astuple
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
import pytest

from imgsvc.domain.file_urls import FileUrls, Verdict, verify
from imgsvc.domain.model import Placeholder, Variant
from imgsvc.domain.options import Options, pack
from imgsvc.domain.presets import CUSTOM
from imgsvc.jobs.files import File
from imgsvc.jobs.record import Record
from tests.support import images
from tests.support.ledger import sha256
from tests.support.service import Service

PUBLIC = FileUrls("", None, 0)
SECRET = b"a secret of 32 characters or more"
OPAQUE = Placeholder("3OcRJYB4d3h/iIeHeEh3eIhw+j2w", "#7a6b52")
CLEAR = Placeholder("YJqGPQw7sFlslqhFafSE", "#7a6b52")
HERO = Variant("hero", widths=(320, 640, 1600), formats=("jpeg", "webp", "avif"))


def document(
    filename: str = "photo.jpg",
    urls: FileUrls = PUBLIC,
    variant: Variant = HERO,
    placeholder: Placeholder | None = OPAQUE,
) -> dict[str, Any]:
    """The result of an upload with a set, and with a variant that is none."""
    files = [
        *(
            File("hero", width, width // 2, 9, "ab", fmt, set_width=width)
            for width in variant.widths or ()
            for fmt in variant.formats or ()
        ),
        File("icon", 32, 32, 9, "ab", "png"),
    ]
    options = Options(CUSTOM, (variant, Variant("icon", 32, 32)), filename=filename)
    success = [1600, 800, 1, [astuple(file) for file in files], placeholder and astuple(placeholder)]
    row = pack(options) | {"status": "SUCCESS", "created_at": "1", "source": '[9,"ab","jpeg"]'}
    row["success"] = orjson.dumps(success).decode()
    record = Record.from_hash("an-id", {name.encode(): value.encode() for name, value in row.items()})
    assert record
    return dict(record.result_document(urls))


class Elements(HTMLParser):
    """The elements of a piece of HTML, as a browser reads them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def candidates(srcset: str | None) -> dict[str, str]:
    """A srcset as the HTML standard splits it: URLs end at white space, and then at a comma."""
    assert srcset
    found = re.findall(r"[\s,]*(\S*[^\s,])\s+([^,]*)", srcset)
    return {descriptor.strip(): url for url, descriptor in found}


def test_a_set_has_its_files_by_format_the_smallest_format_first() -> None:
    result = document()
    hero = result["variants"]["hero"]
    assert hero.keys() == {"sources", "fallback", "html"}
    assert [source["content_type"] for source in hero["sources"]] == ["image/avif", "image/webp", "image/jpeg"]
    for source in hero["sources"]:
        assert [file["width"] for file in source["files"]] == [320, 640, 1600]
        assert source["srcset"] == ", ".join(f"{file['url']} {file['width']}w" for file in source["files"])
        assert {file["content_type"] for file in source["files"]} == {source["content_type"]}
    assert hero["sources"][0]["files"][0]["url"] == "/files/processed/an-id/photo_hero-320.avif"


def test_a_sets_name_stands_for_a_file_that_everyone_can_show_and_that_is_not_too_large() -> None:
    result = document()
    assert result["result"] == {
        "hero": "/files/processed/an-id/photo_hero-640.jpeg",
        "icon": "/files/processed/an-id/photo_icon.png",
    }
    assert result["variants"]["hero"]["fallback"] == result["variants"]["hero"]["sources"][2]["files"][1]
    huge = document(variant=Variant("hero", widths=(2000, 4000), formats=("avif", "webp")))
    assert huge["result"]["hero"].endswith("hero-2000.webp")
    rare = document(variant=Variant("hero", widths=(320,), formats=("avif", "jxl")))
    assert [source["content_type"] for source in rare["variants"]["hero"]["sources"]] == ["image/jxl", "image/avif"]
    assert rare["result"]["hero"].endswith("hero-320.avif")


def test_the_html_is_a_picture_that_keeps_its_place_while_it_loads() -> None:
    hero = document()["variants"]["hero"]
    assert [tag for tag, _ in Elements(hero["html"]).found] == ["picture", "source", "source", "img"]
    (_, _), *others, (_, image) = Elements(hero["html"]).found
    for (_, found), source in zip(others, hero["sources"], strict=False):
        assert found == {"type": source["content_type"], "srcset": source["srcset"], "sizes": "100vw"}
    assert image == {
        "src": hero["fallback"]["url"],
        "srcset": hero["sources"][2]["srcset"],
        "sizes": "100vw",
        "width": "1600",
        "height": "800",
        "alt": "",
        "loading": "lazy",
        "decoding": "async",
        "style": "max-width:100%;height:auto;background:#7a6b52",
    }


@pytest.mark.parametrize(
    ("variant", "placeholder", "is_shown"),
    [
        ({}, OPAQUE, True),
        ({}, None, False),
        ({}, CLEAR, False),
        ({"background": "#ffffff"}, CLEAR, True),
        ({"fit": "contain", "width": 1, "height": 1}, OPAQUE, False),
        ({"fit": "contain", "width": 1, "height": 1, "background": "#000000"}, OPAQUE, True),
        ({"padding": 0.1}, OPAQUE, False),
        ({"padding": 0.1, "background": "#000000"}, OPAQUE, True),
        ({"page": 1}, OPAQUE, False),
        ({}, Placeholder("AAAAAAAAA", "#7a6b52"), True),  # as no thumbhash is long
    ],
)
def test_the_main_colour_is_shown_only_where_it_does_not_shine_through(
    variant: dict[str, Any], placeholder: Placeholder | None, is_shown: bool
) -> None:
    made = Variant("hero", widths=(320,), formats=("jpeg",), **variant)
    html = document(variant=made, placeholder=placeholder)["variants"]["hero"]["html"]
    assert ("background:#7a6b52" in html) is is_shown


@pytest.mark.parametrize(
    "name",
    [
        'x" onerror="alert(1)',
        "x' onload='alert(1)",
        "<script>alert(1)</script>",
        "a, b 2x, c",
        ",,",
        "&amp;&lt;&quot;",
        "näh ☃ \u202e",
        "100% 1w",
        "javascript:alert(1)",
        "a\tb\nc",
        "?exp=1&sig=2#x",
    ],
)
@pytest.mark.parametrize("urls", [PUBLIC, FileUrls("/media", SECRET, 3600)], ids=["public", "signed"])
def test_h12_no_file_name_gets_out_of_its_url(name: str, urls: FileUrls) -> None:
    result = document(f"{name}.jpg", urls)
    hero = result["variants"]["hero"]
    elements = Elements(hero["html"]).found
    assert [tag for tag, _ in elements] == ["picture", "source", "source", "img"]
    assert not any(attribute.startswith("on") for _, found in elements for attribute in found)
    for source in hero["sources"]:
        expected = {f"{file['width']}w": file["url"] for file in source["files"]}
        assert candidates(source["srcset"]) == expected
        assert candidates(next(found["srcset"] for _, found in elements if found.get("srcset") == source["srcset"]))
        for file in source["files"]:
            url = urlsplit(file["url"])
            assert url.path.startswith(f"{urls.base_path}/files/processed/an-id/")
            assert re.fullmatch(r"[\w./%-]+", url.path, re.ASCII)
            if urls.secret:
                exp, sig = re.fullmatch(r"exp=(\d+)&sig=([\w-]+)", url.query).groups()  # type: ignore[union-attr]
                path = unquote(url.path.removeprefix(urls.base_path))
                assert verify(path, exp, sig, [urls.secret], 0) is Verdict.VALID


async def test_a_set_comes_as_files_that_are_all_there(service: Service) -> None:
    variants = '{"hero": {"widths": [400, 100, 200], "formats": ["webp", "jpeg"]}, "icon": {"width": 32}}'
    upload_id = await service.upload(images.photo(300, 200), 'a "b", c.jpg', variants=variants)
    result = await service.result(upload_id)
    hero = result["variants"]["hero"]
    assert [[file["width"] for file in source["files"]] for source in hero["sources"]] == [[100, 200, 300]] * 2
    for source in hero["sources"]:
        for file in source["files"]:
            answer = await service.client.get(file["url"])
            assert (answer.headers["content-type"], sha256(answer.content)) == (source["content_type"], file["sha256"])
            assert images.opened(answer.content).size == (file["width"], file["height"])
    assert result["result"]["hero"] == hero["fallback"]["url"] == hero["sources"][1]["files"][2]["url"]
    assert result["variants"]["icon"]["width"] == 32
    assert (await service.client.get(f"/upload/{upload_id}")).json()["result"] == result

    assert (await service.client.delete(f"/upload/{upload_id}")).status_code == 204
    assert (await service.client.get(hero["fallback"]["url"])).status_code == 404


@pytest.mark.parametrize(
    ("variants", "says"),
    [
        ('{"hero": {"widths": [1, 1]}}', "variants.hero.widths must be a list of 1 to 40 different values"),
        ('{"hero": {"widths": [1e400]}}', "'variants' is not JSON: number is infinity"),
        (f'{{"hero": {{"widths": [1{"0" * 5000}]}}}}', "'variants' is not JSON: number is infinity"),
        (f'{{"hero": {{"widths": [{"9" * 30}]}}}}', "'variants' is not JSON: Integer exceeds 64-bit range"),
        ('{"hero": {"widths": [[[1]]]}}', "variants.hero.widths must be a list of 1 to 40"),
        ('{"hero": {"widths": [320], "formats": ["heic"]}}', "variants.hero.formats must be a list of 1 to "),
        (
            '{"a": {"width": 9}, "hero": {"widths": [1,2,3,4,5,6,7,8,9,10], "formats": ["avif","webp","jpeg","png"]}}',
            "variants.hero must have fewer widths or formats: all variants together make 41 files, and at most 40",
        ),
    ],
)
async def test_d71_a_wrong_or_too_large_set_is_refused_by_field(service: Service, variants: str, says: str) -> None:
    answer = await service.post(images.photo(), variants=variants)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_variants")
    assert says in answer.json()["detail"]
