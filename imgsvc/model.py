"""The words of the domain: what is asked of an image, and what comes of it.

Plain frozen dataclasses without behaviour, so that every room, the decoder's child too, can share them.
Dimensions are pixels, sizes bytes.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Variant:
    """One output image: the box that it fits inside, and how it is encoded."""

    name: str
    width: int
    height: int
    format: str = "jpeg"
    quality: int = 85


@dataclass(frozen=True, slots=True)
class Limits:
    """What an image may be at most; judged from its header, before any pixel is decoded."""

    max_pixels: int
    max_side: int
    max_frames: int


@dataclass(frozen=True, slots=True)
class Original:
    """The uploaded image as its header tells, with its sides as an upright viewer sees them."""

    width: int
    height: int
    format: str
    frames: int


@dataclass(frozen=True, slots=True)
class Rendition:
    """A variant made of one original: the encoded file and its size in pixels."""

    variant: str
    width: int
    height: int
    format: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Rendered:
    original: Original
    renditions: tuple[Rendition, ...]
