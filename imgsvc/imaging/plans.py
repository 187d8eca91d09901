"""What is made of an image, and how much memory that takes: known from its header, before any pixel is decoded."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil

from imgsvc.domain.formats import LACKING
from imgsvc.domain.model import MAX_RESULTS_BYTES, Variant
from imgsvc.domain.problems import JobError
from imgsvc.imaging import gamut
from imgsvc.imaging.encode import ANIMATED, KEPT_ANIMATED, actual_format
from imgsvc.imaging.geometry import WHOLE, Box, Size, cropped, place, turned_size
from imgsvc.imaging.memory import BASE_BYTES, file_bytes, least_output_bytes, output_bytes
from imgsvc.imaging.overlay import FileLayer
from imgsvc.imaging.sets import members
from imgsvc.imaging.source import ImageSource
from imgsvc.imaging.steps import Plan
from imgsvc.imaging.strip import checking_bytes

GLANCE_PX = 256
"""The side of the small picture that is looked at in any case."""

_MAX_OUTPUT_PIXELS = 8192 * 8192
_MAX_OUTPUT_SIDE = 16_383  # WebP's
_OVERSAMPLING = 2


def regions_of(source: ImageSource, variants: Sequence[Variant]) -> dict[str, Box]:
    """The part of a picture that each variant, by its name, is made of before its border is trimmed.

    Raises:
        JobError: crop_outside.
    """
    regions: dict[str, Box] = {}
    for variant in variants:
        found = cropped(source.whole, variant.crop) if variant.crop else (WHOLE, True)
        if found is None:
            raise JobError("crop_outside")
        regions[variant.name], is_all = found
        if not is_all:
            source.notes.add("crop_clipped")
    return regions


def plans_of(source: ImageSource, variants: Sequence[Variant], regions: Mapping[str, Box]) -> list[Plan]:
    """What is made of one picture, the largest first; a set's formats of one width follow one another."""
    plans: dict[tuple[str, int, str], Plan] = {}
    for variant in variants:
        region = regions[variant.name]
        overlay = FileLayer(variant.overlay, source.overlays, source.limits) if variant.overlay else None
        for member in members(variant, turned_size(source.whole, variant, region)):
            plan = replace(_plan(source, member, region), overlay=overlay)
            plans.setdefault((variant.name, plan.place.canvas[0], plan.format), plan)
    return sorted(plans.values(), key=lambda plan: plan.place.scaled, reverse=True)


def _plan(source: ImageSource, variant: Variant, region: Box) -> Plan:
    placed = place(source.whole, variant, region)
    width, height = placed.canvas
    is_too_large = width * height > _MAX_OUTPUT_PIXELS or max(width, height) > _MAX_OUTPUT_SIDE
    if is_too_large and variant.trim is None:  # or it is known only when the border is
        raise JobError("image_too_large")
    fmt = actual_format(variant.format, source.original.format, transparent=source.opened.transparent)
    if fmt in LACKING:  # asked for where there is an encoder, and made where there is none
        raise JobError("encode_failed")
    if variant.gamut == "keep" and gamut.is_reduced(source.opened.profile, source.image.mode, fmt):
        source.notes.add("gamut_reduced")
    if variant.frames != "all" or not source.is_animated:
        return Plan(variant, placed, fmt)
    if fmt not in ANIMATED and not (variant.format == "keep" and fmt in KEPT_ANIMATED):
        source.notes.add("animation_dropped")
        return Plan(variant, placed, fmt)
    return Plan(variant, placed, fmt, _frames(source, max(width * height, source.whole[0] * source.whole[1])))


def _frames(source: ImageSource, pixels: int) -> int:
    """How many frames of an animation are made, each of so many pixels.

    Raises:
        JobError: too_many_frames, where it is not to be cut.
    """
    limits, frames = source.limits, source.original.frames
    most = min(limits.max_frames, limits.max_animation_pixels // pixels)
    if frames <= most:
        return frames
    if limits.frames_over == "refuse" or not most:
        raise JobError("too_many_frames")
    source.notes.add("frames_cut")
    return most


def memory_bytes(source: ImageSource, plans: Sequence[Plan]) -> int:
    """About how many bytes a picture, the largest of its variants and all files made of it take."""
    files = min(MAX_RESULTS_BYTES, sum(file_bytes(_at_most(source, plan)) for plan in plans))
    largest = max((output_bytes(_at_most(source, plan)) + checking_bytes(source, plan) for plan in plans), default=0)
    return source.decoding_bytes(needed_size(source, plans)) + largest + files


def _at_most(source: ImageSource, plan: Plan) -> Plan:
    """The plan, as large as it may become: what is left when a border is trimmed may have any shape."""
    variant = plan.variant
    if variant.trim is None:
        return plan
    most = _MAX_OUTPUT_SIDE if variant.enlarge else max(*plan.place.canvas, *source.whole)
    width = variant.width or most
    height = min(variant.height or most, _MAX_OUTPUT_PIXELS // width)
    return replace(plan, place=replace(plan.place, canvas=(width, height)))


def check_memory(source: ImageSource, plans: Sequence[Plan]) -> None:
    """Refuse now what would run out of memory later whatever the picture shows.

    Raises:
        JobError: image_too_large.
    """
    clear = source.opened.transparent
    known = [plan for plan in plans if plan.variant.trim is None]
    least = max((least_output_bytes(plan, transparent=clear) for plan in known), default=0)
    if BASE_BYTES + least > source.limits.max_bytes:
        raise JobError("image_too_large")


def needed_size(source: ImageSource, plans: Sequence[Plan]) -> Size:
    """The size at which the image is decoded at least: all of it where a border is to be found to the pixel.

    A JPEG that is decoded at a smaller scale has been resized by its decoder with a box filter already. Twice the
    largest variant leaves our own filter enough to work with: 1.5 points of SSIMULACRA2 on photographs.
    """
    if any(plan.variant.trim is not None for plan in plans):
        return source.whole
    scaled = [plan.place.scaled for plan in plans] or [(float(GLANCE_PX), float(GLANCE_PX))]
    return ceil(_OVERSAMPLING * max(width for width, _ in scaled)), ceil(
        _OVERSAMPLING * max(height for _, height in scaled)
    )
