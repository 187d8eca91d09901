"""Presets: named sets of variants that an upload can ask for, built in or from a TOML file.

Variants that operators or clients write are validated here. Errors name the field and say what is allowed.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from imgsvc.domain.model import (
    DEFAULTS,
    MAX_FILES,
    MAX_SIDE,
    VARIANT_FIELDS,
    OutputFormat,
    Variant,
    json_form,
    variant_of,
)
from imgsvc.domain.overlays import OverlayError, Overlays
from imgsvc.domain.overlays import read as read_overlays
from imgsvc.domain.sets import largest_box, max_files, smallest_box

Preset = tuple[Variant, ...]
Presets = Mapping[str, Preset]

DEFAULT = "default"
CUSTOM = "custom"
"""The preset name of an upload that defines its own variants."""

PRESETS: Presets = {
    DEFAULT: (
        Variant("resized_compressed", width=1024, height=1024, quality=85),
        Variant("thumbnail", width=200, height=200, quality=85),
    ),
}
"""The built-in presets."""

OVERLAYS = "overlays"
"""The table of a presets file that names overlays; no preset can have this name."""

GATE = "gate"
"""The member of a preset's table that says whether its uploads pass the gate; no variant of it can have this name."""

MAX_VARIANTS = 10

_PRESET_NAME = re.compile(r"[a-z0-9_-]{1,40}")
_VARIANT_NAME = re.compile(r"[a-z0-9_]{1,40}")
_NEED_BOTH_SIDES = {"cover", "contain", "fill"}
_ANIMATED = {"webp", "gif", "keep"}
_FORMATS_OF: Mapping[str, tuple[OutputFormat, ...]] = {
    "progressive": ("jpeg", "keep"),
    "chroma": ("jpeg", "avif", "keep"),
    "lossless": ("webp", "png", "jxl", "keep"),
    "effort": ("jpeg", "webp", "avif", "png", "jxl", "keep"),
}
"""Fields that mean something in some formats only. What is kept may come in any, and a set in several: where they mean
nothing, they are ignored.
"""


class PresetError(ValueError):
    """A preset is invalid. The message begins with the place: `preset.variant.field`, or the known part of it."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What a service offers: its presets, and the overlays that variants may name. Those of the presets are pinned.

    `ungated` are the presets whose uploads the gate is not asked about.
    """

    presets: Presets
    overlays: Overlays
    ungated: frozenset[str] = frozenset()


BUILT_IN = Catalogue(PRESETS, {})


def load(file: Path | None) -> Catalogue:
    """Returns the built-in presets and those of a TOML file, which may replace `default`, and the file's overlays.

    Each table of the file is a variant, `[preset.variant]`, or an overlay, `[overlays.name]`; a preset may have
    `gate = false` beside its variants.

    Raises:
        PresetError: the file, or an overlay's, cannot be read or is invalid; the message is one line that names it.
    """
    if file is None:
        return BUILT_IN
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise PresetError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise PresetError(f"{file} is not TOML: {error}") from error
    try:
        images = read_overlays(OVERLAYS, tables.pop(OVERLAYS, {}), file.parent)
        ungated = frozenset(name for name, written in tables.items() if not _take_gate(name, written))
        presets = {name: pin(name, _named(name, written), images) for name, written in tables.items()}
    except (PresetError, OverlayError) as error:
        raise PresetError(f"{file}: {error}") from error
    return Catalogue({**PRESETS, **presets}, images, ungated)


def read(where: str, written: object) -> Preset:
    """Validates a mapping of names to variants; `where` is its name in errors.

    A field that is None counts as left out.

    Raises:
        PresetError: the mapping is invalid; the message names variant and field, and says what is allowed.
    """
    if not isinstance(written, dict) or not 1 <= len(written) <= MAX_VARIANTS:
        raise PresetError(f"{where} must have 1 to {MAX_VARIANTS} variants, each a name with a table of fields")
    preset = tuple(_variant(where, name, values) for name, values in cast("dict[str, object]", written).items())
    return check_files(where, preset)


