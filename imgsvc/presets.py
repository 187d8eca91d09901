"""Presets: named sets of variants that an upload can ask for."""

from collections.abc import Mapping

from imgsvc.model import Variant

Preset = tuple[Variant, ...]

DEFAULT = "default"

PRESETS: Mapping[str, Preset] = {
    DEFAULT: (
        Variant("resized_compressed", width=1024, height=1024, quality=85),
        Variant("thumbnail", width=200, height=200, quality=85),
    ),
}
