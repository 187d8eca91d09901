"""What the decoder makes of bytes, without a process between: for tests about pixels."""

from collections.abc import Sequence

import pytest
from PIL import Image

from imgsvc.domain.model import Limits, Rendered, Variant
from imgsvc.domain.problems import JobError
from imgsvc.imaging.render import render
from tests.support import images
from tests.support.images import LIMITS

WHOLE = Variant("whole", 4000, 4000, format="png")
"""All pixels as they are."""

CLEAR = (0, 0, 0, 0)
Colour = tuple[int, ...]


def rendered(source: bytes, *variants: Variant, limits: Limits = LIMITS) -> Rendered:
    return render(source, variants or (WHOLE,), limits, lambda _step, _done, _total: None, lambda _bytes: None)


def decoded(source: bytes, variant: Variant = WHOLE, limits: Limits = LIMITS) -> Image.Image:
    """The variant as RGBA."""
    image = images.opened(rendered(source, variant, limits=limits).renditions[0].data)
    if image.mode == "I;16":  # which Pillow would cut off at 255
        image = Image.frombytes("L", image.size, image.tobytes()[1::2])
    return image.convert("RGBA")


def code_of(source: bytes, *variants: Variant, limits: Limits = LIMITS) -> str:
    with pytest.raises(JobError) as caught:
        rendered(source, *variants, limits=limits)
    return caught.value.code


def at(image: Image.Image, across: float = 0.5, down: float = 0.5) -> Colour:
    """The pixel at shares of the sides; one that is transparent is CLEAR, whatever its colour."""
    found = image.getpixel((int(image.width * across), int(image.height * down)))
    assert isinstance(found, tuple)
    return found if found[3] else CLEAR


def near(found: Colour, wanted: Sequence[int], by: int = 3) -> bool:
    """Whether two colours are the same, but for rounding; one of three levels is opaque."""
    return all(abs(is_ - should) <= by for is_, should in zip(found, (*wanted, 255)[:4], strict=True))


def asked_for(source: bytes, variant: Variant, limits: Limits = LIMITS) -> int:
    """The bytes that are asked for before a pixel is decoded."""

    class Asked(Exception):  # noqa: N818 (no error)
        pass

    def admit(size_bytes: int) -> None:
        raise Asked(size_bytes)

    with pytest.raises(Asked) as caught:
        render(source, [variant], limits, lambda _step, _done, _total: None, admit)
    return int(caught.value.args[0])