def check_files(where: str, preset: Preset) -> Preset:
    """Returns the preset.

    Raises:
        PresetError: it makes too many files.
    """
    if (files := max_files(preset)) > MAX_FILES:
        most = max(preset, key=lambda variant: max_files((variant,)))
        raise PresetError(
            f"{where}.{most.name} must have fewer widths or formats: all variants together make {files} files, and at "
            f"most {MAX_FILES} are allowed"
        )
    return preset


def pin(where: str, preset: Preset, overlays: Overlays) -> Preset:
    """Returns the preset with the SHA-256 of the overlays that it names; `where` is its name in errors.

    Raises:
        PresetError: there is no such overlay, or it is not the one that the variant has pinned already.
    """
    return tuple(_pinned(f"{where}.{variant.name}.overlay", variant, overlays) for variant in preset)


def schema() -> dict[str, Any]:
    """Returns the JSON Schema (2020-12) of what `read` accepts."""
    width, height = (_has(side, {"type": "integer"}) for side in ("width", "height"))
    widths = _has("widths", {"type": "array"})
    animated = {"enum": sorted(_ANIMATED)}
    variant = {
        "type": "object",
        "properties": {
            name: _or_null(field.rule.schema) | {"default": json_form(DEFAULTS[name]), "description": field.words}
            for name, field in VARIANT_FIELDS.items()
        },
        "additionalProperties": False,
        "anyOf": [width, height, widths],
        "allOf": [
            {
                "if": {"properties": {"fit": {"enum": sorted(_NEED_BOTH_SIDES)}}, "required": ["fit"]},
                "then": {"allOf": [width, height]},
            },
            {"if": widths, "then": {"anyOf": [{"allOf": [width, height]}, {"not": {"anyOf": [width, height]}}]}},
            {
                "if": {"properties": {"frames": {"const": "all"}}, "required": ["frames"]},
                "then": {
                    "if": _HAS_FORMATS,
                    "then": {"properties": {"formats": {"items": animated}}},
                    "else": _has("format", animated),
                },
            },
            *(_only_in(formats, name) for name, formats in _FORMATS_OF.items()),
        ],
    }
    return {
        "type": "object",
        "propertyNames": {"pattern": f"^{_VARIANT_NAME.pattern}$"},
        "minProperties": 1,
        "maxProperties": MAX_VARIANTS,
        "additionalProperties": variant,
    }


def _only_in(formats: tuple[OutputFormat, ...], field: str) -> dict[str, Any]:
    """A field that may differ from its default in these formats only."""
    allowed = {"format": {"enum": [*formats, *((None,) if DEFAULTS["format"] in formats else ())]}}
    required = [] if DEFAULTS["format"] in formats else ["format"]
    differs = {"properties": {field: {"not": {"enum": [DEFAULTS[field], None]}}}, "required": [field]}
    of_set = {"properties": {"formats": {"contains": {"enum": formats}}}}
    of_one = {"properties": allowed, "required": required}
    return {"if": differs, "then": {"if": _HAS_FORMATS, "then": of_set, "else": of_one}}


def _has(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"properties": {name: schema}, "required": [name]}


_HAS_FORMATS = _has("formats", {"type": "array"})


def _pinned(path: str, variant: Variant, overlays: Overlays) -> Variant:
    if variant.overlay is None:
        return variant
    name, wanted = variant.overlay.name, variant.overlay.sha256
    if name not in overlays:
        known = f"the overlays are {', '.join(overlays)}" if overlays else "this service has none"
        raise PresetError(f"{path}.name: there is no overlay {name} ({known})")
    actual = overlays[name].sha256
    if wanted and wanted != actual:
        raise PresetError(f"{path}.sha256 is not that of {name}, which is {actual}")
    return replace(variant, overlay=replace(variant.overlay, sha256=actual))


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Adds null, which counts as left out."""
    if "anyOf" in schema:
        return {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    nullable = dict(schema) | {"type": [schema["type"], "null"]}
    return nullable | {"enum": [*schema["enum"], None]} if "enum" in schema else nullable


def document(variant: Variant) -> dict[str, Any]:
    """Returns all fields of a variant but its name, in the form that `read` accepts."""
    return {name: json_form(getattr(variant, name)) for name in VARIANT_FIELDS}


def compact(preset: Preset) -> dict[str, dict[str, Any]]:
    """Returns the form in which a record keeps a preset: the fields of each variant that differ from the defaults."""
    return {
        variant.name: {name: value for name, value in document(variant).items() if value != json_form(DEFAULTS[name])}
        for variant in preset
    }


def expand(compacted: Mapping[str, Mapping[str, Any]]) -> Preset:
    """Returns the preset that `compact` was given."""
    return tuple(variant_of(name, values) for name, values in compacted.items())


def _take_gate(name: str, written: object) -> bool:
    """Takes the preset's `gate` out of its table, so that only variants are left; those without it have one."""
    gate = cast("dict[str, object]", written).pop(GATE, True) if isinstance(written, dict) else True
    if not isinstance(gate, bool):
        raise PresetError(f"{name[:80]}.{GATE} must be true or false")
    return gate


