"""What a responsive set comes to for one image: one variant a file, none of them wider than the image is."""

from collections.abc import Iterator
from dataclasses import replace
from math import ceil, floor

from imgsvc.domain.model import Variant
from imgsvc.domain.sets import box
from imgsvc.imaging.geometry import Size

_CUT = {"cover", "fill"}


def members(variant: Variant, whole: Size) -> Iterator[Variant]:
    """The variant itself, or one for each width and format of a set, the widest first.

    All widths of a set show the same picture: where the image, of the size `whole` when it is cropped and turned, is
    too small for some of them, and is not enlarged, one file of the largest size that it has stands for them.
    """
    for width, height in _boxes(variant, whole):
        for fmt in variant.formats or (variant.format,):
            yield replace(variant, width=width, height=height, format=fmt)


def _boxes(variant: Variant, whole: Size) -> list[tuple[int | None, int | None]]:
    if variant.widths is None:
        return [(variant.width, variant.height)]
    most = variant.widths[-1] if variant.enlarge else _widest(variant, whole)
    return [box(variant, width) for width in sorted({min(width, most) for width in variant.widths}, reverse=True)]


def _widest(variant: Variant, whole: Size) -> int:
    """The width of the largest box of a set's shape that is filled without enlarging the image."""
    width, height = whole
    if variant.width is None or variant.height is None:
        return width
    as_high = height * variant.width / variant.height
    return max(1, floor(min(width, as_high))) if variant.fit in _CUT else ceil(max(width, as_high))
