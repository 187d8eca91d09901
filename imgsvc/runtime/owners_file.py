"""The owners file, as an operator writes it: TOML, one table an owner.

    [shop]
    keys = ["…", "…"]            # or key_sha256, which nobody can use who reads the file
    weight = 4                   # four of its jobs for each one of an owner of weight 1
    max_running = 8
    rate_limit = 600             # uploads and retries a minute; 0 for any number
    quota_bytes = 50_000_000_000 # a day; 0 for any number
    presets = ["shop", "default"]
    webhook_secret = ["whsec_…", "whsec_…"]  # the newest first
    admin = true

A file is right as a whole or refused as a whole, with everything that is wrong in it; no message repeats a secret.
"""

import os
import re
import stat
import tomllib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from pydantic import SecretStr

from imgsvc.domain.rules import Rule, flag, matching, number, several, whole
from imgsvc.runtime import checks
from imgsvc.runtime.api_keys import KEY, KEY_RULE, NAME, NAME_RULE, key_hash

MAX_BYTES = 4 * 1024 * 1024
MAX_PROBLEMS = 20
"""As many are reported at once."""

_MAX_INTEGER = 10**15 - 1  # of a structured field (RFC 9651), in which the limits are sent
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")
_RULES: dict[str, Rule] = {
    "weight": number(0.01, 1000),
    "max_running": whole(0, 100_000, "jobs"),
    "rate_limit": whole(0, _MAX_INTEGER, "uploads and retries a minute"),
    "quota_bytes": whole(0, _MAX_INTEGER, "bytes a day"),
    "presets": several(matching(re.compile(r"[a-z0-9_-]{1,40}"), "the name of a preset"), 1000),
    "admin": flag(),
}
_FIELDS = ("keys", "key_sha256", *_RULES, "webhook_secret")


class OwnersFileError(Exception):
    """The file cannot be read, or `problems` are in it, a line each. `is_passing` where reading it again may help."""

    def __init__(self, *problems: str, is_passing: bool = False) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
        self.is_passing = is_passing


@dataclass(frozen=True, slots=True)
class Owner:
    """What an owner may do. `max_running` 0 means any number; limits that are None are the settings', and 0 is none.

    `presets` are those that uploads may have, None for all of them and for variants of their own. `webhook_secrets`
    are what webhooks are signed with, the newest first, and empty for the service's own.
    """

    name: str
    weight: float = 1.0
    max_running: int = 0
    rate_limit: int | None = None
    quota_bytes: int | None = None
    presets: frozenset[str] | None = None
    webhook_secrets: tuple[bytes, ...] = field(default=(), repr=False)
    admin: bool = False


@dataclass(slots=True)
class OwnersFile:
    """What a file has: owners by name, and the names of owners by their keys' SHA-256.

    `plain_key` is the first key that stands in it as it is. `is_exposed` where keys or secrets do, and every user of
    this machine may read them.
    """

    owners: dict[str, Owner] = field(default_factory=dict[str, Owner])
    hashes: dict[bytes, str] = field(default_factory=dict[bytes, str])
    plain_key: str | None = field(default=None, repr=False)
    is_exposed: bool = False


def read(file: Path, presets: Collection[str] | None = None, least_quota: int = 0) -> OwnersFile:
    """Reads and checks a file.

    Args:
        presets: the presets that there are; None where that is not known.
        least_quota: the least that `quota_bytes` may be where it is not 0.

    Raises:
        OwnersFileError: it cannot be read, or something in it is wrong.
    """
    text, is_open_to_all = _text(file)
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "its values are nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise OwnersFileError(f"not TOML: {reason}") from None
    if not tables:
        raise OwnersFileError("it has no owner: write a table for one, such as [shop], or unset the setting")
    reader = _Reader(presets, least_quota)
    for name, written in tables.items():
        reader.read(name, written)
    if reader.problems:
        more = len(reader.problems) - MAX_PROBLEMS
        raise OwnersFileError(*reader.problems[:MAX_PROBLEMS], *([f"and {more} more"] if more > 0 else []))
    reader.found.is_exposed = is_open_to_all and reader.has_secrets
    return reader.found