def _named(name: str, written: object) -> Preset:
    if not _PRESET_NAME.fullmatch(name):
        raise PresetError(f"{name} is not a valid preset name: use 1 to 40 characters of a-z, 0-9, _ and -")
    if name == CUSTOM:
        raise PresetError(f"{name} is reserved for variants that an upload defines: choose another preset name")
    return read(name, written)


def _variant(where: str, name: str, written: object) -> Variant:
    path = f"{where}.{name[:80]}"
    if not _VARIANT_NAME.fullmatch(name):
        raise PresetError(f"{path} is not a valid variant name: use 1 to 40 characters of a-z, 0-9 and _")
    if not isinstance(written, dict):
        raise PresetError(f"{path} must be a variant with fields such as width")
    given: dict[str, Any] = {
        field: _value(path, field, value)
        for field, value in cast("dict[str, object]", written).items()
        if value is not None or field not in VARIANT_FIELDS
    }
    variant = Variant(name, **given)
    _check_together(path, variant)
    return variant


def _value(path: str, field: str, value: object) -> Any:
    if field not in VARIANT_FIELDS:
        similar = get_close_matches(field, VARIANT_FIELDS, n=1, cutoff=0.7)
        hint = f"did you mean {similar[0]}?" if similar else f"the fields are {', '.join(VARIANT_FIELDS)}"
        raise PresetError(f"{path}.{field[:80]} is not a field of a variant ({hint})")
    rule = VARIANT_FIELDS[field].rule
    kept = rule.read(value)
    if kept is None:
        raise PresetError(f"{path}.{field} must be {rule.allowed}")
    return kept


def _check_together(path: str, variant: Variant) -> None:
    """Checks the rules that involve several fields."""
    if variant.width is None and variant.height is None and variant.widths is None:
        raise PresetError(f"{path}.width must be given, or height, or both, or widths")
    missing = "width" if variant.width is None else "height" if variant.height is None else None
    if missing and variant.fit in _NEED_BOTH_SIDES:
        raise PresetError(f"{path}.{missing} must be given: fit {variant.fit} needs both width and height")
    if missing and variant.widths and (variant.width or variant.height):
        raise PresetError(f"{path}.{missing} must be given: with widths, width and height are an aspect ratio")
    largest = largest_box(variant)[1] or 0
    if largest > MAX_SIDE:
        raise PresetError(f"{path}.widths must not make the box higher than {MAX_SIDE} pixels, and {largest} is")
    if variant.frames == "all" and not _ANIMATED.issuperset(variant.formats or (variant.format,)):
        raise PresetError(f"{path}.frames can be all only if format is webp, gif or keep")
    for field, formats in _FORMATS_OF.items():
        made = variant.formats or (variant.format,)
        if getattr(variant, field) != DEFAULTS[field] and set(made).isdisjoint(formats):
            raise PresetError(f"{path}.{field} can be given only if format is {' or '.join(formats)}")
    if variant.page and variant.frame and variant.page != variant.frame:
        raise PresetError(f"{path}.frame must equal page if both are given: they mean the same number")
    _check_geometry(path, variant)


def _check_geometry(path: str, variant: Variant) -> None:
    if variant.crop is not None and variant.crop.is_outside:
        raise PresetError(f"{path}.crop must cover some of the image: this one lies outside of it")
    if 2 * variant.padding >= min(side for side in smallest_box(variant) if side):
        raise PresetError(f"{path}.padding must be less than half of the box's width and height")
