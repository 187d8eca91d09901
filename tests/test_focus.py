"""An upload's focus: every way to send it, what is refused, and that crops keep it."""

import orjson
import pytest
from PIL import Image, ImageDraw

from imgsvc.domain.model import Point, Variant
from imgsvc.domain.options import OptionError, Options, read_options
from tests.support import images
from tests.support.images import near, pixel
from tests.support.service import Service

VARIANTS = {
    "mine": {"width": 40, "height": 40, "fit": "cover", "gravity": "focus", "format": "png"},
    "turned": {"width": 40, "height": 40, "fit": "cover", "gravity": "focus", "format": "png", "rotate": 90},
    "framed": {
        **{"width": 40, "height": 40, "crop": {"x": 0, "y": 0, "width": 200, "height": 100}, "trim": 5, "flip": "v"},
        **{"padding": 10, "background": "#00ff00", "format": "png"},
    },
    "middle": {"width": 40, "height": 40, "fit": "cover", "format": "png"},
}
FOCUS = {"x": 0.15, "y": 0.5}


def two_spots() -> bytes:
    """A wide picture with a blue spot at the left, and at the right a red one that draws more attention."""
    image = Image.new("RGB", (400, 100), "#c0c0c0")
    draw = ImageDraw.Draw(image)
    draw.ellipse((50, 40, 70, 60), "#4060a0")
    draw.ellipse((305, 15, 375, 85), "red", "black", 3)
    return images.encoded(image, "PNG")


@pytest.mark.parametrize("way", ["form", "query"])
async def test_crops_keep_the_focus_of_their_upload(service: Service, way: str) -> None:
    options = {"variants": orjson.dumps(VARIANTS).decode(), "focus": orjson.dumps(FOCUS).decode()}
    if way == "form":
        answer = await service.client.post("/upload", files={"file": ("a.png", two_spots())}, data=options)
    else:
        answer = await service.client.post("/upload", params=options, content=two_spots())
    assert answer.status_code == 202, answer.text
    upload_id = answer.json()["id"]
    assert (await service.ended(upload_id))["focus"] == FOCUS
    for name, wanted in (("mine", (0x40, 0x60, 0xA0)), ("turned", (0x40, 0x60, 0xA0)), ("middle", (0xC0, 0xC0, 0xC0))):
        assert near(pixel(images.opened(await service.file(upload_id, name))), wanted), name
    framed = images.opened(await service.file(upload_id, "framed"))
    assert near(pixel(framed), (0x40, 0x60, 0xA0))
    assert near(pixel(framed, 0.1), (0, 255, 0))


async def test_without_a_focus_crops_keep_what_draws_attention(service: Service) -> None:
    upload_id = await service.upload(two_spots(), variants=orjson.dumps(VARIANTS).decode())
    assert (await service.ended(upload_id))["focus"] is None
    crop = images.opened(await service.file(upload_id, "mine"))
    assert near(pixel(crop), (255, 0, 0))


WRONG = [
    *('{"x": 0.5}', '{"x": 0.5, "y": 1.001}', '{"x": -0.1, "y": 0}', '{"x": true, "y": 0}', '{"x": "0.5", "y": 0}'),
    *('{"x": 0.5, "y": 0.5, "z": 1}', "{}", "[]", "[0.5, 0.5]", "0.5", "center", '{"x": {"x": 0}, "y": 0}', "", "null"),
    *('{"x": NaN, "y": 0}', '{"x": 1e999, "y": 0}', '{"x": 0.5, "x": 0.5, "y": 0}', ' {"x": 0, "y": 0}', "[" * 4000),
    '{"x": ' + "9" * 10_000 + ', "y": 0}',
]


@pytest.mark.parametrize("text", WRONG)
def test_g5_a_focus_that_is_no_point_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(OptionError, match=r"'focus' must be an object with x \(a number from 0 to 1\)") as refused:
        read_options({"focus": text})
    assert refused.value.code == "invalid_field"


async def test_g5_a_wrong_focus_is_refused_in_form_and_query(service: Service) -> None:
    wrong = {"focus": '{"x": 2, "y": 0}'}
    for answer in (
        await service.client.post("/upload", files={"file": ("a.jpg", images.photo())}, data=wrong),
        await service.client.post("/upload", params=wrong, content=images.photo()),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field"), answer.text


def test_variants_that_ask_for_another_gravity_are_left_alone() -> None:
    variants = (Variant("a", 1, gravity="attention"), Variant("b", 1, gravity=Point(0, 0)), Variant("c", 1))
    assert Options(variants=variants, focus=Point(1, 1)).focused_variants == variants
    asks = (Variant("d", 1, gravity="focus"),)
    assert Options(variants=asks).focused_variants == asks
    assert Options(variants=asks, focus=Point(1, 1)).focused_variants == (Variant("d", 1, gravity=Point(1, 1)),)
