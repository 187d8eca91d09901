"""Presets: named sets of variants that an upload can ask for.

What a file or a client writes of a variant is read here, and refused by the field's name where it is wrong.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast, get_args

from imgsvc.domain.model import Fit, Frames, Gravity, OutputFormat, Variant

Preset = tuple[Variant, ...]
Presets = Mapping[str, Preset]

DEFAULT = "default"
CUSTOM = "custom"
"""Stands in for a preset's name where an upload brings variants of its own."""

PRESETS: Presets = {
    DEFAULT: (
        Variant("resized_compressed", width=1024, height=1024, quality=85),
        Variant("thumbnail", width=200, height=200, quality=85),
    ),
}
"""Those that are built in."""

MAX_VARIANTS = 10
MAX_SIDE = 8192
MAX_BLUR = 100
MAX_SHARPEN = 10
MAX_NUMBER = 65_535
"""The last page or frame that can be asked for."""

_PRESET_NAME = re.compile(r"[a-z0-9_-]{1,40}")
_VARIANT_NAME = re.compile(r"[a-z0-9_]{1,40}")
_HEX_COLOUR = re.compile(r"#(?:[0-9a-f]{3}){1,2}")
_CSS_COLOURS = {
    **{"aqua": "#00ffff", "black": "#000000", "blue": "#0000ff", "fuchsia": "#ff00ff"},
    **{"gray": "#808080", "green": "#008000", "lime": "#00ff00", "maroon": "#800000"},
    **{"navy": "#000080", "olive": "#808000", "purple": "#800080", "red": "#ff0000"},
    **{"silver": "#c0c0c0", "teal": "#008080", "white": "#ffffff", "yellow": "#ffff00"},
}
_NEED_BOTH_SIDES = {"cover", "contain", "fill"}
_CAN_MOVE = {"webp", "gif", "keep"}

# every field of a variant but its name, and its default
_DEFAULTS: dict[str, Any] = {
    item.name: None if item.default is MISSING else item.default for item in fields(Variant) if item.name != "name"
}


class PresetError(ValueError):
    """A preset is wrong. The message begins with where: `preset.variant.field`, or as much of it as there is."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a field may be: in words, and as JSON Schema. `read` gives a value as it is kept, or None for one that is
    not allowed.
    """

    allowed: str
    schema: Mapping[str, Any]
    read: Callable[[object], object]


def _whole(low: int, high: int) -> _Rule:
    def read(value: object) -> int | None:
        return value if type(value) is int and low <= value <= high else None  # True is an int, and no number

    schema = {"type": "integer", "minimum": low, "maximum": high}
    return _Rule(f"a whole number from {low} to {high}", schema, read)


def _number(low: float, high: float) -> _Rule:
    def read(value: object) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            return None
        return float(value)

    schema = {"type": "number", "minimum": low, "maximum": high}
    return _Rule(f"a number from {low:g} to {high:g}", schema, read)


def _one_of(literal: object) -> _Rule:
    options: tuple[str, ...] = get_args(literal)
    schema = {"type": "string", "enum": list(options)}
    return _Rule(f"one of {', '.join(options)}", schema, lambda value: value if value in options else None)


def _colour(value: object) -> str | None:
    """As `#rrggbb`."""
    if not isinstance(value, str):
        return None
    text = value.lower()
    if _HEX_COLOUR.fullmatch(text):
        return text if len(text) == 7 else "#" + "".join(digit * 2 for digit in text[1:])
    return _CSS_COLOURS.get(text)


_SIDE = _whole(1, MAX_SIDE)
_FLAG = _Rule("true or false", {"type": "boolean"}, lambda value: value if isinstance(value, bool) else None)
_COLOUR = _Rule(
    f"a colour: #rgb, #rrggbb or one of {', '.join(_CSS_COLOURS)}",
    {"type": "string", "pattern": f"^(#([0-9A-Fa-f]{{3}}){{1,2}}|{'|'.join(_CSS_COLOURS)})$"},
    _colour,
)
_RULES = {
    "width": _SIDE,
    "height": _SIDE,
    "fit": _one_of(Fit),
    "gravity": _one_of(Gravity),
    "format": _one_of(OutputFormat),
    "quality": _whole(1, 100),
    "background": _COLOUR,
    "enlarge": _FLAG,
    "blur": _number(0, MAX_BLUR),
    "sharpen": _number(0, MAX_SHARPEN),
    "grayscale": _FLAG,
    "strip": _FLAG,
    "frames": _one_of(Frames),
    "page": _whole(0, MAX_NUMBER),
    "frame": _whole(0, MAX_NUMBER),
}


def load(file: Path | None) -> Presets:
    """The presets that are built in, and those of a TOML file, which may have a `default` of its own.

    Each of its tables is a variant: `[preset.variant]`.

    Raises:
        PresetError: with one line that names the file, and what is wrong with it.
    """
    if file is None:
        return PRESETS
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise PresetError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise PresetError(f"{file} is no TOML: {error}") from error
    try:
        return {**PRESETS, **{name: _named(name, written) for name, written in tables.items()}}
    except PresetError as error:
        raise PresetError(f"{file}: {error}") from error


