"""The way of an image through the decoder: bytes in, one encoded file a variant out.

Once per image: open → limits (source.py) → plans (planning.py) → decode (source.py). Then per file of a variant
(sets.py), the largest first, the steps (steps.py), and last the encoder (encode.py). Scaled pictures are kept, so that
a smaller file starts from a larger one; a step leaves alone what is done already.
"""

import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from PIL import Image

from imgsvc.domain.model import MAX_RESULTS_BYTES, Limits, Original, Placeholder, Point, Rendered, Rendition, Variant
from imgsvc.domain.problems import JobError
from imgsvc.domain.sets import is_set, max_files
from imgsvc.imaging.colour import WITH_ALPHA, to_srgb
from imgsvc.imaging.encode import Frame, Tuning, encode, encode_animation, has_alpha
from imgsvc.imaging.facts import facts, position
from imgsvc.imaging.geometry import WHOLE, Box, place
from imgsvc.imaging.metadata import safe_exif
from imgsvc.imaging.placeholder import placeholder, shrunk
from imgsvc.imaging.planning import SMALL, check_memory, needed_bytes, needed_size, planned, regions_of
from imgsvc.imaging.saliency import CHOSEN, choose
from imgsvc.imaging.shades import shades
from imgsvc.imaging.source import ImageSource, Picture, decode, frames, open_source
from imgsvc.imaging.steps import FINISHING, SCALING, Plan, Step
from imgsvc.imaging.strip import smaller
from imgsvc.imaging.trim import around, content
from imgsvc.imaging.write import Written, write

OnStep = Callable[[str, int, int], None]
"""Called as a step begins: its name, and how many of how many steps are done."""

Admit = Callable[[int], None]
"""Called before any pixel is decoded, with the bytes that it will take; returns when there is room for them."""

_GLANCE = Variant("glance", SMALL, SMALL)


def render(
    source: bytes,
    variants: Sequence[Variant],
    limits: Limits,
    on_step: OnStep,
    admit: Admit,
    overlays: Mapping[str, bytes] | None = None,
    keep_location: bool = False,
) -> Rendered:
    """Make every variant of an image file.

    Args:
        source: the file, of a format in formats.FORMATS.
        variants: what to make; their names must differ. The renditions come in this order, those of a set by width.
        limits: what the file may be, judged before any pixel is decoded.
        on_step: called with "decode", then with "encode:<variant>" for each file of it, largest first.
        admit: asked before any pixel is decoded.
        overlays: the files of the overlays that the variants use, by their SHA-256.
        keep_location: whether anybody may know where it was taken: it is told, and stays in what is not stripped.

    Raises:
        JobError: unsupported_format, image_too_large, too_many_frames, decode_failed, encode_failed or overlay_invalid.
        MemoryError: the image does not fit in the memory that this process may use.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of flaws in files; a client reads errors only
        return _render(source, variants, limits, on_step, admit, overlays or {}, keep_location)


def _render(
    source: bytes,
    variants: Sequence[Variant],
    limits: Limits,
    on_step: OnStep,
    admit: Admit,
    overlays: Mapping[str, bytes],
    keep_location: bool,
) -> Rendered:
    total = 1 + max_files(variants)
    on_step("decode", 0, total)
    wanted: dict[int, list[Variant]] = {0: []}  # the first picture is looked at in any case
    for variant in variants:
        wanted.setdefault(variant.page or variant.frame, []).append(variant)
    opened = {number: replace(open_source(source, limits, number), overlays=overlays) for number in wanted}
    plans = {number: planned(opened[number], each, regions_of(opened[number], each)) for number, each in wanted.items()}
    for number in wanted:
        check_memory(opened[number], plans[number])
    admit(max(needed_bytes(opened[number], plans[number]) for number in wanted))

    renditions: list[Rendition] = []
    looks: tuple[Original, Placeholder] | None = None
    for number in sorted(wanted, reverse=True):
        studio = _studio(opened[number], plans[number], variants, keep_location)
        for plan in studio.trimmed(plans[number], wanted[number]):
            on_step(f"encode:{plan.variant.name}", 1 + len(renditions), total)
            renditions.append(studio.rendition(plan))
            if sum(len(rendition.data) for rendition in renditions) > MAX_RESULTS_BYTES:
                raise JobError("image_too_large")
        if number == 0:
            looks = _looks(opened[0], studio.glance(), keep_location)
    assert looks is not None
    order = {variant.name: number for number, variant in enumerate(variants)}
    in_order = tuple(sorted(renditions, key=lambda rendition: (order[rendition.variant], rendition.set_width or 0)))
    notes = tuple(sorted(set[str]().union(*(each.notes for each in opened.values()))))
    original, stand_in = looks
    return Rendered(original, in_order, stand_in, notes)


def _looks(source: ImageSource, glance: Image.Image, keep_location: bool) -> tuple[Original, Placeholder]:
    """The original with what it tells, and what stands in for it."""
    small = shrunk(glance)
    colours = shades(small)
    told = facts(source.exif, source.xmp, glance, colours.palette, with_position=keep_location)
    return replace(source.original, facts=told), placeholder(small, colours.main)


def _studio(source: ImageSource, plans: Sequence[Plan], variants: Sequence[Variant], keep_location: bool) -> "_Studio":
    exif = None
    if not all(variant.strip for variant in variants):
        exif = safe_exif(source.exif, with_place=keep_location and position(source.exif) is not None)
    return _Studio(source, exif, [decode(source, needed_size(source, plans))])


@dataclass(slots=True)
class _Studio:
    """One image, and the pictures made of it so far, from the decoded one down.

    Each is at most half as wide as the one before it, or else the latest: whatever is made, they take little more
    memory than the first two. `cut` are such pictures of the latest region that variants were cut from. `latest` is the
    last one that was scaled, with what became of it by the steps after: for formats with transparency (True) and
    without.
    """

    source: ImageSource
    exif: bytes | None
    made: list[Picture]
    cut: list[Picture] = field(default_factory=list[Picture])
    latest: "_Shot | None" = None
    glances: dict[Box, Image.Image] = field(default_factory=dict[Box, Image.Image])
    foci: dict[str, Point] = field(default_factory=dict[str, Point])

    def trimmed(self, plans: list[Plan], variants: Sequence[Variant]) -> list[Plan]:
        """The plans, made anew of what lies inside of the borders where variants ask for it.

        Raises:
            JobError: image_too_large or too_many_frames, for what that comes to.
        """
        if not any(plan.variant.trim is not None for plan in plans):
            return plans
        regions = {plan.variant.name: plan.place.region for plan in plans}
        counts = {plan.variant.name: plan.frames for plan in plans}
        for variant in variants:
            if variant.trim is not None:
                regions[variant.name] = self._content(regions[variant.name], variant.trim, counts[variant.name])
        plans = planned(self.source, [replace(variant, trim=None) for variant in variants], regions)
        check_memory(self.source, plans)
        return plans

    def rendition(self, plan: Plan) -> Rendition:
        plan = self._focused(plan)
        if plan.overlay and plan.frames > 1:
            plan = replace(plan, overlay=plan.overlay.for_frames())
        written = self._animation(plan) if plan.frames > 1 else self._still(plan)
        written = smaller(self.source, plan, self.made[0], self._exif(plan), written)
        width, height = plan.place.canvas
        set_width = width if is_set(plan.variant) else None
        return Rendition(
            *(plan.variant.name, width, height, plan.format, written.data),
            *(written.quality, written.fits, set_width),
        )

    def glance(self, region: Box = WHOLE) -> Image.Image:
        """A small picture of a region."""
        least = self.made[-1]
        if region == WHOLE and len(self.made) > 1 and max(least.pixels.size) <= SMALL:
            return to_srgb(least.pixels, least.profile)
        if region not in self.glances:
            plan = Plan(_GLANCE, place(self.source.whole, _GLANCE, region), "png")
            self.glances[region] = _through(SCALING, self._start(plan), plan).pixels
        return self.glances[region]

    def _still(self, plan: Plan) -> Written:
        picture, exif = self._finished(plan), self._exif(plan)

        def encoded(tuning: Tuning) -> bytes:
            return encode(picture.pixels, plan.format, tuning, exif, picture.profile)

        return write(plan, lambda: picture.pixels, encoded, self.source.limits.auto_quality)

    def _animation(self, plan: Plan) -> Written:
        def shots() -> Generator[Frame]:
            for picture, duration in frames(self.source, plan.frames):
                shown = _through((*SCALING, *FINISHING), picture, plan)
                yield Frame(shown.pixels, duration, shown.profile)

        def encoded(tuning: Tuning) -> bytes:
            plays, exif = self.source.plays, self._exif(plan)
            return encode_animation(shots(), plan.frames, plays, plan.format, tuning, exif)

        return write(plan, lambda: next(shots()).pixels, encoded, self.source.limits.auto_quality)

    def _exif(self, plan: Plan) -> bytes | None:
        return None if plan.variant.strip else self.exif

    def _finished(self, plan: Plan) -> Picture:
        """The picture to encode, made once for all formats of a set that show it alike."""
        if self.latest is None or not self.latest.is_of(plan):
            self.latest = None  # its memory is needed
            self.latest = _Shot(plan, self._scaled(plan))
        return self.latest.finished(plan)

    def _scaled(self, plan: Plan) -> Picture:
        if self.source.is_deep and plan.keeps_depth:
            return _through(SCALING, decode(self.source, self.source.whole, deep=True), plan)
        picture = _through(SCALING, self._start(plan), plan)
        if plan.place.box == plan.place.region and plan.variant.fit != "fill":
            self._keep(picture)
        return picture

    def _keep(self, picture: Picture) -> None:
        if picture.shows != WHOLE and not self._is_cut(picture.shows):
            self.cut.clear()
        kept = self.made if picture.shows == WHOLE else self.cut
        line = kept if picture.shows == WHOLE else [self.made[0], *self.cut]
        if len(line) > 1 and 2 * line[-1].scaled[0] > line[-2].scaled[0]:
            kept.pop()
        kept.append(picture)

    def _is_cut(self, region: Box) -> bool:
        return bool(self.cut) and self.cut[0].shows == region

    def _start(self, plan: Plan) -> Picture:
        """The smallest picture to make it from without a loss: of that very scale, or at least twice it, and not
        converted to sRGB already where other colours are to be kept.
        """
        width, height = plan.place.scaled
        for picture in reversed([*self.made, *(self.cut if self._is_cut(plan.place.region) else ())]):
            if plan.keeps_gamut and picture.profile is None and self.made[0].profile is not None:
                continue
            has = picture.scaled
            if has == (width, height) or (has[0] >= 2 * width - 1 and has[1] >= 2 * height - 1):  # sides are rounded
                return picture
        return self.made[0]

    def _focused(self, plan: Plan) -> Plan:
        """The plan, with its box where the picture's content puts it if it asks for that; all of a set alike."""
        name, gravity, region = plan.variant.name, plan.variant.gravity, plan.place.region
        if gravity not in CHOSEN or plan.place.box == region:
            return plan
        if name not in self.foci:
            self.foci[name] = choose(gravity, self.glance(region), plan.place)
        return replace(plan, place=place(self.source.whole, plan.variant, region, self.foci[name]))

    def _content(self, region: Box, tolerance: float, count: int) -> Box:
        """What lies inside of a region's border; in any of the first `count` frames of an animation."""
        pictures = (picture for picture, _ in frames(self.source, count)) if count > 1 else self.made[:1]
        return around(content(picture, region, tolerance) for picture in pictures) or region


@dataclass(frozen=True, slots=True)
class _Shot:
    """A picture scaled as `plan` has it, and what the steps after that made of it, with transparency or without."""

    plan: Plan
    scaled: Picture
    made: dict[bool, Picture] = field(default_factory=dict[bool, Picture])

    def is_of(self, plan: Plan) -> bool:
        asked, has = ((each.variant.name, each.place, each.keeps_gamut, each.keeps_depth) for each in (plan, self.plan))
        return asked == has

    def finished(self, plan: Plan) -> Picture:
        is_clear = self.scaled.pixels.mode in WITH_ALPHA or plan.place.canvas != plan.place.size
        kind = has_alpha(plan.format) and is_clear
        if kind not in self.made:
            self.made.clear()
            self.made[kind] = _through(FINISHING, self.scaled, plan)
        return self.made[kind]


def _through(steps: Sequence[Step], picture: Picture, plan: Plan) -> Picture:
    for step in steps:
        picture = step(picture, plan)
    return picture
