"""Rules for values that clients and operators write: what is allowed, as words, as JSON Schema and as a function."""

import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import MISSING, dataclass, fields
from typing import Any, cast, get_args

_HEX_COLOUR = re.compile(r"#(?:[0-9a-f]{3}){1,2}")
_CSS_COLOURS = {
    **{"aqua": "#00ffff", "black": "#000000", "blue": "#0000ff", "fuchsia": "#ff00ff"},
    **{"gray": "#808080", "green": "#008000", "lime": "#00ff00", "maroon": "#800000"},
    **{"navy": "#000080", "olive": "#808000", "purple": "#800080", "red": "#ff0000"},
    **{"silver": "#c0c0c0", "teal": "#008080", "white": "#ffffff", "yellow": "#ffff00"},
}


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value may be. `allowed` completes "must be …"; `read` returns the value to keep, or None if it is not
    allowed.
    """

    allowed: str
    schema: Mapping[str, Any]
    read: Callable[[object], object]


def whole(low: int, high: int, unit: str = "") -> Rule:
    """A whole number; `unit` is its unit in the plural, if it needs one in messages."""

    def read(value: object) -> int | None:
        return value if type(value) is int and low <= value <= high else None  # True is an int, but no number

    of_unit = f" of {unit}" if unit else ""
    schema = {"type": "integer", "minimum": low, "maximum": high}
    return Rule(f"a whole number{of_unit} from {low} to {high}", schema, read)


def number(low: float, high: float) -> Rule:
    """A number, kept as a float."""

    def read(value: object) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            return None
        return float(value)

    schema = {"type": "number", "minimum": low, "maximum": high}
    return Rule(f"a number from {low:g} to {high:g}", schema, read)


def one_of(literal: object, *, extras: Mapping[str, str] | None = None, lacking: Set[str] = frozenset()) -> Rule:
    """One of the strings or of the whole numbers of a `Literal` type.

    Some need an extra of this package, which messages name; those that are `lacking` here are not allowed.
    """
    choices: Sequence[str | int] = get_args(literal)
    kind = type(choices[0])
    schema = {"type": "integer" if kind is int else "string", "enum": list(choices)}

    def read(value: object) -> object:
        is_one = type(value) is kind and value in choices  # False equals 0, but is no number
        return value if is_one and value not in lacking else None

    needed = extras or {}
    named = [f"{each} (with the extra `{needed[each]}`)" if each in needed else str(each) for each in choices]
    listed = ", ".join(named)
    allowed = f"one of {listed}" if len(choices) > 1 else listed
    return Rule(allowed, schema, read)


def flag() -> Rule:
    """A boolean."""
    return Rule("true or false", {"type": "boolean"}, lambda value: value if isinstance(value, bool) else None)


def matching(pattern: re.Pattern[str], what: str) -> Rule:
    """A string that a pattern matches as a whole."""

    def read(value: object) -> str | None:
        return value if isinstance(value, str) and pattern.fullmatch(value) else None

    return Rule(what, {"type": "string", "pattern": f"^{pattern.pattern}$"}, read)


def either(*rules: Rule) -> Rule:
    """What one of `rules` allows; the first that does keeps it."""

    def read(value: object) -> object:
        return next((kept for rule in rules if (kept := rule.read(value)) is not None), None)

    return Rule(", or ".join(rule.allowed for rule in rules), {"anyOf": [rule.schema for rule in rules]}, read)


def record(kind: type[Any], rules: Mapping[str, Rule]) -> Rule:
    """An object, kept as the dataclass `kind`; `rules` are those of its fields, of which only those with a default may
    be left out. Its JSON form is that of the dataclass.
    """
    required = [item.name for item in fields(kind) if item.default is MISSING]

    def read(value: object) -> object:
        if not isinstance(value, dict):
            return None
        given = cast("dict[str, object]", value)
        if not rules.keys() >= given.keys() >= set(required):
            return None
        kept = {name: rules[name].read(written) for name, written in given.items()}
        return None if None in kept.values() else kind(**kept)

    def described(name: str) -> str:
        return f"{name} ({'' if name in required else 'optional; '}{rules[name].allowed})"

    schema = {
        "type": "object",
        "properties": {name: rule.schema for name, rule in rules.items()},
        "required": required,
        "additionalProperties": False,
    }
    return Rule(f"an object with {', '.join(map(described, rules))}", schema, read)


def several(rule: Rule, most: int, *, ascending: bool = False) -> Rule:
    """A list of 1 to `most` different values, kept as a tuple, in ascending order if so asked."""

    def read(value: object) -> tuple[Any, ...] | None:
        if not isinstance(value, list | tuple) or not 1 <= len(cast("list[object]", value)) <= most:
            return None
        kept: tuple[Any, ...] = tuple(rule.read(item) for item in cast("list[object]", value))
        if None in kept or len(set(kept)) < len(kept):
            return None
        return tuple(sorted(kept)) if ascending else kept

    schema = {"type": "array", "items": rule.schema, "minItems": 1, "maxItems": most, "uniqueItems": True}
    return Rule(f"a list of 1 to {most} different values, each {rule.allowed}", schema, read)


def colour() -> Rule:
    """A colour, kept as `#rrggbb`."""
    names = "|".join(_CSS_COLOURS)
    schema = {"type": "string", "pattern": f"^(#([0-9A-Fa-f]{{3}}){{1,2}}|{names})$"}
    return Rule(f"a colour: #rgb, #rrggbb or one of {', '.join(_CSS_COLOURS)}", schema, _rrggbb)


def _rrggbb(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    text = value.lower()
    if _HEX_COLOUR.fullmatch(text):
        return text if len(text) == 7 else "#" + "".join(digit * 2 for digit in text[1:])
    return _CSS_COLOURS.get(text)
