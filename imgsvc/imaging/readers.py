"""How a file of each format is opened: one function a format, in a table, and what they have in common.

Nothing here trusts the file: its size is held against the limits before a decoder sees it, and pixels are decoded only
when they are asked for.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO

from PIL import BmpImagePlugin, Image, ImageFile, JpegImagePlugin, TiffImagePlugin

from imgsvc.domain.model import Limits
from imgsvc.domain.problems import JobError
from imgsvc.imaging import damage, gif, icc, isobmff, jpeg, jxl, png, spaces, tiff, webp
from imgsvc.imaging.film import Shot, composed
from imgsvc.imaging.geometry import Size

OUR_FAULT = (JobError, MemoryError, ImportError)
"""What is raised as it is; everything else that a decoder raises is the file's doing."""

PACKET = "imgsvc:xmp"
"""Where an image's `info` has its XMP, if any: not where Pillow looks for it."""

Notes = set[str]
"""Codes of problems.WARNINGS."""

Film = Callable[[], Generator[tuple[Image.Image, int]]]
"""Gives each frame, and its duration in milliseconds."""

_RGB_OF_FULL_RANGE = (0, 1)  # what a cICP chunk must have as matrix and range to be valid
_GREY_MODES = frozenset({"1", "L", "LA", "I;16", "I;16B", "I", "F"})


@dataclass(slots=True)
class Opened:
    """A file whose header is read. `size` is as it is stored, before it is turned; `plays` of 0 is for ever.

    `load` decodes the still picture. An animation has a `film`, and no still picture of its own.
    `levels` are black and white of more than 8 bits, where they are known.
    """

    image: ImageFile.ImageFile
    size: Size
    load: Callable[[], Image.Image]
    transparent: bool
    profile: bytes | None = None
    notes: Notes = field(default_factory=Notes)
    levels: tuple[float, float] | None = None
    film: Film | None = None
    frames: int = 1
    plays: int = 1


def check_size(size: Size, limits: Limits) -> None:
    """Hold an image's size against the limits.

    Raises:
        JobError: image_too_large.
    """
    width, height = size
    if width * height > limits.max_pixels or max(size) > limits.max_side:
        raise JobError("image_too_large")


def _pillow(fmt: str, data: bytes) -> ImageFile.ImageFile:
    image = Image.open(BytesIO(data), formats=[fmt])
    # browsers turn a picture by its EXIF alone; Pillow would look for an orientation in the XMP too
    image.info[PACKET] = image.info.pop("xmp", None)
    return image


@dataclass(frozen=True, slots=True)
class _Still:
    """A picture that is decoded whole, or as far as it goes where that is allowed."""

    file: bytes
    reopen: damage.Open
    limits: Limits
    notes: Notes
    is_jpeg: bool = False

    def load(self, image: ImageFile.ImageFile, *, suspect: bool = False) -> ImageFile.ImageFile:
        """Decodes `image`, as it was opened; one that is `suspect` may have ended early without an error."""
        try:
            image.load()
        except OUR_FAULT:
            raise
        except Exception as error:
            if damage.is_of_memory(error):
                raise MemoryError from error
            return self._rest(error)
        if suspect or (self.is_jpeg and damage.looks_cut(image)):
            return self._rest(None) if self.limits.truncated == "refuse" or self._lacks() else image
        return image

    def _lacks(self) -> bool:
        return self._as_far()[1] > 0

    def _as_far(self) -> tuple[ImageFile.ImageFile, float]:
        decode = damage.jpeg_as_far_as_it_goes if self.is_jpeg else damage.as_far_as_it_goes
        return decode(self.file, self.reopen)

    def _rest(self, error: Exception | None) -> ImageFile.ImageFile:
        image, lacking = self._as_far()
        if error is None and not lacking:
            return image
        if lacking > damage.MOST_LACKING or self.limits.truncated == "refuse":
            raise JobError("decode_failed") from error
        self.notes.add("truncated")
        return image


class _Jpeg(JpegImagePlugin.JpegImageFile):
    def _read_dpi_from_exif(self) -> None:
        """Nobody asks for it, and Pillow would take the whole EXIF apart to find it."""


def _first_jpeg(data: bytes) -> JpegImagePlugin.JpegImageFile:
    """The first picture of a file that may have more of them: gain maps, previews, the other eye's view."""
    image = _Jpeg(BytesIO(data))
    image.info[PACKET] = image.info.pop("xmp", None)  # as in `_pillow`
    return image


