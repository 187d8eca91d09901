"""Files that end too early: decoded as far as they go, and how much they lack."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from PIL import Image, ImageChops, ImageFile

from imgsvc.imaging import jpeg

MOST_LACKING = 0.45
"""The share of an image's pixels that may be missing: half a picture is a failed upload, not a flaw."""

Open = Callable[[bytes], ImageFile.ImageFile]

_GREY = 128  # what libjpeg fills a picture with whose file has ended
_CORNER = 4
_LIBHEIF_MEMORY = "Memory allocation error"
_FILLER = b"\x5a\xa6" * 64  # codes of some blocks, in whatever code the file has


@contextmanager
def _lenient() -> Generator[None]:
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def as_far_as_it_goes(file: bytes, reopen: Open) -> tuple[ImageFile.ImageFile, float]:
    """The decoded image, blank where nothing of it came, and the share of its pixels that is missing.

    Decoded on a dark ground and on a light one, what is missing is where the two differ.
    """
    dark, light = (_on(reopen(file), level) for level in (0, 255))
    differing = ImageChops.difference(_first_band(dark), _first_band(light)).histogram()[0]
    return dark, 1 - differing / (dark.im.size[0] * dark.im.size[1])


def jpeg_as_far_as_it_goes(file: bytes, reopen: Open) -> tuple[ImageFile.ImageFile, float]:
    """The same of a JPEG: what is missing is grey, as browsers have it.

    Decoded with something after its end and without, what is missing begins where the two differ. A file of several
    scans shows all of the picture once it has begun the second one.
    """
    cut = jpeg.until_its_end(file)
    image, other = (reopen(cut + more + jpeg.END) for more in (b"", _FILLER))
    image.load()
    if jpeg.parse(file).scans > 1:
        return image, 0.0
    other.load()
    differing = ImageChops.difference(image, other).getbbox(alpha_only=False)
    return image, 1 - differing[1] / image.height if differing else 0.0


def looks_cut(image: Image.Image) -> bool:
    """Whether a JPEG's last corner is the very grey of a file that has ended; a look that costs nothing."""
    if image.mode not in {"L", "RGB"}:
        return False
    width, height = image.size
    corner = image.crop((max(0, width - _CORNER), max(0, height - _CORNER), width, height))
    return all(low == high == _GREY for low, high in _extrema(corner))


def _extrema(image: Image.Image) -> list[tuple[float, float]]:
    return [band.getextrema() for band in image.split()]  # pyright: ignore[reportReturnType] (of one band)


def _on(image: ImageFile.ImageFile, level: int) -> ImageFile.ImageFile:
    size = getattr(image, "_tile_size", image.size)
    ground = level if len(image.getbands()) == 1 else (level,) * len(image.getbands())
    image.im = Image.core.fill(image.mode, size, ground)
    with _lenient():
        try:
            image.load()
        except (OSError, ValueError, SyntaxError, EOFError):
            image.tile = []  # what came before it has been decoded
    return image


def _first_band(image: Image.Image) -> Image.Image:
    if image.mode == "P":
        return Image.frombytes("L", image.size, image.tobytes())
    return image if image.mode in {"1", "L"} else image.getchannel(0).convert("L")


def is_of_memory(error: Exception) -> bool:
    """Whether it is a failed malloc, as Pillow's codecs and libheif report one, and no damage at all.

    libheif calls it the same where a file claims more than its own fixed limits allow, which is the file's doing.
    """
    text = str(error)
    return "out of memory" in text or (text.startswith(_LIBHEIF_MEMORY) and "Security limit" not in text)