def read(where: str, written: object) -> Preset:
    """The preset that a mapping of names to variants stands for; `where` is what it is called in errors.

    A field that is None is the same as one that is left out.

    Raises:
        PresetError: it is not valid; the message names variant and field, and what is allowed.
    """
    if not isinstance(written, dict) or not 1 <= len(written) <= MAX_VARIANTS:
        raise PresetError(f"{where} must have 1 to {MAX_VARIANTS} variants, each with a name and fields of its own")
    return tuple(_variant(where, name, values) for name, values in cast("dict[str, object]", written).items())


def schema() -> dict[str, Any]:
    """What `read` takes, as JSON Schema (2020-12)."""
    given = {"type": "integer"}
    variant = {
        "type": "object",
        "properties": {name: _or_null(rule.schema) | {"default": _DEFAULTS[name]} for name, rule in _RULES.items()},
        "additionalProperties": False,
        "anyOf": [{"properties": {side: given}, "required": [side]} for side in ("width", "height")],
        "allOf": [
            {
                "if": {"properties": {"fit": {"enum": sorted(_NEED_BOTH_SIDES)}}, "required": ["fit"]},
                "then": {"properties": {"width": given, "height": given}, "required": ["width", "height"]},
            },
            {
                "if": {"properties": {"frames": {"const": "all"}}, "required": ["frames"]},
                "then": {"properties": {"format": {"enum": sorted(_CAN_MOVE)}}, "required": ["format"]},
            },
        ],
    }
    return {
        "type": "object",
        "propertyNames": {"pattern": f"^{_VARIANT_NAME.pattern}$"},
        "minProperties": 1,
        "maxProperties": MAX_VARIANTS,
        "additionalProperties": variant,
    }


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same, or null, which means the default."""
    nullable = dict(schema) | {"type": [schema["type"], "null"]}
    return nullable | {"enum": [*schema["enum"], None]} if "enum" in schema else nullable


def document(variant: Variant) -> dict[str, Any]:
    """All fields of a variant but its name, as `read` takes them."""
    return {name: getattr(variant, name) for name in _DEFAULTS}


def compact(preset: Preset) -> dict[str, dict[str, Any]]:
    """What is to be kept of a preset: of each variant the fields that are not as by default."""
    return {
        variant.name: {name: value for name, value in document(variant).items() if value != _DEFAULTS[name]}
        for variant in preset
    }


def expand(compacted: Mapping[str, Mapping[str, Any]]) -> Preset:
    """The preset that `compact` was given."""
    return tuple(Variant(name, **(_DEFAULTS | dict(values))) for name, values in compacted.items())


def _named(name: str, written: object) -> Preset:
    if not _PRESET_NAME.fullmatch(name):
        raise PresetError(f"{name} is no name for a preset: use 1 to 40 of a-z, 0-9, _ and -")
    if name == CUSTOM:
        raise PresetError(f"{name} is what an upload's own variants go by: give the preset another name")
    return read(name, written)


def _variant(where: str, name: str, written: object) -> Variant:
    path = f"{where}.{name[:80]}"
    if not _VARIANT_NAME.fullmatch(name):
        raise PresetError(f"{path} is no name for a variant: use 1 to 40 of a-z, 0-9 and _")
    if not isinstance(written, dict):
        raise PresetError(f"{path} must be a variant with fields of its own, such as width")
    given: dict[str, Any] = {
        field: _value(path, field, value)
        for field, value in cast("dict[str, object]", written).items()
        if value is not None or field not in _RULES
    }
    variant = Variant(name, **(_DEFAULTS | given))
    _check_together(path, variant)
    return variant


def _value(path: str, field: str, value: object) -> Any:
    if field not in _RULES:
        near = get_close_matches(field, _RULES, n=1, cutoff=0.7)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_RULES)}"
        raise PresetError(f"{path}.{field[:80]} is not a field of a variant ({hint})")
    rule = _RULES[field]
    kept = rule.read(value)
    if kept is None:
        raise PresetError(f"{path}.{field} must be {rule.allowed}")
    return kept


def _check_together(path: str, variant: Variant) -> None:
    """What no field shows by itself."""
    if variant.width is None and variant.height is None:
        raise PresetError(f"{path}.width must be given, or height, or both")
    missing = "width" if variant.width is None else "height" if variant.height is None else None
    if missing and variant.fit in _NEED_BOTH_SIDES:
        raise PresetError(f"{path}.{missing} must be given: fit {variant.fit} needs both width and height")
    if variant.frames == "all" and variant.format not in _CAN_MOVE:
        raise PresetError(f"{path}.frames can be all only where format is webp, gif or keep")
    if variant.page and variant.frame and variant.page != variant.frame:
        raise PresetError(f"{path}.frame must be the same as page where both are given: they are one number")
