"""`python -m tests.bench.runner ours|pillow`: renders what it is asked for on stdin, and tells what that cost.

Requests and replies are lines of JSON; `peers/pixels.mjs` speaks them too, for sharp:

    {"path": "<a source>", "out": "<a folder>", "count": 10, "variants": [{"name": "large", "width": 1024, …}]}
    {"cpu_ms": 37.1, "files": ["<one a variant, of the last round>"]} or {"error": "…"}

CPU is that of this process, user and system, all threads, divided by `count`. Reading the file and writing the
results are not counted.
"""

import json
import resource
import sys
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import AvifImagePlugin, Image

from imgsvc.domain.model import Limits, Variant
from imgsvc.imaging.render import render
from imgsvc.imaging.warmup import warm_up

Render = Callable[[bytes, Sequence[Variant]], list[bytes]]

LIMITS = Limits(max_pixels=50_000_000, max_side=16_384, max_frames=300, max_animation_pixels=200_000_000)


def ours(source: bytes, variants: Sequence[Variant]) -> list[bytes]:
    rendered = render(source, variants, LIMITS, lambda _step, _done, _total: None, lambda _bytes: None)
    return [rendition.data for rendition in rendered.renditions]


def pillow(source: bytes, variants: Sequence[Variant]) -> list[bytes]:
    """As it is usually written: decode all of it once, and make each variant from the full size with LANCZOS."""
    image = Image.open(BytesIO(source))
    image.load()
    return [_usual(image, variant) for variant in variants]


def _usual(image: Image.Image, variant: Variant) -> bytes:
    assert variant.width
    assert variant.height
    frames = [image]
    if variant.frames == "all":
        frames = [_frame(image, at) for at in range(getattr(image, "n_frames", 1))]
    scale = min(variant.width / image.width, variant.height / image.height, 1.0)
    size = round(image.width * scale), round(image.height * scale)
    first, *rest = (_for(variant.format, frame).resize(size, Image.Resampling.LANCZOS) for frame in frames)
    options: dict[str, object] = {"quality": variant.quality} if variant.quality else {}
    if rest:
        durations = image.info.get("duration", 0)
        options |= {"save_all": True, "append_images": rest, "duration": durations, "loop": image.info.get("loop", 0)}
    file = BytesIO()
    first.save(file, variant.format.upper(), **options)
    return file.getvalue()


def _frame(image: Image.Image, at: int) -> Image.Image:
    image.seek(at)
    return image.convert("RGBA")


def _for(fmt: str, image: Image.Image) -> Image.Image:
    if fmt != "jpeg":
        return image
    return image if image.mode in {"L", "RGB"} else image.convert("RGB")


def own_cpu_s() -> float:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime


def measure(contender: Render, request: dict[str, Any]) -> dict[str, Any]:
    source = Path(request["path"]).read_bytes()
    variants = [Variant(**variant) for variant in request["variants"]]
    results: list[bytes] = []
    begin = own_cpu_s()
    for _ in range(request["count"]):
        results = contender(source, variants)
    spent = own_cpu_s() - begin
    files = [Path(request["out"], f"{variant.name}.{variant.format}") for variant in variants]
    for file, result in zip(files, results, strict=True):
        file.write_bytes(result)
    return {"cpu_ms": spent / request["count"] * 1000, "files": [str(file) for file in files]}


def main() -> None:
    contender = {"ours": ours, "pillow": pillow}[sys.argv[1]]
    if contender is ours:
        warm_up()
    Image.MAX_IMAGE_PIXELS = LIMITS.max_pixels
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # as sharp, which is told so too
    for line in sys.stdin:
        try:
            reply = measure(contender, json.loads(line))
        except Exception as error:  # a case that one contender cannot do is a cell of the table
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
