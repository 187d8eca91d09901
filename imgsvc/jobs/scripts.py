"""The Lua scripts beside this file: their text, how they are called, and which rights they need of a Redis user."""

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any, Protocol, cast

from redis.exceptions import NoScriptError

from imgsvc.runtime.settings import Settings

SHARED = ("common", "turns", "fetches", "limits", "deliveries", "observed", "moves", "lists", "admin_bulk")
"""Local definitions alone, of which each script is prepended those that it needs."""

NAMES = (
    *("reserve", "extend", "abort", "submit"),
    *("claim", "claim_fetches", "know_owners", "renew", "progress", "set_source", "finish", "release"),
    *("hold", "let_pass"),
    *("cancel", "retry", "derive", "change", "delete", "sweep", "ack_sweep", "obsolete", "ack_obsolete"),
    *("resumable_begin", "resumable_take", "resumable_commit", "resumable_drop"),
    *("claim_webhooks", "ack_webhook", "replay_webhook", "deliveries_of", "list", "stats", "echo"),
    *("admin_stats", "admin_scan", "admin_forget"),
    *("admin_begin", "admin_take", "admin_act", "admin_advance", "admin_stop", "admin_bulks"),
)

NOBODY = b".probe"
"""What the probe publishes, to find out whether it may."""

_OUTSIDE = {"INFO", "SELECT", "EVAL", "EVALSHA", "HGETALL", "EXISTS", "ZREM", "ZSCORE", "SUBSCRIBE", "UNSUBSCRIBE"}
"""Commands that are called by Python."""

_COMMENT = re.compile(r"^\s*--.*\n|\s+--.*$", re.MULTILINE)
_DEFINITION = re.compile(r"^local .*\n(?:(?!local ).*\n)*", re.MULTILINE)
_NAMES = re.compile(r"local (?:function )?([\w, ]+)")
_WORD = re.compile(r"\w+")
_STRING = re.compile(r"'[^'\n]*'")
_CALL = re.compile(r"redis\.p?call\('([A-Z]+)'")
_S3_DEADLINES = 3  # an upload in parts has one for each call, and S3 may finish what its sender has given up

Argument = str | bytes | float


class Caller(Protocol):
    """Runs one command: a client or a connection."""

    async def __call__(self, *command: Argument) -> Any: ...


@cache
def script(name: str) -> tuple[str, str]:
    """The script's text, and the hash that Redis knows it by."""
    text = _with_shared(_read(name))
    return text, hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 (Redis's own choice, and no secret)


def _read(name: str) -> str:
    return (resources.files("imgsvc.jobs") / "lua" / f"{name}.lua").read_text("utf-8")


def _with_shared(text: str) -> str:
    """A script after those definitions of SHARED that it needs, and those that these need in turn.

    Lua makes each of them anew in every call, and takes the longer for each the more there are: all of them together
    take longer than what most scripts do.
    """
    definitions = [part for name in SHARED for part in _DEFINITION.findall(_COMMENT.sub("", _read(name)))]
    parts, words = [text], _words(text)
    for definition in reversed(definitions):  # none uses what is defined after it
        if not words.isdisjoint(_WORD.findall(_NAMES.findall(definition)[0])):
            parts.append(definition)
            words |= _words(definition)
    return "".join(reversed(parts))


def _words(text: str) -> set[str]:
    return {*_WORD.findall(_STRING.sub("", _COMMENT.sub("", text)))}


async def run(call: Caller, settings: Settings, name: str, args: Sequence[Argument] = ()) -> Any:
    text, sha = script(name)
    common = (f"{settings.redis_prefix}:", settle_ms(settings))
    try:
        return await call("EVALSHA", sha, 0, *args, *common)
    except NoScriptError:  # forgotten, or never known: this runs it and loads it
        return await call("EVAL", text, 0, *args, *common)


def settle_ms(settings: Settings) -> int:
    """For how long a worker or an API process may still write to storage for an upload that was taken from it."""
    return round(1000 * (settings.lease_s + _S3_DEADLINES * settings.s3_timeout_s))


def commands() -> set[str]:
    """What a Redis user must be allowed to call: in scripts, and by Python."""
    return _OUTSIDE.union(*(_CALL.findall(script(name)[0]) for name in NAMES))


def channels(settings: Settings) -> tuple[str, ...]:
    return tuple(
        f"{settings.redis_prefix}:{name}" for name in ("doorbell", "fetch-doorbell", "revoked", "events", "echo")
    )


def acl_rule(settings: Settings, user: str = "imgsvc") -> str:
    """The command that makes a Redis user who may do all that is needed, and no more."""
    prefix = settings.redis_prefix
    allowed = " ".join(f"+{command.lower()}" for command in sorted(commands()))
    return f"ACL SETUSER {user} on '>password' resetkeys '~{prefix}:*' resetchannels '&{prefix}:*' -@all {allowed}"


async def denied(call: Caller, settings: Settings) -> str | None:
    """Which right the user lacks that scripts need, in words for an operator; None where it has them all."""
    found = cast("list[bytes] | None", await run(call, settings, "probe"))
    if not found:
        return None
    command, name, error = (part.decode() for part in found)
    prefix = settings.redis_prefix
    if "channel" in error:
        right = f"&{prefix}:*"
    elif "key" in error:
        right = f"~{prefix}:*"
    else:
        right = f"+{command.lower()}"
    return lacks(f"{command} {name}".strip(), right)


def lacks(call: str, right: str) -> str:
    return f"this Redis user may not call {call}: it lacks {right}"
