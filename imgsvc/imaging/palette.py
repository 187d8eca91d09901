"""Pictures of at most 256 colours, one of them transparent: what a GIF can hold."""

from collections import Counter

from PIL import Image, ImageChops, ImageStat

from imgsvc.imaging.colour import WITH_ALPHA
from imgsvc.imaging.drawing import is_drawing

_MOST = 256
_GLANCE = 64  # pixels a side that are looked at to find a common colour
_VISIBLE = 128  # alpha from which on a pixel is shown, as in other programs that write GIF
_FAITHFUL = 1.5  # levels of 255 that a drawing may differ by; photographs differ by 2 and more
_SAMPLE = 96  # pixels a side that the colours of an animation's frame are chosen from
_INVERTED = [255 - level for level in range(256)]
_SEEN = [255 if alpha >= _VISIBLE else 0 for alpha in range(256)]


def indexed(pixels: Image.Image, *, dithered: bool = True) -> Image.Image:
    """L, RGB, LA or RGBA as P; what is transparent is the last colour, and so marked.

    Colours are chosen for what can be seen. They are dithered where they are too many.
    """
    if pixels.mode not in WITH_ALPHA:
        return pixels if pixels.mode == "L" else _few(pixels, _MOST, dithered)
    mask = pixels.getchannel("A").point(_SEEN)
    visible = pixels.convert("RGBA").convert("RGB")
    box = mask.getbbox()
    if mask.getextrema() == (255, 255):
        return _few(visible, _MOST, dithered)
    if box is None:
        flat = Image.new("P", pixels.size, 0)
        flat.putpalette(bytes(3))
        flat.info["transparency"] = 0
        return flat
    visible.paste(_commonest(visible, mask), mask=mask.point(_INVERTED))
    few = _few(visible, _MOST - 1, dithered)
    palette = (few.getpalette() or [])[: 3 * (_MOST - 1)]
    few.putpalette([*palette, *[0] * (3 * _MOST - len(palette))])
    few.paste(_MOST - 1, mask=mask.point(_INVERTED))
    few.info["transparency"] = _MOST - 1
    return few


def _few(pixels: Image.Image, most: int, dithered: bool) -> Image.Image:
    """RGB as P of at most `most` colours.

    A median cut is closest to drawings; photographs look better dithered. Dithering flickers in animations: there the
    colours are those of a median cut of some pixels, which is as good as one of all for a tenth of the time.
    """
    if is_drawing(pixels):
        cut = pixels.quantize(most, Image.Quantize.MEDIANCUT)
        if not dithered or _error(cut, pixels) <= _FAITHFUL:
            return cut
    elif not dithered:
        size = min(_SAMPLE, pixels.width), min(_SAMPLE, pixels.height)
        palette = pixels.resize(size, Image.Resampling.NEAREST).quantize(most, Image.Quantize.MEDIANCUT)
        return pixels.quantize(most, palette=palette, dither=Image.Dither.NONE)
    palette = pixels.quantize(most, Image.Quantize.FASTOCTREE)
    return pixels.quantize(most, palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def _error(cut: Image.Image, pixels: Image.Image) -> float:
    """Mean difference in levels of 255."""
    means = ImageStat.Stat(ImageChops.difference(cut.convert("RGB"), pixels)).mean
    return sum(means) / len(means)


def _commonest(visible: Image.Image, mask: Image.Image) -> tuple[int, int, int]:
    """A colour that the picture has, for the places that nobody sees."""
    small = visible.convert("RGBA")
    small.putalpha(mask)
    small.thumbnail((_GLANCE, _GLANCE), Image.Resampling.NEAREST)
    raw = small.tobytes()
    seen = Counter(raw[at : at + 3] for at in range(0, len(raw), 4) if raw[at + 3])
    # not most_common(), which imports a module: a locked decoder cannot
    red, green, blue = max(seen, key=seen.__getitem__, default=bytes(3))
    return red, green, blue
