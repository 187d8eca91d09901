"""The options of an upload, one row each: forms, queries, JSON bodies, records, OpenAPI and the command line use them.

An option is text in a form, in a query and on the command line, and text in a record; `Option` converts both.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, get_args, get_type_hints

import orjson

from imgsvc.domain.addresses import MAX_URL_BYTES
from imgsvc.domain.filenames import FALLBACK, safe_filename
from imgsvc.domain.json_input import parse
from imgsvc.domain.model import POINT, Point
from imgsvc.domain.presets import DEFAULT, PRESETS, Preset, PresetError, compact, expand, read, schema
from imgsvc.domain.problems import CodedError
from imgsvc.domain.rules import Rule, flag, whole

MAX_VARIANTS_BYTES = 8192
MAX_METADATA_BYTES = 4096

_MAX_EXPIRES_IN_S = 10 * 366 * 86_400

Priority = Literal["high", "normal", "low"]


class OptionError(CodedError):
    """An option has a value that is not allowed; `detail` says which and what is."""


@dataclass(frozen=True, slots=True)
class Option:
    """What an option means, and how it is written.

    `metavar` stands for its value in help texts. `read` makes a value of text, or raises a ValueError that completes
    "'name' …" (a PresetError names its place itself), which is refused with `code`. `pack` and `unpack` convert it to
    and from the text in a record, in the field `column` if that has another name.
    """

    words: str
    metavar: str
    schema: Mapping[str, Any]
    read: Callable[[str], Any]
    pack: Callable[[Any], str]
    unpack: Callable[[str], Any]
    code: str = "invalid_field"
    column: str = ""

    @property
    def is_text(self) -> bool:
        return self.schema["type"] == "string"

    @property
    def is_object(self) -> bool:
        return self.schema["type"] == "object"

    @property
    def is_string_map(self) -> bool:
        return self.schema.get("additionalProperties") == {"type": "string"}


def _text(
    words: str,
    metavar: str,
    read: Callable[[str], str] = str,
    *,
    code: str = "invalid_field",
    column: str = "",
    **schema: Any,
) -> Option:
    return Option(words, metavar, {"type": "string", **schema}, read, str, str, code, column)


def _value(rule: Rule, words: str, metavar: str) -> Option:
    def read(text: str) -> object:
        try:
            value = rule.read(parse(text)) if text == text.strip() else None
        except ValueError:
            value = None
        if value is None:
            raise ValueError(f"must be {rule.allowed}")
        return value

    return Option(words, metavar, rule.schema, read, _dumps, orjson.loads)


def _record(rule: Rule, words: str, metavar: str) -> Option:
    """An object that is kept as a dataclass; see rules.record."""

    def unpack(text: str) -> object:
        return rule.read(orjson.loads(text))

    return replace(_value(rule, words, metavar), unpack=unpack)


def _dumps(value: object) -> str:
    return orjson.dumps(value).decode()


def _read_json(text: str, max_bytes: int) -> object:
    if len(text.encode()) > max_bytes:
        raise ValueError(f"is longer than {max_bytes} bytes")
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from None


def _read_priority(text: str) -> str:
    if text not in get_args(Priority):
        raise ValueError(f"must be one of {', '.join(get_args(Priority))}")
    return text


def _read_variants(text: str) -> Preset:
    return read("variants", _read_json(text, MAX_VARIANTS_BYTES))


def _read_metadata(text: str) -> object:
    value = _read_json(text, MAX_METADATA_BYTES)
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ValueError("must be a JSON object whose values are strings")
    return value


@dataclass(frozen=True, slots=True)
class Options:
    """What an upload asks for besides its file.

    `variants` are what is made, even if the preset that `preset` names changes later. `expires_in` None keeps the
    upload until it is deleted.
    """

    preset: Annotated[
        str, _text("Name of the preset to make; `GET /presets` lists them.", "NAME", code="invalid_preset")
    ] = DEFAULT
    variants: Annotated[
        Preset,
        Option(
            f"Variants to make instead of a preset's, by name, at most {MAX_VARIANTS_BYTES} bytes of JSON.",
            "JSON",
            schema(),
            _read_variants,
            lambda preset: _dumps(compact(preset)),
            lambda text: expand(orjson.loads(text)),
            code="invalid_variants",
        ),
    ] = PRESETS[DEFAULT]
    metadata: Annotated[
        dict[str, str],
        Option(
            f"Strings that the status returns unchanged, at most {MAX_METADATA_BYTES} bytes of JSON.",
            "JSON",
            {"type": "object", "additionalProperties": {"type": "string"}},
            _read_metadata,
            _dumps,
            orjson.loads,
        ),
    ] = field(default_factory=dict[str, str])
    expires_in: Annotated[
        int | None,
        _value(
            whole(1, _MAX_EXPIRES_IN_S, "seconds"), "Seconds until the upload and its files are deleted.", "SECONDS"
        ),
    ] = None
    webhook_url: Annotated[
        str | None,
        _text(
            "URL that the service calls when the job has ended.",
            "URL",
            code="invalid_webhook_url",
            column="webhook",
            format="uri",
            minLength=1,
            maxLength=MAX_URL_BYTES,
        ),
    ] = None
    focus: Annotated[
        Point | None,
        _record(
            POINT,
            "The point that crops with gravity `focus` keep, in fractions of the upright image: "
            '`{"x": 0.31, "y": 0.4}`.',
            "JSON",
        ),
    ] = None
    keep_location: Annotated[
        bool,
        _value(
            flag(),
            "Whether the result, and variants with `strip` false, tell where it was taken.",
            "BOOL",
        ),
    ] = False
    priority: Annotated[
        Priority,
        _text(
            "Which of an owner's jobs come first: `high`, `normal` or `low`.",
            "PRIORITY",
            _read_priority,
            enum=list(get_args(Priority)),
        ),
    ] = "normal"
    filename: Annotated[
        str, _text("Name of the file; by default its own, or the last part of its URL.", "NAME", safe_filename)
    ] = FALLBACK

    @property
    def focused_variants(self) -> Preset:
        """The variants, with the upload's own focus where they ask for it; without one, they are as they were."""
        if self.focus is None:
            return self.variants
        return tuple(
            replace(variant, gravity=self.focus) if variant.gravity == "focus" else variant for variant in self.variants
        )


