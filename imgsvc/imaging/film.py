"""Animations as browsers show them: frames of whatever size, laid one over the other on a transparent canvas."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from PIL import Image

from imgsvc.imaging.geometry import Size


class Clear(IntEnum):
    """What becomes of a frame's place when its time is over."""

    NOTHING = 0
    TRANSPARENT = 1
    BEFORE = 2


@dataclass(frozen=True, slots=True)
class Shot:
    """A frame that is not decoded yet. `over`: its transparent pixels let the canvas through, else they replace it."""

    size: Size
    offset: tuple[int, int]
    duration_ms: float
    clear: Clear
    over: bool
    file: Callable[[], bytes]
    key: int | None = None
    """The index of a GIF's transparent colour."""


Decode = Callable[[Shot], Image.Image]
"""Gives a shot's pixels as RGB or RGBA, of its size."""


def composed(
    canvas: Size, shots: Sequence[Shot], decode: Decode, *, opaque: bool
) -> Generator[tuple[Image.Image, int]]:
    """Each frame as it is seen, RGB where the film is `opaque` and else RGBA, and its duration in milliseconds."""
    mode = "RGB" if opaque else "RGBA"
    screen = Image.new(mode, canvas)
    for shot in shots:
        pixels = decode(shot)
        before = screen.copy() if shot.clear is Clear.BEFORE else None
        left, top = shot.offset
        if shot.over and pixels.mode == "RGBA":
            _lay_over(screen, pixels, (left, top))
        else:
            screen.paste(pixels.convert(mode), (left, top))
        yield screen.copy(), round(shot.duration_ms)
        if before is not None:
            screen = before
        elif shot.clear is Clear.TRANSPARENT:
            screen.paste((0,) * len(mode), (left, top, left + shot.size[0], top + shot.size[1]))


def _lay_over(screen: Image.Image, pixels: Image.Image, offset: tuple[int, int]) -> None:
    if screen.mode == "RGB":
        screen.paste(pixels, offset, pixels.getchannel("A"))
    elif pixels.getchannel("A").getextrema() == (255, 255):
        screen.paste(pixels, offset)
    else:
        shown = pixels.crop(
            (0, 0, min(pixels.width, screen.width - offset[0]), min(pixels.height, screen.height - offset[1]))
        )
        if shown.width > 0 and shown.height > 0:
            screen.alpha_composite(shown, offset)