def _open_jpeg(data: bytes, limits: Limits) -> Opened:
    try:
        image = _first_jpeg(data)
    except OUR_FAULT:
        raise
    except Exception:  # a segment that no browser minds; if it was not that, this one raises again
        data = jpeg.repaired(data)
        image = _first_jpeg(data)
    notes, size = Notes(), image.size

    def reopen(file: bytes) -> ImageFile.ImageFile:
        again = _first_jpeg(file)
        if image.size != size:  # it has been drafted
            again.draft(None, image.size)
        return again

    still = _Still(data, reopen, limits, notes, is_jpeg=True)
    return Opened(image, size, lambda: still.load(image), False, image.info.get("icc_profile"), notes)


def _open_png(data: bytes, limits: Limits) -> Opened:
    parsed = png.parse(data)
    check_size(parsed.size, limits)
    file, notes = parsed.still(), Notes()
    image = _pillow("PNG", file)
    image.info.setdefault("exif", b"")  # Pillow would decode all pixels to look for tags behind them
    open_ = partial(_pillow, "PNG")

    def decoded(file: bytes) -> Image.Image:
        pixels = _Still(file, open_, limits, notes).load(open_(file))
        return png.with_16_bit_key(parsed, file, pixels) if parsed.keyed_16_bit else pixels

    image.info[PACKET] = parsed.xmp
    opened = Opened(image, parsed.size, lambda: decoded(file), parsed.transparent, notes=notes)
    opened.profile = _png_profile(parsed, notes, grey=image.mode in _GREY_MODES)
    if parsed.plays is not None and parsed.frames:
        shots = parsed.shots()

        def decode(shot: Shot) -> Image.Image:
            pixels = decoded(shot.file())
            return pixels if pixels.mode in {"RGB", "RGBA"} else pixels.convert("RGBA" if parsed.transparent else "RGB")

        covers = shots[0].size == parsed.size and not any(shot.clear for shot in shots)
        opaque = covers and not parsed.transparent
        opened.film = lambda: composed(parsed.size, shots, decode, opaque=opaque)
        opened.frames, opened.plays, opened.transparent = len(shots), parsed.plays, not opaque
    return opened


def _png_profile(parsed: png.Png, notes: Notes, *, grey: bool) -> bytes | None:
    """By the precedence of PNG's third edition: cICP, iCCP, sRGB, and then gAMA with cHRM."""
    space = None
    if parsed.code_points is not None and parsed.code_points[2:] == _RGB_OF_FULL_RANGE:
        space = spaces.of_code_points(parsed.code_points[0], parsed.code_points[1], grey=grey)
    elif parsed.profile is not None:
        profile = png.unpacked_profile(parsed.profile)
        if profile is None:
            notes.add("profile_dropped")
        return profile
    elif not parsed.is_srgb and (parsed.gamma is not None or parsed.chromaticities is not None):
        space = spaces.of_gamma(parsed.gamma, parsed.chromaticities, grey=grey)
    if space is not None and not space.exact:
        notes.add("colour_assumed")
    return space.profile if space else None


def _open_gif(data: bytes, limits: Limits) -> Opened:
    parsed = gif.parse(data)
    check_size(parsed.size, limits)
    shots, notes = parsed.shots(), Notes()
    open_ = partial(_pillow, "GIF")
    last = shots[-1]

    def decode(shot: Shot) -> Image.Image:
        check_size(shot.size, limits)
        file = shot.file()
        pixels = _Still(file, open_, limits, notes).load(open_(file), suspect=shot is last and not parsed.whole)
        return gif.coloured(pixels, shot.key)

    def film() -> Generator[tuple[Image.Image, int]]:
        return composed(parsed.size, shots, decode, opaque=parsed.opaque)

    def first() -> Image.Image:
        return next(film())[0]

    image = open_(shots[0].file())
    return Opened(image, parsed.size, first, not parsed.opaque, None, notes, None, film, len(shots), parsed.plays)


def _open_webp(data: bytes, limits: Limits) -> Opened:
    image = _pillow("WEBP", webp.with_clear_canvas(data))
    opened = _of(image)
    opened.profile = image.info.get("icc_profile")
    if opened.frames > 1:
        opened.film = lambda: _sought(image, opened.frames, limits, _same)
        opened.plays = int(image.info.get("loop") or 0)
    return opened


