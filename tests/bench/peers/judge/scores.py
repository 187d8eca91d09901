# pyright: basic, reportMissingImports=false
# (numpy and ssimulacra2 are installed by the benchmark, beside the project)
"""`python scores.py <folder>`: how near results are to the best that their size allows, by SSIMULACRA2.

Each line of stdin is a JSON list of a result's path and its original's; each line of stdout is a score, in that order.
100 is the same as the best; differences of 2 can be seen. The best is a LANCZOS resize of all of the original's pixels
in linear light, with colours premultiplied, in sRGB; it is made once for each original and size, and kept in `folder`.
"""

import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
from PIL import Image, ImageCms, ImageOps
from ssimulacra2 import compute_ssimulacra2

SRGB = ImageCms.createProfile("sRGB")
BACKGROUNDS = ("white", "black")


def score(result: str, source: str, folder: Path) -> float:
    """Of transparent pictures the worse of those on white and on black."""
    with Image.open(result) as made:
        best = folder / f"{Path(source).parent.name}-{Path(source).stem}-{made.width}x{made.height}.png"
        if not best.exists():
            unfinished = best.with_suffix(f".{os.getpid()}")  # others may be at it too
            reference(source, made.size).save(unfinished, "PNG", compress_level=1)
            unfinished.rename(best)
        with Image.open(best) as wanted:
            backgrounds = BACKGROUNDS if made.has_transparency_data else BACKGROUNDS[:1]
            return min(compared(on(made, background), on(wanted, background)) for background in backgrounds)


def reference(source: str, size: tuple[int, int]) -> Image.Image:
    pixels = upright(source)
    bands = [np.asarray(band, dtype=np.float32) / 255 for band in pixels.split()]
    alpha = bands.pop() if pixels.mode == "RGBA" else np.ones_like(bands[0])
    shown = resized(alpha, size)
    layers = [from_light(resized(to_light(band) * alpha, size) / np.maximum(shown, 1e-4)) for band in bands]
    if pixels.mode == "RGBA":
        layers.append(shown)
    levels = [np.round(np.clip(layer, 0, 1) * 255).astype(np.uint8) for layer in layers]
    return Image.fromarray(np.stack(levels, axis=2))


def compared(made: Image.Image, wanted: Image.Image) -> float:
    with NamedTemporaryFile(suffix=".png") as one, NamedTemporaryFile(suffix=".png") as other:
        for picture, file in ((wanted, one), (made, other)):
            picture.save(file, "PNG", compress_level=0)
            file.flush()
        return float(compute_ssimulacra2(one.name, other.name))


def upright(source: str) -> Image.Image:
    """RGB or RGBA in sRGB."""
    with Image.open(source) as image:
        image.load()
        profile = image.info.get("icc_profile")
        picture = ImageOps.exif_transpose(image).copy()
    if picture.mode not in {"RGB", "RGBA"}:
        return picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    if profile:
        ImageCms.profileToProfile(picture, ImageCms.ImageCmsProfile(BytesIO(profile)), SRGB, inPlace=True)
    return picture


def on(picture: Image.Image, background: str) -> Image.Image:
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, background), layer).convert("RGB")


def resized(band: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(band).resize(size, Image.Resampling.LANCZOS))


def to_light(level: np.ndarray) -> np.ndarray:
    return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4).astype(np.float32)


def from_light(light: np.ndarray) -> np.ndarray:
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def main() -> None:
    Image.MAX_IMAGE_PIXELS = None
    results, sources = zip(*(json.loads(line) for line in sys.stdin), strict=True)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for value in pool.map(score, results, sources, [Path(sys.argv[1])] * len(results)):
            print(value)


if __name__ == "__main__":
    main()