class _Reader:
    """Reads owners one by one, and notes what is wrong."""

    def __init__(self, presets: Collection[str] | None, least_quota: int) -> None:
        self.found = OwnersFile()
        self.problems: list[str] = []
        self.has_secrets = False
        self._presets = presets
        self._least_quota = least_quota
        self._secrets: dict[bytes, str] = {}

    def read(self, name: str, written: object) -> None:
        if not NAME.fullmatch(name):
            self.problems.append(f"{name[:80]!r} must be an owner's name of {NAME_RULE}")
            return
        if not isinstance(written, dict):
            self.problems.append(f"{name} must be a table of fields, such as [{name}]")
            return
        fields = cast("dict[str, object]", written)
        values: dict[str, Any] = {}
        for given, value in fields.items():
            path = f"{name}.{given}"
            if given not in _FIELDS:
                similar = get_close_matches(given[:80], _FIELDS, n=1)
                hint = f"did you mean {similar[0]}?" if similar else f"they are {', '.join(_FIELDS)}"
                shown = given if NAME.fullmatch(given) else repr(given[:80])
                self.problems.append(f"{name}.{shown} is no field of an owner ({hint})")
            elif given in _RULES:
                values[given] = self._by_rule(path, _RULES[given], value)
        self._read_keys(f"{name}.keys", name, fields.get("keys"), _plain_hash)
        self._read_keys(f"{name}.key_sha256", name, fields.get("key_sha256"), _written_hash)
        secrets = self._read_secrets(f"{name}.webhook_secret", name, fields.get("webhook_secret"))
        if None not in values.values():
            self._check(name, values)
            presets = frozenset(values.pop("presets")) if "presets" in values else None
            self.found.owners[name] = Owner(name, **values, presets=presets, webhook_secrets=secrets)

    def _by_rule(self, path: str, rule: Rule, value: object) -> object:
        kept = rule.read(value)
        if kept is None:
            self.problems.append(f"{path} must be {rule.allowed}")
        return kept

    def _check(self, name: str, values: dict[str, Any]) -> None:
        """Checks what depends on the service's settings."""
        if self._presets is not None:
            for preset in values.get("presets", ()):
                if preset not in self._presets:
                    known = ", ".join(self._presets)
                    self.problems.append(f"{name}.presets: there is no preset {preset} (the presets are {known})")
        if 0 < values.get("quota_bytes", 0) < self._least_quota:
            self.problems.append(
                f"{name}.quota_bytes must be 0 or at least {self._least_quota}, which one upload may have"
            )

    def _read_keys(self, path: str, name: str, written: object, hash_of: Callable[[str], bytes]) -> None:
        for place, text in self._texts(path, written):
            try:
                digest = hash_of(text)
            except ValueError as error:
                self.problems.append(f"{place} {error}")
                continue
            holder = self.found.hashes.setdefault(digest, "")
            if holder:
                clash = "there twice" if holder == name else f"also one of {holder}"
                self.problems.append(f"{place} is {clash}: give each owner keys of its own, each once")
            self.found.hashes[digest] = holder or name
            if hash_of is _plain_hash:
                self.has_secrets = True
                self.found.plain_key = self.found.plain_key or text

    def _read_secrets(self, path: str, name: str, written: object) -> tuple[bytes, ...]:
        secrets: list[bytes] = []
        for place, text in self._texts(path, written):
            self.has_secrets = True
            try:
                secret = checks.webhook_key(SecretStr(text))
            except ValueError as error:
                self.problems.append(f"{place} {error}")
                continue
            if holder := self._secrets.get(secret):
                clash = "there twice" if holder == name else f"also that of {holder}, who could sign for {name}"
                self.problems.append(f"{place} is {clash}: give each owner secrets of its own, each once")
            self._secrets.setdefault(secret, name)
            secrets.append(secret)
        return tuple(secrets)

    def _texts(self, path: str, written: object) -> list[tuple[str, str]]:
        """The strings of a string or of a list of them, each with its place."""
        if written is None:
            return []
        if isinstance(written, str):
            return [(path, written)]
        items = cast("list[object]", written) if isinstance(written, list) else []
        texts = [(f"{path}[{number}]", item) for number, item in enumerate(items, 1) if isinstance(item, str)]
        if not items or len(texts) < len(items):
            self.problems.append(f"{path} must be a string, or a list of one or more strings")
        return texts


def _plain_hash(text: str) -> bytes:
    if not KEY.fullmatch(text):
        raise ValueError(f"must be {KEY_RULE}")
    return key_hash(text)


def _written_hash(text: str) -> bytes:
    if not _SHA256.fullmatch(text):
        raise ValueError('must be 64 hexadecimal digits, as `printf %s "$key" | sha256sum` writes them')
    return bytes.fromhex(text)


def _text(file: Path) -> tuple[str, bool]:
    """The text of a file, and whether every user may read it."""
    try:
        # what is no file may have no end, or keep us waiting for one
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise OwnersFileError("it is not a file")
            with os.fdopen(descriptor, "rb", closefd=False) as opened:
                data = opened.read(MAX_BYTES + 1)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OwnersFileError(f"cannot be read: {error.strerror}", is_passing=True) from None
    if len(data) > MAX_BYTES:
        raise OwnersFileError(f"it is longer than {MAX_BYTES} bytes")
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, len(data)):
        raise OwnersFileError("it is being written: move a new file into its place instead", is_passing=True)
    try:
        return data.decode("utf-8-sig"), bool(before.st_mode & stat.S_IROTH)
    except UnicodeDecodeError:
        raise OwnersFileError("it is not text in UTF-8") from None
