"""Where a border of one colour ends."""

from collections.abc import Generator, Iterable

from PIL import Image, ImageChops

from imgsvc.imaging.colour import WITH_ALPHA
from imgsvc.imaging.geometry import Box, seen, stored
from imgsvc.imaging.source import Picture

_STRIP_PIXELS = 1 << 20  # what is looked at in one go: a picture of 50 megapixels is not copied whole

_CORNERS: tuple[Box, ...] = ((0, 0, 0, 0), (1, 0, 1, 0), (0, 1, 0, 1), (1, 1, 1, 1))

Area = tuple[int, int, int, int]
Colour = tuple[int, ...]


def content(picture: Picture, region: Box, tolerance: float) -> Box | None:
    """The part of a region that its border surrounds; None if all of it has one colour.

    The border's colour is that of a corner: the one that most other corners resemble, of equals the top left one. All
    that is transparent has the same colour. `tolerance` (0 to 100) is how much a channel may differ, in percent.
    """
    width, height = picture.extent
    left, top, right, bottom = stored(region, picture.orientation)
    area = round(left * width), round(top * height), round(right * width), round(bottom * height)
    colour = _border(picture, area, tolerance)
    found = around(_contents(picture.pixels, area, colour, tolerance))
    if found is None:
        return None
    return seen((found[0] / width, found[1] / height, found[2] / width, found[3] / height), picture.orientation)


def around(boxes: Iterable[Box | None]) -> Box | None:
    """The smallest box around those that are not None."""
    found = [box for box in boxes if box is not None]
    if not found:
        return None
    lefts, tops, rights, bottoms = zip(*found, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _border(picture: Picture, area: Area, tolerance: float) -> Colour:
    left, top, right, bottom = area
    corners: list[Colour] = []
    for corner in _CORNERS:
        across, down, *_ = stored(corner, picture.orientation)
        x, y = round(left + across * (right - 1 - left)), round(top + down * (bottom - 1 - top))
        dot = _premultiplied(picture.pixels.crop((x, y, x + 1, y + 1)))
        corners.append(tuple(dot.tobytes()))
    return max(corners, key=lambda one: sum(_alike(one, other, tolerance) for other in corners))


def _alike(one: Colour, other: Colour, tolerance: float) -> bool:
    return not any(_differs(*levels, tolerance) for levels in zip(one, other, strict=True))


def _differs(level: int, other: int, tolerance: float) -> bool:
    return abs(level - other) * 100 > tolerance * 255


def _contents(pixels: Image.Image, area: Area, colour: Colour, tolerance: float) -> Generator[Box | None]:
    """The box of what is not of that colour, in pixels, strip by strip."""
    left, top, right, bottom = area
    rows = max(1, _STRIP_PIXELS // (right - left))
    tables = [[255 * _differs(level, border, tolerance) for level in range(256)] for border in colour]
    for start in range(top, bottom, rows):
        strip = _premultiplied(pixels.crop((left, start, right, min(bottom, start + rows))))
        differing = Image.new("L", strip.size)
        for band, table in zip(strip.split(), tables, strict=True):
            differing = ImageChops.lighter(differing, band.point(table))
        box = differing.getbbox()
        yield None if box is None else (left + box[0], start + box[1], left + box[2], start + box[3])


def _premultiplied(pixels: Image.Image) -> Image.Image:
    return pixels.convert(pixels.mode.replace("A", "a")) if pixels.mode in WITH_ALPHA else pixels
