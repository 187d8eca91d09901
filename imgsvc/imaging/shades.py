"""The colours that a picture mainly consists of, as people would name them: shades that look alike count as one."""

from dataclasses import dataclass

from PIL import Image

from imgsvc.domain.facts import MAX_COLOURS

_SHADES = 24
_OPAQUE = 128
_NEAR = 0.07
"""How far apart two colours are at least, in OKLab: a difference that is seen at once."""

_WHITE = "#ffffff"

Lab = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Shades:
    """`palette` has up to MAX_COLOURS colours of what is not transparent, the one that covers most first.

    `main` is the first of them, or white where what is transparent covers more.
    """

    palette: tuple[str, ...]
    main: str


def shades(small: Image.Image) -> Shades:
    """The colours of a picture (RGBA), whose every pixel is looked at."""
    seen = _seen(small)
    clear = small.width * small.height - len(seen) // 3
    groups = _grouped(_counted(seen)) if seen else []
    palette = tuple(f"#{group.rgb.hex()}" for group in groups[:MAX_COLOURS])
    return Shades(palette, palette[0] if groups and groups[0].count >= clear else _WHITE)


def _seen(small: Image.Image) -> bytes:
    """The pixels that are not transparent, in RGB."""
    if min(small.getchannel("A").tobytes()) >= _OPAQUE:
        return small.convert("RGB").tobytes()
    rgba = small.tobytes()
    return b"".join(rgba[at : at + 3] for at in range(0, len(rgba), 4) if rgba[at + 3] >= _OPAQUE)


def _counted(seen: bytes) -> list[tuple[int, bytes]]:
    """How many pixels are of each of a few shades, the commonest first."""
    pixels = Image.frombytes("RGB", (len(seen) // 3, 1), seen)
    few = pixels.quantize(_SHADES, Image.Quantize.FASTOCTREE)
    levels = bytes(few.getpalette() or ())
    counts = few.getcolors() or []
    found = [(count, levels[3 * at : 3 * at + 3]) for count, at in counts if isinstance(at, int)]
    return sorted(found, key=lambda shade: (-shade[0], shade[1]))


@dataclass(slots=True)
class _Group:
    """Shades that look alike: how many pixels have them, and the commonest one."""

    count: int
    rgb: bytes
    lab: Lab

    def is_near(self, lab: Lab) -> bool:
        return sum((one - other) ** 2 for one, other in zip(self.lab, lab, strict=True)) < _NEAR**2


def _grouped(counted: list[tuple[int, bytes]]) -> list[_Group]:
    groups: list[_Group] = []
    for count, rgb in counted:
        lab = _oklab(rgb)
        near = next((group for group in groups if group.is_near(lab)), None)
        if near is None:
            groups.append(_Group(count, rgb, lab))
        else:
            near.count += count
    return sorted(groups, key=lambda group: (-group.count, group.rgb))


_LINEAR = [value / 255 / 12.92 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in range(256)]


def _oklab(rgb: bytes) -> Lab:
    """OKLab, in which equal distances look equally far (https://bottosson.github.io/posts/oklab/)."""
    r, g, b = (_LINEAR[value] for value in rgb)
    long = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    middle = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    short = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )
