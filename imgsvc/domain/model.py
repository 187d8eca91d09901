"""The types that describe an image job: what is requested of an image, and what is made of it.

Plain frozen dataclasses without behaviour, so that every package, the sandboxed decoder too, can share them.
Dimensions are pixels, sizes bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal, cast, get_args, get_origin, get_type_hints

from imgsvc.domain.facts import NOT_KNOWN, Facts
from imgsvc.domain.formats import JXL, LACKING
from imgsvc.domain.overlays import OVERLAY, Overlay
from imgsvc.domain.rules import Rule, colour, either, flag, number, one_of, record, several, whole

Fit = Literal["inside", "cover", "contain", "fill"]
Gravity = Literal["center", "top", "bottom", "left", "right", "entropy", "attention", "focus"]
Rotation = Literal[0, 90, 180, 270]
Flip = Literal["h", "v"]
FileFormat = Literal["jpeg", "webp", "avif", "png", "gif", "jxl"]
OutputFormat = Literal[FileFormat, "keep"]
Chroma = Literal["auto", "4:2:0", "4:4:4"]
Automatic = Literal["auto"]
Gamut = Literal["srgb", "keep"]
Frames = Literal["first", "all"]
Isolation = Literal["image", "owner", "batch"]
OverFrames = Literal["refuse", "cut"]
Truncated = Literal["accept", "refuse"]


MAX_FILES = 40
"""Files that are made of one upload at most."""

MAX_RESULTS_BYTES = 256 * 1024 * 1024
"""What these files may have together: a worker holds them all."""

MAX_SIDE = 8192
_SIDE = whole(1, MAX_SIDE)
_PAGE = whole(0, 65_535)
_FORMAT = one_of(OutputFormat, extras={JXL.name: "jxl"}, lacking=LACKING)
_MAX_OFFSET = 65_535
_MIN_SHARE = 0.0001  # of a side: less than a pixel of most images


@dataclass(frozen=True, slots=True)
class Point:
    """A place in an upright image, as fractions (0 to 1) of its width and height."""

    x: float
    y: float


POINT = record(Point, {"x": number(0, 1), "y": number(0, 1)})


@dataclass(frozen=True, slots=True)
class Crop:
    """A rectangle of an upright original, by its top left corner and its size.

    All four are fractions of the original's sides if none is larger than 1, and else whole pixels. Parts of it may lie
    outside of the original.
    """

    x: float
    y: float
    width: float
    height: float

    @property
    def is_fraction(self) -> bool:
        return max(self.x, self.y, self.width, self.height) <= 1

    @property
    def is_outside(self) -> bool:
        """Whether it covers no part of any image."""
        ends = self.x + self.width, self.y + self.height
        return min(ends) <= 0 or (self.is_fraction and max(self.x, self.y) >= 1)


_OFFSET_SHARE, _SIDE_SHARE = number(-1, 1), number(_MIN_SHARE, 1)
_OFFSET_PIXELS, _SIDE_PIXELS = whole(-_MAX_OFFSET, _MAX_OFFSET), whole(1, _MAX_OFFSET)
CROP = either(
    record(Crop, {"x": _OFFSET_SHARE, "y": _OFFSET_SHARE, "width": _SIDE_SHARE, "height": _SIDE_SHARE}),
    record(Crop, {"x": _OFFSET_PIXELS, "y": _OFFSET_PIXELS, "width": _SIDE_PIXELS, "height": _SIDE_PIXELS}),
)


@dataclass(frozen=True, slots=True)
class VariantField:
    """What a field may be, and what it means."""

    rule: Rule
    words: str


@dataclass(frozen=True, slots=True)
class Variant:
    """One output image: its box, how the original is fitted into it, and how it is encoded.

    Each field is a row: type, default, rule and meaning. Presets, OpenAPI and the documentation are made from them.
    At least one of `width`, `height` and `widths` is set. With `widths` or `formats` it is a responsive set (sets.py).
    """

    name: str
    width: Annotated[
        int | None,
        _SIDE,
        "Width of the box in pixels. One side is enough: the other then follows from the original's aspect ratio.",
    ] = None
    height: Annotated[int | None, _SIDE, "Height of the box in pixels."] = None
    fit: Annotated[
        Fit,
        one_of(Fit),
        "`inside`: the whole image fits into the box. `cover`: the image fills the box and is cropped. `contain`: "
        "like `inside`, padded with `background` to the full box. `fill`: stretched to the box. All but `inside` "
        "need both sides.",
    ] = "inside"
    gravity: Annotated[
        Gravity | Point,
        either(one_of(Gravity), POINT),
        "The part that `cover` keeps: a side, a point of the upright original, the upload's own `focus`, what people "
        "look at (`attention`: faces, colours, contrasts), or the most detail (`entropy`).",
    ] = "center"
    crop: Annotated[
        Crop | None,
        CROP,
        "The part of the upright original that is used, before everything else: fractions of its sides, or pixels if "
        "any number is larger than 1.",
    ] = None
    trim: Annotated[
        float | None,
        number(0, 100),
        "Removes a border of one colour; the number is how much it may vary, in percent. 10 suits most images.",
    ] = None
    rotate: Annotated[Rotation, one_of(Rotation), "Degrees of rotation, clockwise."] = 0
    flip: Annotated[Flip | None, one_of(Flip), "Mirrors the rotated image: `h` left to right, `v` top to bottom."] = (
        None
    )
    padding: Annotated[
        float,
        either(number(0, 0.49), whole(1, 4095)),
        "Space around the image inside of its box, filled with `background`: pixels, or a fraction of the shorter side "
        "of the box.",
    ] = 0.0
    format: Annotated[OutputFormat, _FORMAT, "File format; `keep` is the format of the original."] = "jpeg"
    quality: Annotated[
        int | Automatic | None,
        either(whole(1, 100), one_of(Automatic)),
        "Quality of the encoder; by default that of the format. `auto` is the lowest that still looks like the "
        "original: see `IMGSVC_AUTO_QUALITY`.",
    ] = None
    background: Annotated[
        str | None,
        colour(),
        "Colour behind transparent pixels. Without it, transparency is kept where the format supports it and becomes "
        "white elsewhere.",
    ] = None
    enlarge: Annotated[bool, flag(), "Whether an original smaller than the box is enlarged."] = False
    blur: Annotated[float, number(0, 100), "Radius of a Gaussian blur in pixels of the result."] = 0.0
    sharpen: Annotated[float, number(0, 10), "Radius of the sharpening in pixels of the result."] = 0.0
    grayscale: Annotated[bool, flag(), "Whether colours are removed."] = False
    overlay: Annotated[
        Overlay | None,
        OVERLAY,
        "An image of the operator that is laid over the picture, such as a watermark.",
    ] = None
    strip: Annotated[
        bool,
        flag(),
        "Whether metadata is removed; `false` keeps the metadata that is safe to publish.",
    ] = True
    gamut: Annotated[
        Gamut,
        one_of(Gamut),
        "`srgb`: colours as every viewer shows them. `keep`: colours beyond sRGB are kept, and the file has a colour "
        "profile (not `gif` and `jxl`).",
    ] = "srgb"
    frames: Annotated[
        Frames,
        one_of(Frames),
        "The `first` frame of an animation, or `all` of them (`webp`, `gif` and `keep` only).",
    ] = "first"
    page: Annotated[
        int,
        _PAGE,
        "Which page of a TIFF or frame of an animation is used, counted from 0. If the file has fewer, its last "
        "one is used and the result has a warning.",
    ] = 0
    frame: Annotated[int, _PAGE, "The same as `page`."] = 0
    max_bytes: Annotated[
        int | None,
        whole(1, 2**31 - 1),
        "Largest size of the file: the quality is lowered until it fits. If none fits, the smallest file is kept and "
        "the result has a warning.",
    ] = None
    progressive: Annotated[
        bool | None,
        flag(),
        "Whether the file shows all of the image while it still loads (`jpeg`).",
    ] = None
    chroma: Annotated[
        Chroma,
        one_of(Chroma),
        "Resolution of the colours (`jpeg` and `avif`): `4:4:4` is all of it, `4:2:0` a quarter. `auto` is "
        "`4:4:4` for pictures of few colours, such as text and charts, and for a `jpeg` of quality 90 and more.",
    ] = "auto"
    lossless: Annotated[
        bool,
        flag(),
        "Whether every pixel is kept as it is (`webp` and `jxl`; `png` always does). `quality` then has no effect.",
    ] = False
    effort: Annotated[
        int | None,
        whole(0, 10),
        "From 0 (fast) to 10 (small): how long the encoder looks for a smaller file (not `gif`).",
    ] = None
    widths: Annotated[
        tuple[int, ...] | None,
        several(_SIDE, MAX_FILES, ascending=True),
        "Widths in pixels that are made instead of one: a responsive set. `width` and `height`, if they are given, are "
        "then the aspect ratio of the box.",
    ] = None
    formats: Annotated[
        tuple[OutputFormat, ...] | None,
        several(_FORMAT, len(get_args(FileFormat))),
        "File formats that are made instead of `format`: a responsive set.",
    ] = None


VARIANT_FIELDS: Mapping[str, VariantField] = {
    name: VariantField(*hint.__metadata__)
    for name, hint in get_type_hints(Variant, include_extras=True).items()
    if get_origin(hint) is Annotated
}
"""Every field of a variant but its name."""

DEFAULTS: Mapping[str, Any] = {item.name: item.default for item in fields(Variant) if item.name in VARIANT_FIELDS}


def variant_of(name: str, values: Mapping[str, Any]) -> Variant:
    """Returns the variant whose fields have these values, in their JSON form or as they are kept.

    For values that were allowed when they were written: one that is allowed no longer stays as it is.
    """
    kept: dict[str, Any] = {}
    for field, value in values.items():
        read = VARIANT_FIELDS[field].rule.read(value)
        kept[field] = value if read is None else read
    return Variant(name, **kept)


def json_form(value: Any) -> Any:
    """Returns a value in its JSON form: dataclasses as objects, tuples as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: json_form(getattr(value, item.name)) for item in fields(value)}
    return [json_form(item) for item in cast("tuple[Any, ...]", value)] if isinstance(value, tuple) else value


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest image that is accepted; checked against its header, before any pixel is decoded.

    `max_frames` and `max_animation_pixels` (of all frames together) apply if a variant asks for all frames;
    `frames_over` says whether a longer animation is refused or cut. `truncated` says whether a file that ends too early
    is accepted. `max_bytes` is the memory that an image with its variants may need. `auto_quality` is the score that a
    variant of automatic quality reaches, on the scale of SSIMULACRA2.
    """

    max_pixels: int
    max_side: int
    max_frames: int
    max_animation_pixels: int
    frames_over: OverFrames = "refuse"
    truncated: Truncated = "accept"
    max_bytes: int = 1 << 30
    auto_quality: float = 80.0


@dataclass(frozen=True, slots=True)
class Original:
    """The uploaded image: what its header says, width and height as after rotation by EXIF, and what else it tells."""

    width: int
    height: int
    format: str
    frames: int
    facts: Facts = NOT_KNOWN


@dataclass(frozen=True, slots=True)
class Placeholder:
    """Shown in place of an image until it is loaded: its ThumbHash (base64) and its main colour (`#rrggbb`)."""

    thumbhash: str
    color: str


@dataclass(frozen=True, slots=True)
class Rendition:
    """A file made of one original: which variant it is, its size in pixels, its format and its bytes.

    `quality` is what the encoder was given, None where the format has none. `fits` is False if the file is larger than
    its variant allows. `set_width` is the width of a file of a responsive set, which has several; None for others.
    """

    variant: str
    width: int
    height: int
    format: str
    data: bytes
    quality: int | None = None
    fits: bool = True
    set_width: int | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    """Everything that was made of an original. `warnings` are codes of problems.WARNINGS."""

    original: Original
    renditions: tuple[Rendition, ...]
    placeholder: Placeholder
    warnings: tuple[str, ...] = ()
