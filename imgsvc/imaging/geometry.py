"""Where things go: sizes and boxes of a variant, as plain arithmetic.

All coordinates are those of an upright viewer; `stored` translates to pixels that are still turned.
"""

from dataclasses import dataclass

from imgsvc.domain.model import Variant

Size = tuple[int, int]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom as fractions (0 to 1) of an image's sides."""

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

SIDEWAYS = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""

_MIRRORED_ACROSS = frozenset({2, 3, 7, 8})  # the stored picture's left is on the viewer's right, or below
_MIRRORED_DOWN = frozenset({3, 4, 6, 7})  # its top is at the viewer's bottom, or right

_FOCUS: dict[str, tuple[float, float]] = {
    "center": (0.5, 0.5),
    "entropy": (0.5, 0.5),  # where there is nothing to choose from
    "top": (0.5, 0.0),
    "bottom": (0.5, 1.0),
    "left": (0.0, 0.5),
    "right": (1.0, 0.5),
}


@dataclass(frozen=True, slots=True)
class Placement:
    """The part `box` of an image, scaled to `size`, on a canvas of the size `canvas` that is not smaller."""

    box: Box
    size: Size
    canvas: Size

    @property
    def scaled(self) -> tuple[float, float]:
        """The sides that the whole image has at this scale."""
        left, top, right, bottom = self.box
        return self.size[0] / (right - left), self.size[1] / (bottom - top)


def place(whole: Size, variant: Variant, focus: tuple[float, float] | None = None) -> Placement:
    """How an image of the size `whole` goes into a variant's box; every side has at least 1 pixel.

    `focus` is where a crop is centred, as fractions of the space that it can move in; without it `gravity` decides.
    """
    x, y = focus or _FOCUS[variant.gravity]
    width, height = whole
    if variant.fit == "fill":
        size = tuple(
            wanted if variant.enlarge else min(wanted, side)
            for wanted, side in zip(_box_of(variant, whole), whole, strict=True)
        )
        return Placement(WHOLE, (size[0], size[1]), (size[0], size[1]))

    across, down = variant.width or float("inf"), variant.height or float("inf")
    choose = max if variant.fit == "cover" else min
    scale = choose(across / width, down / height)
    scale = scale if variant.enlarge else min(scale, 1.0)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if variant.fit == "contain":
        return Placement(WHOLE, size, _box_of(variant, whole))
    if variant.fit == "inside":
        return Placement(WHOLE, size, size)
    shown = min(size[0], _box_of(variant, whole)[0]), min(size[1], _box_of(variant, whole)[1])
    part = shown[0] / size[0], shown[1] / size[1]
    left, top = (1 - part[0]) * x, (1 - part[1]) * y
    return Placement((left, top, left + part[0], top + part[1]), shown, shown)


def offset(placement: Placement, variant: Variant) -> tuple[int, int]:
    """Where on its canvas the scaled image lies, by the variant's gravity."""
    x, y = _FOCUS[variant.gravity]
    return round((placement.canvas[0] - placement.size[0]) * x), round((placement.canvas[1] - placement.size[1]) * y)


def turned(size: Size, orientation: int) -> Size:
    """`size` as it is before or after turning it upright."""
    width, height = size
    return (height, width) if orientation in SIDEWAYS else (width, height)


def stored(box: Box, orientation: int) -> Box:
    """An upright `box` as a box of the pixels that are stored with an EXIF `orientation`."""
    left, top, right, bottom = box
    if orientation in SIDEWAYS:
        left, top, right, bottom = top, left, bottom, right
    if orientation in _MIRRORED_ACROSS:
        left, right = 1 - right, 1 - left
    if orientation in _MIRRORED_DOWN:
        top, bottom = 1 - bottom, 1 - top
    return left, top, right, bottom


def _box_of(variant: Variant, whole: Size) -> Size:
    return variant.width or whole[0], variant.height or whole[1]
