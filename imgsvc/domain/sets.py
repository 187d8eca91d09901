"""Responsive sets: variants with `widths` or `formats`, of which each width in each format is a file."""

from collections.abc import Iterable

from imgsvc.domain.model import Variant


def is_set(variant: Variant) -> bool:
    return bool(variant.widths or variant.formats)


def max_files(variants: Iterable[Variant]) -> int:
    """How many files are made of an original that is not too small for any of them."""
    return sum(len(variant.widths or (0,)) * len(variant.formats or (0,)) for variant in variants)


def box(variant: Variant, width: int) -> tuple[int, int | None]:
    """The box of a set's file of this width: as high as the aspect ratio of `width` and `height` makes it."""
    if variant.width is None or variant.height is None:
        return width, None
    return width, max(1, round(width * variant.height / variant.width))


def largest_box(variant: Variant) -> tuple[int | None, int | None]:
    """The box of a variant that no file of it exceeds."""
    return box(variant, variant.widths[-1]) if variant.widths else (variant.width, variant.height)


def smallest_box(variant: Variant) -> tuple[int | None, int | None]:
    return box(variant, variant.widths[0]) if variant.widths else (variant.width, variant.height)
