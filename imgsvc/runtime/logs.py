"""The log of a process on standard error: text for a person at a terminal, JSON lines for machines.

A line has a message, its own fields (`extra=fields(status=202)`), and the ids of what it is about, which `bind` gives
to all lines of a task and of those that it starts. No line can break the code that logs it: one that cannot be
written is lost, one that cannot be formatted is replaced.
"""

import json
import logging
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import orjson
from pydantic import SecretStr

from imgsvc.runtime.local_settings import LocalSettings
from imgsvc.runtime.settings import Settings

_FIELDS = "fields"
_NOTHING: Mapping[str, object] = {}
_bound: ContextVar[Mapping[str, object]] = ContextVar("bound", default=_NOTHING)

_PRIVATE = frozenset({"filename", "path"})
"""Fields that hold what clients call their files."""

_TOLD_BY_US = ("arq", "aiobotocore", "botocore", "aioboto3", "boto3", "uvicorn")
_LEAST_SECRET = 8
# What is kept, and what is not. None of these takes a quote or a backslash away, so that JSON stays JSON.
_SECRETS = (
    r"""(://)([^\s/@"'\\]+)(?=@)""",
    r"""((?<![\w-])(?:sig|[\w-]*(?:signature|credential|token|secret|password|key))=)([^&\s"'\\]+)""",
    r"""(authorization[^\w\s]{0,3}[:=,]\s*b?[^\w\s]{0,3})([^"'\\\n]+)""",
    r"""(bearer )([\w.~+/=-]+)""",
    r"""(whsec_)([\w+/=-]+)""",
    r"""(iut1\.)([\w.-]+)""",
)
_STORED_NAME = r"""(processed/[0-9a-f-]{36}/)([^\s"'\\?]+)"""
_MARKS = (
    *("://", "sig=", "signature=", "credential=", "token=", "secret=", "password=", "key="),
    *("authorization", "bearer ", "whsec_", "iut1.", "processed/"),
)
"""One of them is in any line in which the patterns find something; to look for them takes a tenth of the time."""


def bind(**ids: object) -> None:
    """What this task's lines are about from now on, and those of the tasks that it starts."""
    _bound.set({**_bound.get(), **ids})


def clear() -> None:
    """Forgets what this task inherited from the one that started it."""
    _bound.set(_NOTHING)


def bound(name: str) -> object:
    """The value that `bind` gave `name`, or None."""
    return _bound.get().get(name)


def fields(**values: object) -> dict[str, object]:
    """A line's own fields, as logging's `extra` takes them."""
    return {_FIELDS: values}


def set_up(settings: LocalSettings) -> None:
    """Sends every line of this process to standard error, those of its libraries too."""
    handler = _Handler(sys.stderr)
    as_text = sys.stderr.isatty() if settings.log_format == "auto" else settings.log_format == "text"
    formatter = Text if as_text else Json
    handler.setFormatter(formatter(show_names=settings.log_filenames, secrets=_secrets(settings)))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    # what these log at info level, our own lines have already
    for name in _TOLD_BY_US:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    # nothing here shows them, and each line would look them up
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


class _Handler(logging.StreamHandler[Any]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Standard error is closed or full: there is nowhere left to report it."""


class _Formatter(logging.Formatter, ABC):
    def __init__(self, *, show_names: bool = False, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._hidden = frozenset[str]() if show_names else _PRIVATE
        known = {form for secret in secrets for form in (secret, json.dumps(secret)[1:-1])}
        patterns = [*_SECRETS, *(f"()({re.escape(form)})" for form in known), *([] if show_names else [_STORED_NAME])]
        self._marks = (*_MARKS, *map(str.lower, known))
        self._unfit = re.compile("|".join(patterns), re.IGNORECASE)

    def format(self, record: logging.LogRecord) -> str:
        try:
            return self._fit(self.line(record))
        except Exception as error:  # whatever was handed to the line, its sender must not pay for it
            return self._fit(self.line(_instead_of(record, error)))

    @abstractmethod
    def line(self, record: logging.LogRecord) -> str:
        """The record as one line, whatever it may hold."""

    def _fit(self, line: str) -> str:
        """The line without secrets, and without clients' file names unless they are wanted."""
        lower = line.lower()
        return self._unfit.sub(_blank, line) if any(mark in lower for mark in self._marks) else line

    def values(self, record: logging.LogRecord) -> dict[str, object]:
        """Its own fields, and what it is about."""
        both = {**record.__dict__.get(_FIELDS, _NOTHING), **_bound.get()}
        return {name: value for name, value in both.items() if value is not None and name not in self._hidden}


class Json(_Formatter):
    """One JSON object a line."""

    def line(self, record: logging.LogRecord) -> str:
        document = {
            "time": _time(record).replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self.values(record),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        with suppress(TypeError):  # half a surrogate pair, or a number of more than 64 bits
            line = orjson.dumps(document, default=repr).decode()
            if line.isprintable():
                return line
        return json.dumps(document, default=repr)  # slower, in ASCII


class Text(_Formatter):
    """One line, and a traceback's lines indented below it, so that nothing in them looks like a line of its own."""

    def line(self, record: logging.LogRecord) -> str:
        head = f"{_time(record)[:23].replace('T', ' ')} {record.levelname:<7} {record.name}: "
        line = head + _printable(record.getMessage())
        for name, value in self.values(record).items():
            line += f" {_printable(name)}={_word(value)}"
        if record.exc_info:
            for below in self.formatException(record.exc_info).splitlines():
                line += f"\n    {_printable(below)}"
        return line


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _word(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    return _printable(text if text and not set(text) & {" ", '"', "="} else json.dumps(text, ensure_ascii=False))


def _printable(text: str) -> str:
    """The text without what a terminal would obey: line ends, escapes, changes of direction."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _blank(found: re.Match[str]) -> str:
    return found[(found.lastindex or 0) - 1] + "***"


def _instead_of(record: logging.LogRecord, error: Exception) -> logging.LogRecord:
    template = cast(object, record.msg)
    said = template if isinstance(template, str) else type(template).__name__
    message = f"a line could not be formatted ({type(error).__name__}): {said!r}"
    return logging.LogRecord(record.name, record.levelno, record.pathname, record.lineno, message, None, None)


def _secrets(settings: LocalSettings) -> list[str]:
    """The secrets that this process knows, whatever way one may come into a line."""
    if not isinstance(settings, Settings):
        return []
    proxy_url = settings.s3_proxy_url.get_secret_value() if settings.s3_proxy_url else ""
    passwords = [urlsplit(url).password or "" for url in (settings.redis_url, proxy_url)]
    secrets = {form for password in passwords for form in (password, unquote(password))}
    for name, value in settings:
        if isinstance(value, SecretStr) and name not in {"s3_access_key_id", "s3_proxy_url"}:  # an id may be any word
            # some are lists, of name:key each
            secrets |= {part.strip().rpartition(":")[2] for part in value.get_secret_value().split(",")}
    return [secret for secret in secrets if len(secret) >= _LEAST_SECRET]