def _open_isobmff(fmt: str, data: bytes, limits: Limits) -> Opened:
    image = _pillow(fmt, data)
    properties = isobmff.facts(data)
    opened = _of(image)
    if fmt == "HEIF":  # further pictures are no film: bursts, and what a picture is made of
        opened.frames = 1
    opened.profile = image.info.get("icc_profile")
    if opened.profile is None and properties.code_points is not None:
        space = spaces.of_video(*properties.code_points, grey=image.mode in _GREY_MODES)
        if space is not None:
            opened.profile = space.profile
            if not space.exact:
                opened.notes.add("colour_assumed")
    crop = _same
    if properties.aperture is not None and fmt == "AVIF":
        box = properties.aperture
        opened.size = box[2] - box[0], box[3] - box[1]

        def crop(pixels: Image.Image) -> Image.Image:
            return pixels.crop(box)

        whole = opened.load
        opened.load = lambda: crop(whole())
    if opened.frames > 1:
        opened.film = lambda: _sought(image, opened.frames, limits, crop)
        opened.plays = 0  # libavif does not say
    return opened


def _open_jxl(data: bytes, limits: Limits) -> Opened:
    image, notes = jxl.opened(data), Notes()
    if image.header.clipped:
        notes.add("colour_assumed")
    opened = Opened(image, image.size, lambda: image, image.has_transparency_data, notes=notes)

    def load() -> Image.Image:
        image.load()
        opened.profile = image.info.get("icc_profile")
        opened.levels = (0.0, 1.0) if image.mode == "F" else None
        points = icc.code_points(opened.profile) if opened.profile else None
        space = spaces.of_code_points(*points, grey=image.mode in _GREY_MODES) if points else None
        if space is not None and not space.exact:  # more light than white, which the profile itself squeezes otherwise
            opened.profile = space.profile
            notes.add("colour_assumed")
        return image

    opened.load = load
    return opened


def _open_tiff(data: bytes, limits: Limits) -> Opened:
    if tiff.is_raw(data):
        raise JobError("unsupported_format")

    image, notes = _or_unsupported(data), Notes()
    levels = tiff.levels(image)
    profile = image.info.get("icc_profile")

    def load() -> Image.Image:
        pixels = _Still(data, _tiff, limits, notes).load(image)
        if tiff.is_wrapped(pixels):
            raise JobError("unsupported_format")
        return tiff.lab_to_rgb(pixels) if pixels.mode == "LAB" else pixels

    transparent = image.has_transparency_data
    return Opened(image, image.size, load, transparent, None if image.mode == "LAB" else profile, notes, levels)


def _or_unsupported(data: bytes) -> TiffImagePlugin.TiffImageFile:
    """A TIFF, unless its pixels are of a kind that nobody here can read."""
    try:
        image = _tiff(data)
    except OUR_FAULT:
        raise
    except Exception as error:
        if tiff.has_pixels(data):
            raise JobError("unsupported_format") from error
        raise
    if not tiff.can_be_read(image):
        raise JobError("unsupported_format")
    return image


def _tiff(data: bytes) -> TiffImagePlugin.TiffImageFile:
    with tiff.read_by_libtiff(data):
        image = _pillow("TIFF", data)
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    tiff.mend(image)
    return image


def _open_bmp(data: bytes, limits: Limits) -> Opened:
    open_ = partial(_pillow, "BMP")
    image, notes = open_(data), Notes()
    assert isinstance(image, BmpImagePlugin.BmpImageFile)
    still = _Still(data, open_, limits, notes)
    return Opened(image, image.size, lambda: still.load(image), image.has_transparency_data, notes=notes)


def _of(image: ImageFile.ImageFile) -> Opened:
    def load() -> Image.Image:
        image.load()
        return image

    frames = int(getattr(image, "n_frames", 1))
    return Opened(image, image.size, load, image.has_transparency_data, frames=frames)


def _same(pixels: Image.Image) -> Image.Image:
    return pixels.copy()  # the next frame is decoded into the same image


def _sought(
    image: ImageFile.ImageFile, frames: int, limits: Limits, change: Callable[[Image.Image], Image.Image]
) -> Generator[tuple[Image.Image, int]]:
    for number in range(frames):
        image.seek(number)
        check_size(image.size, limits)
        image.load()
        yield change(image), round(image.info.get("duration", 0))


OPENERS: dict[str, Callable[[bytes, Limits], Opened]] = {
    "jpeg": _open_jpeg,
    "png": _open_png,
    "gif": _open_gif,
    "webp": _open_webp,
    "avif": partial(_open_isobmff, "AVIF"),
    "heif": partial(_open_isobmff, "HEIF"),
    "jxl": _open_jxl,
    "tiff": _open_tiff,
    "bmp": _open_bmp,
}
"""By the names of formats.FORMATS. They raise whatever Pillow raises on bad bytes, and JobError."""
