"""The types of the domain: what is requested for an image, and its result.

Plain frozen dataclasses without behaviour, so that every room, the decoder's child too, can share them.
Dimensions are pixels, sizes bytes.
"""

from dataclasses import dataclass
from typing import Literal

Fit = Literal["inside", "cover", "contain", "fill"]
Gravity = Literal["center", "top", "bottom", "left", "right", "entropy"]
FileFormat = Literal["jpeg", "webp", "avif", "png", "gif"]
OutputFormat = Literal[FileFormat, "keep"]
Frames = Literal["first", "all"]
Isolation = Literal["image", "owner", "batch"]
OverFrames = Literal["refuse", "cut"]
Truncated = Literal["accept", "refuse"]


@dataclass(frozen=True, slots=True)
class Variant:
    """One output image: its box, how the original goes into it, and how it is encoded.

    At least one of `width` and `height` is set; the other one follows from the original's shape. `quality` None is
    the format's own default, `background` None transparent where the format can be, else white (as `#rrggbb`).
    `blur` and `sharpen` are Gaussian radii in pixels of the output. `page` and `frame` are two names of one number:
    which picture of a file with several of them, counted from 0.
    """

    name: str
    width: int | None
    height: int | None
    fit: Fit = "inside"
    gravity: Gravity = "center"
    format: OutputFormat = "jpeg"
    quality: int | None = None
    background: str | None = None
    enlarge: bool = False
    blur: float = 0.0
    sharpen: float = 0.0
    grayscale: bool = False
    strip: bool = True
    frames: Frames = "first"
    page: int = 0
    frame: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What an image may be at most; judged from its header, before any pixel is decoded.

    `max_frames` and `max_animation_pixels` (those of all frames together) hold where a variant asks for all frames;
    `frames_over` is whether a longer animation is refused or cut. `truncated` is whether a file is accepted that
    lacks its end. `max_bytes` is the memory that an image with its variants may take.
    """

    max_pixels: int
    max_side: int
    max_frames: int
    max_animation_pixels: int
    frames_over: OverFrames = "refuse"
    truncated: Truncated = "accept"
    max_bytes: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Original:
    """The uploaded image by its header, with its sides as an upright viewer sees them."""

    width: int
    height: int
    format: str
    frames: int


@dataclass(frozen=True, slots=True)
class Placeholder:
    """What stands in for an image until it is loaded: its ThumbHash (base64) and its main colour (`#rrggbb`)."""

    thumbhash: str
    color: str


@dataclass(frozen=True, slots=True)
class Rendition:
    """A variant made of one original: the encoded file, its format and its size in pixels."""

    variant: str
    width: int
    height: int
    format: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Rendered:
    """All that was made of an original. `warnings` are codes of problems.WARNINGS."""

    original: Original
    renditions: tuple[Rendition, ...]
    placeholder: Placeholder
    warnings: tuple[str, ...] = ()
