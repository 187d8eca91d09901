"""Settings as the environment has them, and what is wrong with it in the operator's words."""

from collections.abc import Mapping
from typing import TypeVar, get_args

from pydantic import BaseModel, SecretStr, ValidationError

from imgsvc.runtime import environment
from imgsvc.runtime.client_settings import ClientSettings
from imgsvc.runtime.environment import PREFIX
from imgsvc.runtime.local_settings import SettingsError
from imgsvc.runtime.settings import Settings

S = TypeVar("S", bound=BaseModel)

_FIELDS = Settings.model_fields | ClientSettings.model_fields
_SECRETS = {
    "redis_url",  # it has the password in it
    *(name for name, field in _FIELDS.items() if SecretStr in {field.annotation, *get_args(field.annotation)}),
}
"""Each of these may be in a file instead, as Docker and Kubernetes hand secrets on."""

_TYPES = {
    "int_parsing": "must be a whole number, such as 8; bytes and seconds have no unit",
    "float_parsing": "must be a number, such as 2.5; seconds have no unit",
    "bool_parsing": "must be 1 or 0",
    "too_short": "has too few characters; `openssl rand -hex 32` writes enough",
}
"""Instead of pydantic's words, by the type of its error."""


def load(kind: type[S], **given: str) -> S:
    """Read `kind` from the environment; what is `given` comes before it.

    Raises:
        SettingsError: with one line for each setting that is unknown, missing or wrong.
    """
    found = environment.read(kind.model_fields.keys() - given.keys(), _SECRETS, _FIELDS)
    problems = list(found.problems)
    try:
        settings = kind(**{**found.values, **given})  # pyright: ignore[reportArgumentType] (it validates them)
    except ValidationError as error:
        problems += [_explain(kind, found.origins, item["loc"], item["type"], item["msg"]) for item in error.errors()]
        raise SettingsError("\n".join(problems)) from None  # the error's own text has what was given in it
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _explain(
    kind: type[BaseModel], origins: Mapping[str, str], loc: tuple[int | str, ...], type_: str, message: str
) -> str:
    if not loc:  # a rule between fields, whose message names them
        return message.removeprefix("Value error, ")
    field = str(loc[0])
    if type_ == "missing":
        return f"{PREFIX}{field.upper()} is not set: {kind.model_fields[field].description}"
    message = _TYPES.get(type_) or message.removeprefix("Value error, ").replace("Input should", "must")
    return f"{origins.get(field, PREFIX + field.upper())} is wrong: {message}"