OPTIONS: Mapping[str, Option] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(Options, include_extras=True).items()
}

FORM_FIELDS = OPTIONS.keys() - {"filename"}
"""The options that are fields of a form, whose file part carries the file's name."""

EXCLUSIVE = ("preset", "variants")
"""Options of which an upload may have one only."""


def read_options(texts: Mapping[str, str]) -> dict[str, Any]:
    """Returns the values of the options that `texts` has, by name.

    Raises:
        OptionError: a value is not allowed.
    """
    if all(name in texts for name in EXCLUSIVE):
        raise OptionError("invalid_variants", "Send either 'preset' or 'variants', not both.")
    return {name: _read(name, texts[name]) for name in OPTIONS if name in texts}


def _read(name: str, text: str) -> Any:
    option = OPTIONS[name]
    try:
        return option.read(text)
    except PresetError as error:
        raise OptionError(option.code, f"{error}.") from None
    except ValueError as error:
        raise OptionError(option.code, f"{name!r} {error}.") from None


def pack(options: Options) -> dict[str, str]:
    """Returns the fields of a record that keep `options`; those that are None or false are left out."""
    values = {name: getattr(options, name) for name in OPTIONS}
    return {
        OPTIONS[name].column or name: OPTIONS[name].pack(value)
        for name, value in values.items()
        if value not in (None, False)
    }


def changes_of(options: Options, wanted: Options) -> dict[str, str | None]:
    """Returns the fields of a record in which `wanted` differs from `options`; None for those that it lacks."""
    before, after = pack(options), pack(wanted)
    return {name: after.get(name) for name in before | after if before.get(name) != after.get(name)}


def unpack(row: Mapping[str, str]) -> Options:
    """Returns the options that a record keeps; those that it lacks have their defaults."""
    columns = {name: option.column or name for name, option in OPTIONS.items()}
    return Options(**{name: OPTIONS[name].unpack(row[column]) for name, column in columns.items() if column in row})
