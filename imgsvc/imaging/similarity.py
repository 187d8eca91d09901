"""How much an encoded picture looks like what it was made of, on the scale of SSIMULACRA2.

100 is the same; from 90 on nobody sees a difference side by side, at 70 it is "high quality", at 50 "medium". The parts
of SSIMULACRA2 (https://github.com/cloudinary/ssimulacra2) that decide between encoders are computed here by Pillow
alone: loss of structure in lightness at three scales and in red and green at one, and shifts of blue over wide areas.
Weights are fitted to it on 23 pictures in JPEG, WebP and AVIF of eight qualities each: between 55 and 93 it differs by
2.1 points (root mean square) on a picture that is left out of the fit, and correlates by 0.97 over all. A megapixel
takes 15 ms.
"""

from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageMath

from imgsvc.imaging.colour import WITH_ALPHA, flat

_GREY = "#808080"
"""What transparent pixels are looked at on."""

_BIAS = 0.0037930732552754493
_BLOCK = 4  # pixels a side that a mean is taken of
_C2 = 0.0009  # below this variance, structure is not seen
_COLOUR_C2 = 40.0  # the same, in levels of 255
_EXPONENT = 0.6276336467831387
_SCALES = (4, 2)  # from one scale of lightness to the next


def _linear(level: int) -> float:
    value = level / 255
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


_SHARES = (0.265, 0.657, 0.078)
_TO_LIGHT = tuple([share * (_linear(level) + _BIAS) for level in range(256)] for share in _SHARES)
"""What each level of red, green and blue adds to the light of a pixel."""

WEIGHTS = (20.68, 279.0, 1077.0, 7.378, 34.02, 16.78, 0.007908)


@dataclass(frozen=True, slots=True)
class _Parts:
    """Lightness at several scales, and two differences of colour at half the resolution; in floating point."""

    light: list[Image.Image]
    blue: Image.Image
    red: Image.Image


class Reference:
    """A picture that others are compared with."""

    def __init__(self, pixels: Image.Image) -> None:
        self._root = Image.new("F", pixels.size, 1 / 3)
        self._parts = self._parts_of(pixels)
        self._light = [_variance(part) for part in self._parts.light]
        self._red = _variance(self._parts.red)

    def score(self, pixels: Image.Image) -> float:
        """How much `pixels`, of the same size, look like this picture: at most 100."""
        loss = sum(weight * part for weight, part in zip(WEIGHTS, self.losses(pixels), strict=True))
        return 100 - 10 * loss**_EXPONENT

    def losses(self, pixels: Image.Image) -> list[float]:
        """What the score is the weighted sum of; 0 where nothing is lost."""
        parts = self._parts_of(pixels)
        lost = [
            _lost(before, after, variance, _C2)
            for before, after, variance in zip(self._parts.light, parts.light, self._light, strict=True)
        ]
        red = _lost(self._parts.red, parts.red, self._red, _COLOUR_C2)
        blue = _blocks(ImageMath.lambda_eval(_minus, x=parts.blue, y=self._parts.blue))
        shift = _blocks(ImageMath.lambda_eval(_square, x=blue))
        return [*map(_mean, lost), *map(_peaks, lost[:2]), _peaks(red), _peaks(shift)]

    def _parts_of(self, pixels: Image.Image) -> _Parts:
        opaque = flat(pixels, _GREY) if pixels.mode in WITH_ALPHA else pixels
        rgb = opaque if opaque.mode == "RGB" else opaque.convert("RGB")
        red, green, blue = (band.point(table, "F") for band, table in zip(rgb.split(), _TO_LIGHT, strict=True))
        light = [ImageMath.lambda_eval(_lightness, r=red, g=green, b=blue, root=self._root)]
        for by in _SCALES:
            light.append(_reduced(light[-1], by))
        _, blue, red = _reduced(rgb, 2).convert("YCbCr").split()
        return _Parts(light, blue.convert("F"), red.convert("F"))


# Numbers within these would each become an image of that size, at ten times the cost of the rest.


def _lightness(args: dict[str, Any]) -> Any:
    return (args["r"] + args["g"] + args["b"]) ** args["root"]


def _minus(args: dict[str, Any]) -> Any:
    return args["x"] - args["y"]


def _square(args: dict[str, Any]) -> Any:
    return args["x"] * args["x"]


def _spread(args: dict[str, Any]) -> Any:
    return args["square"] - args["mean"] * args["mean"]


def _variance(part: Image.Image) -> Image.Image:
    square = _blocks(ImageMath.lambda_eval(_square, x=part))
    return ImageMath.lambda_eval(_spread, square=square, mean=_blocks(part))


def _lost(before: Image.Image, after: Image.Image, variance: Image.Image, c2: float) -> Image.Image:
    """The share of structure that is lost in each block, as SSIM has it; `variance` is that of `before`."""
    error = ImageMath.lambda_eval(_minus, x=after, y=before)
    return ImageMath.lambda_eval(
        lambda args: args["lost"] / (args["before"] + args["after"] + c2),
        lost=_variance(error),
        before=variance,
        after=_variance(after),
    )


def _reduced(part: Image.Image, by: int) -> Image.Image:
    return part.reduce((min(by, part.width), min(by, part.height)))


def _blocks(part: Image.Image) -> Image.Image:
    return _reduced(part, _BLOCK)


def _mean(part: Image.Image) -> float:
    value = part.reduce(part.size).getpixel((0, 0))
    assert isinstance(value, float)
    return max(0.0, value)


def _peaks(part: Image.Image) -> float:
    """The 4-norm, in which the largest values count most."""
    square = ImageMath.lambda_eval(_square, x=part)
    return _mean(ImageMath.lambda_eval(_square, x=square)) ** 0.25
