"""Where settings come from: `IMGSVC_*` variables, and for secrets the files that `IMGSVC_*_FILE` name.

An empty variable counts as unset. The variables that Kubernetes and Docker set in every container for a Service or link
that happens to be called `imgsvc…` are ignored: the operator has not written them.
"""

import difflib
import os
import re
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PREFIX = "IMGSVC_"
MAX_SECRET_BYTES = 64 * 1024

_FILE = "_FILE"

RENAMED = {
    "IMGSVC_DECODING_BYTES": "IMGSVC_TOTAL_DECODER_MEMORY_BYTES",
    "IMGSVC_FILES_TTL": "IMGSVC_FILES_TTL_S",
    "IMGSVC_MAX_UPLOADS_BYTES": "IMGSVC_UPLOAD_MEMORY_BYTES",
    "IMGSVC_RECORD_TTL": "IMGSVC_RECORD_TTL_S",
    "IMGSVC_RESERVATION_TTL": "IMGSVC_RESERVATION_TTL_S",
    "IMGSVC_SIGNED_URL_TTL": "IMGSVC_SIGNED_URL_TTL_S",
    "IMGSVC_TOMBSTONE_TTL": "IMGSVC_TOMBSTONE_TTL_S",
}
"""Names before 0.1.0. The one most like an old name may be another setting, so they are listed."""

# kubernetes/pkg/kubelet/envvars/envvars.go: of a Service `imgsvc` or `imgsvc-api`, whatever its ports are called
_SERVICE = re.compile(
    r"IMGSVC(?:_[A-Z0-9_]+)?_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_[A-Z]+)?)"
)
_PORT = re.compile(r"IMGSVC(?:_[A-Z0-9_]+)?_PORT")
_PORT_URL = re.compile(r"(?:tcp|udp|sctp)://\S+")
# Docker's legacy links, besides the same ports: the link's name, and the environment of the linked container
_LINK = re.compile(r"IMGSVC(?:_[A-Z0-9_]+)?_(?:NAME|ENV_.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Found:
    """The values of some settings in the environment, and what is wrong with the rest of it."""

    values: Mapping[str, str] = field(default_factory=dict[str, str])
    origins: Mapping[str, str] = field(default_factory=dict[str, str])
    """The variable that each value came from, and the file, where it was in one."""

    problems: tuple[str, ...] = ()


def is_set(setting: str) -> bool:
    """Whether a setting that may be a secret has a value, without looking at it."""
    name = PREFIX + setting.upper()
    return not {name, name + _FILE}.isdisjoint(_variables())


def read(settings: Collection[str], secrets: Collection[str], known: Collection[str]) -> Found:
    """Read the variables of `settings`; those that are among `secrets` may be in files.

    Args:
        settings: names of fields, in lower case.
        secrets: as `settings`; of all that is known.
        known: the names of all fields there are, so that a variable that is none of them is named.
    """
    variables = _variables()
    names = {PREFIX + setting.upper() for setting in known} | {f"{PREFIX}{name.upper()}{_FILE}" for name in secrets}
    problems = [_unknown(name, names) for name in os.environ if _is_misspelt(name, names)]
    values: dict[str, str] = {}
    origins: dict[str, str] = {}
    for setting in settings:
        name = PREFIX + setting.upper()
        path = variables.get(name + _FILE) if setting in secrets else None
        if path is None:
            origins[setting] = name
            if name in variables:
                values[setting] = variables[name]
            continue
        origins[setting] = f"{name}{_FILE} ({path})"
        if name in variables:
            problems.append(f"{name} and {name}{_FILE} are both set: unset one of them")
            continue
        try:
            values[setting] = _secret(Path(path))
        except ValueError as error:
            problems.append(f"{name}{_FILE}: {error}")
    return Found(values, origins, tuple(problems))


def without(settings: Collection[str]) -> dict[str, str]:
    """This process's environment without `settings`, for a child that is to have others."""
    names = {PREFIX + setting.upper() + suffix for setting in settings for suffix in ("", _FILE)}
    return {name: value for name, value in os.environ.items() if name not in names}


def _variables() -> dict[str, str]:
    """Our variables that are not empty. White space round a value is left from pasting."""
    return {
        name: value.strip()
        for name, value in os.environ.items()
        if name.startswith(PREFIX) and value.strip() and not _is_of_others(name, value)
    }


def _is_of_others(name: str, value: str) -> bool:
    return bool(
        _SERVICE.fullmatch(name) or _LINK.fullmatch(name) or (_PORT.fullmatch(name) and _PORT_URL.fullmatch(value))
    )


def _is_misspelt(name: str, names: Collection[str]) -> bool:
    if name.startswith(PREFIX):
        return name not in names and not _is_of_others(name, os.environ[name])
    return name.upper() in names


def _unknown(name: str, names: Collection[str]) -> str:
    if name in RENAMED:
        return f"{name} is now called {RENAMED[name]}"
    near = difflib.get_close_matches(name.upper(), names, n=1)
    return f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else "")


def _secret(path: Path) -> str:
    """The text of a file without what surrounds it.

    Raises:
        ValueError: the message names what is wrong with the file, and nothing of its content.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # what is no file may have no end, or keep us waiting for one
            raise ValueError(f"{path} is not a file")
        with path.open("rb") as file:
            data = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_SECRET_BYTES:
        raise ValueError(f"{path} is longer than {MAX_SECRET_BYTES} bytes, so it holds no secret")
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8") from None
    if not text:
        raise ValueError(f"{path} is empty")
    if not text.isprintable():
        raise ValueError(f"{path} must hold one line of printable characters; several API keys are separated by commas")
    return text
