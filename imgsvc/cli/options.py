"""The options of an upload as arguments of a command: one for each row of domain/options.py."""

import argparse
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from imgsvc.domain.options import EXCLUSIVE, OPTIONS, Option


def add_options(
    command: argparse.ArgumentParser, names: Iterable[str] = OPTIONS, exclusive_names: Collection[str] = EXCLUSIVE
) -> None:
    """Adds an argument for each option; its value is in the form in which a JSON body has it, or None."""
    exclusive = command.add_mutually_exclusive_group()
    for name in names:
        option = OPTIONS[name]
        (exclusive if name in exclusive_names else command).add_argument(
            f"--{name.replace('_', '-')}",
            type=_reader(option),
            action=_Merge if option.is_string_map else "store",
            metavar="KEY=VALUE" if option.is_string_map else option.metavar,
            help=_help(option),
        )


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the options that were given, by name."""
    return {name: value for name in OPTIONS if (value := getattr(args, name, None)) is not None}


def _reader(option: Option) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if option.is_object:
            text = _json_text(option, text)
        try:
            text.encode()
            option.read(text)
        except UnicodeEncodeError:
            raise argparse.ArgumentTypeError("must be UTF-8") from None
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text if option.is_text else orjson.loads(text)

    return read


def _json_text(option: Option, text: str) -> str:
    if text.startswith("@"):
        try:
            return Path(text[1:]).read_text("utf-8")
        except (OSError, ValueError) as error:
            raise argparse.ArgumentTypeError(f"cannot read the file {text[1:]}: {error}") from None
    key, equals, value = text.partition("=")
    if not option.is_string_map or text.startswith("{"):
        return text
    if not key or not equals:
        raise argparse.ArgumentTypeError("must be KEY=VALUE, a JSON object, or @FILE that holds one")
    try:
        return orjson.dumps({key: value}).decode()
    except TypeError:  # bytes of the command line that are not UTF-8
        raise argparse.ArgumentTypeError("must be UTF-8") from None


class _Merge(argparse.Action):
    """Collects the members of several objects into one."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        assert isinstance(values, dict)
        merged = getattr(namespace, self.dest) or {}
        if repeated := merged.keys() & values.keys():
            raise argparse.ArgumentError(self, f"{min(repeated)!r} is given twice")
        merged |= values
        try:
            OPTIONS[self.dest].read(orjson.dumps(merged).decode())
        except ValueError as error:
            raise argparse.ArgumentError(self, str(error)) from None
        setattr(namespace, self.dest, merged)


def _help(option: Option) -> str:
    words = option.words.rstrip(".").replace("`", "").replace("%", "%%")
    if words[1].islower():
        words = words[0].lower() + words[1:]
    if option.is_string_map:
        return f"{words}; repeat it, or give JSON or @FILE"
    return f"{words}; @FILE reads the JSON from a file" if option.is_object else words
