"""Overlays: a file of the operator, decoded with the care that any file is, and brought to the size of its picture."""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import replace
from functools import lru_cache
from typing import Self

from PIL import Image

from imgsvc.domain.model import Limits, Variant
from imgsvc.domain.overlays import Overlay
from imgsvc.domain.problems import JobError
from imgsvc.imaging import gamut
from imgsvc.imaging.geometry import Size, place
from imgsvc.imaging.readers import check_size
from imgsvc.imaging.source import ImageSource, decode, open_source
from imgsvc.imaging.stamp import BAND_HEIGHT, Stamp, lay, layout, stamp
from imgsvc.imaging.steps import SCALING, Plan

MAX_PIXELS = 4096 * 4096
"""Of an overlay: more would cost each job of its variants dearly, for nothing that anybody sees."""

_PIXEL_BYTES = 4
_COPIES = 3  # scaled, with premultiplied colours and without, and as a stamp
_BANDS = 3  # two that are blended, and what comes of them
_OVERSAMPLING = 2  # as that of pictures


class FileLayer:
    """An overlay that can be laid on pictures of any size.

    Raises:
        JobError: overlay_invalid; all methods that decode it, too.
    """

    def __init__(self, overlay: Overlay, files: Mapping[str, bytes], limits: Limits) -> None:
        self._overlay = overlay
        self._file = files[overlay.sha256]
        self._limits = replace(limits, truncated="refuse")
        self._source = self._opened()  # of which only the header is ever looked at
        self._kept: Callable[[Size, bytes | None], Stamp] | None = None

    def on(self, pixels: Image.Image, profile: bytes | None = None) -> Image.Image:
        """A copy of `pixels`, whose colours are those of `profile` or else sRGB, with the overlay on it."""
        return lay(pixels, (self._kept or self._stamped)(pixels.size, profile))

    def for_frames(self) -> Self:
        """The same for the frames of one animation: what it is on one of them is kept for the next."""
        other = copy(self)
        other._kept = lru_cache(maxsize=1)(self._stamped)
        return other

    def size_bytes(self, picture: Size) -> int:
        """About how much memory it takes to lay it on a picture of this size."""
        where = layout(self._source.whole, self._overlay, picture)
        width, height = where.size
        across, down = where.block
        pixels = _COPIES * width * height + across * down + _BANDS * picture[0] * min(BAND_HEIGHT, picture[1])
        return len(self._file) + self._source.decoding_bytes(_need(where.size)) + _PIXEL_BYTES * pixels

    def least_bytes(self, picture: Size) -> int:
        """What it takes at the very least: the overlay as it is scaled, its stamp, and the rows of tiles."""
        where = layout(self._source.whole, self._overlay, picture)
        width, height = where.size
        across, down = where.block if where.period else (0, 0)
        return _PIXEL_BYTES * (2 * width * height + across * down)

    def _stamped(self, picture: Size, profile: bytes | None) -> Stamp:
        source = self._opened()
        where = layout(source.whole, self._overlay, picture)
        box = Variant("overlay", *where.size, fit="fill", enlarge=True)
        plan = Plan(box, place(source.whole, box), "png")
        try:
            shown = decode(source, _need(where.size))
        except JobError as error:
            raise JobError("overlay_invalid") from error
        for step in SCALING:
            shown = step(shown, plan)
        return stamp(gamut.from_srgb(shown.pixels, profile), self._overlay.opacity, where)

    def _opened(self) -> ImageSource:
        try:
            source = open_source(self._file, self._limits)
            check_size(source.whole, replace(self._limits, max_pixels=MAX_PIXELS))
        except JobError as error:
            raise JobError("overlay_invalid") from error
        return source


def _need(size: Size) -> Size:
    return _OVERSAMPLING * size[0], _OVERSAMPLING * size[1]
