"""Where things go: sizes and boxes of a variant, as plain arithmetic.

All coordinates are those of an upright viewer; `stored` translates to pixels that are still turned. What a variant
rotates and flips is one more turn: its box is chosen in the turned picture, and translated back in the same way.
"""

from dataclasses import dataclass

from imgsvc.domain.model import Crop, Point, Variant

Size = tuple[int, int]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom as fractions (0 to 1) of an image's sides."""

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

SIDEWAYS = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""

_MIRRORED_ACROSS = frozenset({2, 3, 7, 8})  # the stored picture's left is on the viewer's right, or below
_MIRRORED_DOWN = frozenset({3, 4, 6, 7})  # its top is at the viewer's bottom, or right
_UNDONE_BY = {6: 8, 8: 6}  # the other orientations undo themselves

# the EXIF orientation that a viewer turns in the same way, first rotated and then flipped
_TURNS: dict[str | None, dict[int, int]] = {
    None: {0: 1, 90: 6, 180: 3, 270: 8},
    "h": {0: 2, 90: 5, 180: 4, 270: 7},
    "v": {0: 4, 90: 7, 180: 2, 270: 5},
}

_SIDES: dict[str, tuple[float, float]] = {
    "top": (0.5, 0.0),
    "bottom": (0.5, 1.0),
    "left": (0.0, 0.5),
    "right": (1.0, 0.5),
}
_CENTRE = (0.5, 0.5)  # also where there is nothing to choose from


@dataclass(frozen=True, slots=True)
class Placement:
    """The part `box` of an image, turned by `turn` (an EXIF orientation) and scaled to `size`, on a canvas.

    `region` is the part that the box is chosen from: what the variant crops and trims. `size`, `canvas` and `offset`
    are those of the turned image; the canvas is not smaller than the image on it.
    """

    region: Box
    box: Box
    turn: int
    size: Size
    canvas: Size
    offset: Size

    @property
    def size_before_turn(self) -> Size:
        return turned(self.size, self.turn)

    @property
    def scaled(self) -> tuple[float, float]:
        """The sides that the whole image, before it is turned, has at this scale."""
        left, top, right, bottom = self.box
        width, height = self.size_before_turn
        return width / (right - left), height / (bottom - top)


def place(whole: Size, variant: Variant, region: Box = WHOLE, focus: Point | None = None) -> Placement:
    """How the part `region` of an image of the size `whole` goes into a variant's box; every side has at least 1 pixel.

    `focus` is what the box is centred on, as far as the region reaches; without it `gravity` decides.
    """
    focus = variant.gravity if isinstance(variant.gravity, Point) else focus
    turn = _TURNS[variant.flip][variant.rotate]
    size = turned_size(whole, variant, region)
    pad = _padding(variant)
    box = (variant.width or size[0] + 2 * pad) - 2 * pad, (variant.height or size[1] + 2 * pad) - 2 * pad
    scaled = _scaled(size, box, variant)
    shown = (min(scaled[0], box[0]), min(scaled[1], box[1])) if variant.fit == "cover" else scaled
    part = shown[0] / scaled[0], shown[1] / scaled[1]
    across, down = _gravity(variant, part, _seen(focus, region, turn) if focus else None)
    at = (1 - part[0]) * across, (1 - part[1]) * down
    inner = _within(region, stored((at[0], at[1], at[0] + part[0], at[1] + part[1]), turn))
    canvas = box if variant.fit == "contain" else shown
    across, down = _SIDES.get(str(variant.gravity), _CENTRE)
    offset = pad + round((canvas[0] - shown[0]) * across), pad + round((canvas[1] - shown[1]) * down)
    return Placement(region, inner, turn, shown, (canvas[0] + 2 * pad, canvas[1] + 2 * pad), offset)


def turned_size(whole: Size, variant: Variant, region: Box) -> Size:
    """The size of a region of an image, in pixels of the image, as the variant turns it."""
    left, top, right, bottom = region
    size = max(1, round((right - left) * whole[0])), max(1, round((bottom - top) * whole[1]))
    return turned(size, _TURNS[variant.flip][variant.rotate])


def cropped(whole: Size, crop: Crop) -> tuple[Box, bool] | None:
    """The part of an image that a crop covers, to whole pixels, and whether none of the crop lies outside of it.

    None if all of it does.
    """
    across, down = whole if crop.is_fraction else (1, 1)
    left, top = round(crop.x * across), round(crop.y * down)
    right, bottom = round((crop.x + crop.width) * across), round((crop.y + crop.height) * down)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    inside = max(0, left), max(0, top), min(whole[0], right), min(whole[1], bottom)
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        return None
    box = inside[0] / whole[0], inside[1] / whole[1], inside[2] / whole[0], inside[3] / whole[1]
    return box, inside == (left, top, right, bottom)


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


def inside(region: Box, box: Box) -> Box:
    """A `box` of the whole image as one of a region that it lies in."""
    if region == WHOLE:
        return box
    left, top, right, bottom = region
    width, height = right - left, bottom - top
    return (box[0] - left) / width, (box[1] - top) / height, (box[2] - left) / width, (box[3] - top) / height


def seen(box: Box, orientation: int) -> Box:
    """A `box` of pixels that are stored with an EXIF `orientation` as a viewer sees it: the reverse of `stored`."""
    return stored(box, _UNDONE_BY.get(orientation, orientation))


def _scaled(size: Size, box: Size, variant: Variant) -> Size:
    """The size that all of an image gets, of which `cover` shows a part."""
    if variant.fit == "fill":
        return box if variant.enlarge else (min(box[0], size[0]), min(box[1], size[1]))
    across = box[0] / size[0] if variant.width else float("inf")
    down = box[1] / size[1] if variant.height else float("inf")
    scale = max(across, down) if variant.fit == "cover" else min(across, down)
    scale = scale if variant.enlarge else min(scale, 1.0)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _padding(variant: Variant) -> int:
    """Pixels on each side; at least 1 pixel of the box is left."""
    if not variant.padding:
        return 0
    shorter = min(side for side in (variant.width, variant.height) if side)
    pad = variant.padding if variant.padding >= 1 else variant.padding * shorter
    return min(round(pad), (shorter - 1) // 2)


def _gravity(variant: Variant, part: tuple[float, float], focus: Point | None) -> tuple[float, float]:
    """How far a `part` of the image is moved to the right and down, as fractions of the space that it can move in."""
    if focus is None:
        return _SIDES.get(str(variant.gravity), _CENTRE)
    return _centred(focus.x, part[0]), _centred(focus.y, part[1])


def _centred(at: float, part: float) -> float:
    return min(1.0, max(0.0, (at - part / 2) / (1 - part))) if part < 1 else 0.5


def _seen(point: Point, region: Box, turn: int) -> Point:
    """A place in an image as one in a region of it that is turned."""
    left, top, right, bottom = region
    x, y = (point.x - left) / (right - left), (point.y - top) / (bottom - top)
    x, y, *_ = seen((x, y, x, y), turn)
    return Point(x, y)


def _within(region: Box, box: Box) -> Box:
    """A `box` of a region as one of the whole image."""
    if box == WHOLE:
        return region
    left, top, right, bottom = region
    width, height = right - left, bottom - top
    return left + box[0] * width, top + box[1] * height, left + box[2] * width, top + box[3] * height
