"""The steps that a picture goes through on its way to a variant: small, pure, each of use by itself."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Protocol, Self

from PIL import Image, ImageFilter

from imgsvc.domain.model import FileFormat, Variant
from imgsvc.imaging import colour, gamut, geometry
from imgsvc.imaging.encode import has_alpha
from imgsvc.imaging.geometry import Placement, Size, turned
from imgsvc.imaging.resize import resize
from imgsvc.imaging.source import Picture

_WHITE = "#ffffff"
_ALMOST = 1e-6  # of a pixel: what rounding may have moved an edge by

_TURNS: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Layer(Protocol):
    """What is laid over pictures of any size."""

    def on(self, pixels: Image.Image, profile: bytes | None) -> Image.Image:
        """A copy of `pixels`, whose colours are those of `profile` or else sRGB, with it."""
        ...

    def for_frames(self) -> Self:
        """The same for the frames of one animation, which it need not be made for anew."""
        ...

    def size_bytes(self, picture: Size) -> int:
        """About how much memory that takes, besides the pixels."""
        ...

    def least_bytes(self, picture: Size) -> int:
        """How much of that it takes at the very least."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What a variant comes to for one image."""

    variant: Variant
    place: Placement
    format: FileFormat
    frames: int = 1
    overlay: Layer | None = None

    @property
    def keeps_gamut(self) -> bool:
        return self.variant.gamut == "keep" and self.format in gamut.FORMATS and not self.variant.grayscale

    @property
    def keeps_depth(self) -> bool:
        """Whether 16 bits of grey would come through all of the steps into its file."""
        asked = self.variant
        is_changed = asked.grayscale or asked.blur or asked.sharpen or asked.background or self.overlay
        is_padded = self.place.canvas != self.place.size
        return self.format == "png" and self.frames == 1 and not is_changed and not is_padded


Step = Callable[[Picture, Plan], Picture]


def scale(picture: Picture, plan: Plan) -> Picture:
    """Cut out what is shown, and bring it to its size."""
    pixels = picture.pixels
    size = turned(plan.place.size_before_turn, picture.orientation)
    if size == pixels.size and plan.place.box == picture.shows:
        return picture
    left, top, right, bottom = _in_pixels(picture, plan.place.box)
    if plan.place.region != picture.shows:  # or what lies beside it would shine through
        region = _in_pixels(picture, plan.place.region)
        x, y = floor(region[0] + _ALMOST), floor(region[1] + _ALMOST)
        pixels = pixels.crop((x, y, ceil(region[2] - _ALMOST), ceil(region[3] - _ALMOST)))
        left, top, right, bottom = left - x, top - y, right - x, bottom - y
    scaled = _premultiplied(pixels, lambda pixels: resize(pixels, size, (left, top, right, bottom)))
    return replace(picture, pixels=scaled, extent=scaled.size, shows=plan.place.box)


def upright(picture: Picture, _plan: Plan) -> Picture:
    """Turn and flip by the EXIF orientation."""
    return replace(_transposed(picture, picture.orientation), orientation=1)


def turn(picture: Picture, plan: Plan) -> Picture:
    """Rotate and flip as the variant asks for."""
    return _transposed(picture, plan.place.turn)


def colours(picture: Picture, plan: Plan) -> Picture:
    """Convert to sRGB, which every viewer assumes of an image without a profile, or to the space that is kept."""
    if plan.keeps_gamut:
        pixels, profile = gamut.kept(picture.pixels, picture.profile)
        return replace(picture, pixels=pixels, profile=profile)
    return replace(picture, pixels=colour.to_srgb(picture.pixels, picture.profile), profile=None)


def grayscale(picture: Picture, plan: Plan) -> Picture:
    if not plan.variant.grayscale:
        return picture
    return replace(picture, pixels=picture.pixels.convert("LA" if picture.pixels.mode in colour.WITH_ALPHA else "L"))


def blur(picture: Picture, plan: Plan) -> Picture:
    if not plan.variant.blur:
        return picture
    soften = ImageFilter.GaussianBlur(plan.variant.blur)
    return replace(picture, pixels=_premultiplied(picture.pixels, lambda pixels: pixels.filter(soften)))


def sharpen(picture: Picture, plan: Plan) -> Picture:
    if not plan.variant.sharpen:
        return picture
    pixels = picture.pixels
    sharp = pixels.filter(ImageFilter.UnsharpMask(plan.variant.sharpen, percent=100, threshold=0))
    if pixels.mode in colour.WITH_ALPHA:
        sharp.putalpha(pixels.getchannel("A"))
    return replace(picture, pixels=sharp)


def overlay(picture: Picture, plan: Plan) -> Picture:
    """Lay an overlay on the picture itself: not on what pads it, from which it could be cut off."""
    if plan.overlay is None:
        return picture
    return replace(picture, pixels=plan.overlay.on(picture.pixels, picture.profile))


def background(picture: Picture, plan: Plan) -> Picture:
    """Lay it on its background where it has one or the format wants one, then on its canvas."""
    variant, pixels = plan.variant, picture.pixels
    opaque = variant.background is not None or not has_alpha(plan.format)
    fill = gamut.colour_in(variant.background or _WHITE, picture.profile)
    if opaque:
        pixels = colour.flat(pixels, fill)
    if plan.place.canvas != plan.place.size:
        canvas = Image.new("RGB", plan.place.canvas, fill) if opaque else Image.new("RGBA", plan.place.canvas)
        canvas.paste(pixels.convert(canvas.mode), plan.place.offset)
        pixels = canvas
    return replace(picture, pixels=pixels)


# the costly steps work on few pixels: turning and converting come after the scaling
SCALING: tuple[Step, ...] = (scale, upright, colours)
FINISHING: tuple[Step, ...] = (turn, grayscale, blur, sharpen, overlay, background)


def _in_pixels(picture: Picture, box: geometry.Box) -> geometry.Box:
    width, height = picture.extent
    inner = geometry.inside(picture.shows, box)
    left, top, right, bottom = geometry.stored(inner, picture.orientation)
    return left * width, top * height, right * width, bottom * height


def _transposed(picture: Picture, orientation: int) -> Picture:
    way = _TURNS.get(orientation)
    if way is None:
        return picture
    pixels = picture.pixels.transpose(way)
    return replace(picture, pixels=pixels, extent=pixels.size)


def _premultiplied(pixels: Image.Image, change: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """`pixels` changed so that the colours under transparent ones do not bleed into opaque ones."""
    if pixels.mode not in colour.WITH_ALPHA:
        return change(pixels)
    return change(pixels.convert(pixels.mode.replace("A", "a"))).convert(pixels.mode)
