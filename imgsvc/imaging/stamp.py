"""Where an overlay goes on a picture, and how it is laid there: arithmetic, and pixels in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

from PIL import Image

from imgsvc.domain.overlays import Overlay, Position
from imgsvc.imaging.colour import WITH_ALPHA
from imgsvc.imaging.geometry import Size

Corner = tuple[int, int]
"""Left and top in pixels; an image that begins or ends outside of the picture is cut there."""

BAND_HEIGHT = 256
"""Rows of pixels that are blended at once, and that the rows of tiles have which are laid at once: tiny ones would take
a call for each.
"""

_PLACES: dict[Position, tuple[float, float]] = {
    "center": (0.5, 0.5),
    "top": (0.5, 0.0),
    "bottom": (0.5, 1.0),
    "left": (0.0, 0.5),
    "right": (1.0, 0.5),
    "top-left": (0.0, 0.0),
    "top-right": (1.0, 0.0),
    "bottom-left": (0.0, 1.0),
    "bottom-right": (1.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """An overlay of `size` at `corner` of a picture; from there on in all directions every `period` if it is a tile."""

    picture: Size
    size: Size
    corner: Corner
    period: Size | None = None

    @property
    def block(self) -> Size:
        """The size of what is laid at each of `corners`: the overlay, or rows of tiles."""
        if self.period is None:
            return self.size
        return self.picture[0], (self._rows - 1) * self.period[1] + self.size[1]

    @property
    def corners(self) -> Iterator[Corner]:
        """Where the block is on the picture."""
        if self.period is None:
            yield self.corner
            return
        down = self.period[1]
        for top in range(_first(self.corner[1], down, self.size[1]), self.picture[1], self._rows * down):
            yield 0, top

    def filled(self, pixels: Image.Image) -> Image.Image:
        """The block, made of the overlay's pixels (LA or RGBA)."""
        if self.period is None:
            return pixels
        row = Image.new(pixels.mode, (self.picture[0], self.size[1]))
        for left in range(_first(self.corner[0], self.period[0], self.size[0]), self.picture[0], self.period[0]):
            row.paste(pixels, (left, 0))
        block = Image.new(pixels.mode, self.block)
        for number in range(self._rows):
            block.paste(row, (0, number * self.period[1]))
        return block

    @property
    def _rows(self) -> int:
        """How many rows of tiles the block has."""
        assert self.period
        return ceil(min(BAND_HEIGHT, self.picture[1]) / self.period[1])


def fitting(image: Size, overlay: Overlay, picture: Size) -> Size:
    """The size of an overlay's `image` on a picture: as large as fits into `overlay.scale` of both of its sides."""
    across, down = picture[0] * overlay.scale, picture[1] * overlay.scale
    scale = min(across / image[0], down / image[1])
    return max(1, round(image[0] * scale)), max(1, round(image[1] * scale))


def layout(image: Size, overlay: Overlay, picture: Size) -> Layout:
    """How an overlay's `image` goes onto a picture. A margin that there is no room for is as large as there is."""
    size = fitting(image, overlay, picture)
    margin = overlay.margin if isinstance(overlay.margin, int) else round(overlay.margin * min(picture))
    x, y = _PLACES[overlay.position]
    corner = _along(picture[0], size[0], margin, x), _along(picture[1], size[1], margin, y)
    return Layout(picture, size, corner, (size[0] + margin, size[1] + margin) if overlay.tile else None)


@dataclass(frozen=True, slots=True)
class Stamp:
    """Pixels (LA or RGBA) that are laid on a picture at some corners."""

    pixels: Image.Image
    corners: tuple[Corner, ...]


def stamp(pixels: Image.Image, opacity: float, where: Layout) -> Stamp:
    """The stamp of an overlay that has been scaled (L, LA, RGB or RGBA)."""
    pixels = pixels.convert("LA" if pixels.mode in {"L", "LA"} else "RGBA")
    if opacity < 1:
        pixels.putalpha(pixels.getchannel("A").point([round(alpha * opacity) for alpha in range(256)]))
    return Stamp(where.filled(pixels), tuple(where.corners))


def lay(pixels: Image.Image, stamp: Stamp) -> Image.Image:
    """A copy of `pixels` (L, LA, RGB or RGBA) with the stamp on it: grey only if both are, clear where both are."""
    if pixels.mode in WITH_ALPHA:
        canvas = pixels.convert("RGBA")
        _blend(canvas, replace(stamp, pixels=stamp.pixels.convert("RGBA")))
        return canvas
    canvas = pixels.convert("L" if (pixels.mode, stamp.pixels.mode) == ("L", "LA") else "RGB")
    for corner in stamp.corners:
        canvas.paste(stamp.pixels, corner, stamp.pixels)
    return canvas


def _blend(canvas: Image.Image, stamp: Stamp) -> None:
    """Lays a stamp on a canvas (RGBA both), in bands that take little memory. Pillow's own `alpha_composite` crops, and
    takes a large crop for a decompression bomb.
    """
    for top in range(0, canvas.height, BAND_HEIGHT):
        band = canvas.width, min(BAND_HEIGHT, canvas.height - top)
        corners = [(left, at - top) for left, at in stamp.corners if -stamp.pixels.height < at - top < band[1]]
        if corners:
            under, over = Image.new("RGBA", band), Image.new("RGBA", band)
            under.paste(canvas, (0, -top))
            for corner in corners:
                over.paste(stamp.pixels, corner)
            canvas.paste(Image.alpha_composite(under, over), (0, top))


def _along(side: int, length: int, margin: int, place: float) -> int:
    """Where an overlay begins on a side: at its beginning, its middle or its end."""
    room = max(0, side - length)
    if place == 0.5:
        return room // 2
    return min(margin, room) if place == 0 else max(0, room - margin)


def _first(corner: int, period: int, length: int) -> int:
    """The first place of a tile that shows: one of `corner` and what is a multiple of `period` before it."""
    first = corner % period
    return first - period if first - period + length > 0 else first
