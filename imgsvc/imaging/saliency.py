"""Where the interesting part of a picture is: the crop whose pixels differ most."""

from collections.abc import Callable

from PIL import Image

_SIDE = 96  # enough to distinguish a face from a wall; each position costs a histogram
_STEPS = 24


def busiest(pixels: Image.Image, part: tuple[float, float]) -> tuple[float, float]:
    """Where a crop of `part` of each side (0 to 1) has the highest entropy.

    Returns how far it is moved to the right and down, as fractions of the space that it can move in.
    """
    small = pixels.convert("L")
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    width, height = (max(1, round(side * share)) for side, share in zip(small.size, part, strict=True))
    return (
        _best(small.width - width, lambda at: small.crop((at, 0, at + width, small.height))),
        _best(small.height - height, lambda at: small.crop((0, at, small.width, at + height))),
    )


def _best(room: int, crop: Callable[[int], Image.Image]) -> float:
    if room <= 0:
        return 0.5
    places = sorted({round(room * step / _STEPS) for step in range(_STEPS + 1)})
    # the middle of equals, so that a plain picture is cropped at its centre
    entropies = [crop(place).entropy() for place in places]
    enough = max(entropies) - 1e-9
    best = [place for place, entropy in zip(places, entropies, strict=True) if entropy > enough]
    return best[len(best) // 2] / room
