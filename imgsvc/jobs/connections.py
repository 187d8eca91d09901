"""Connections to Redis: which Redis is accepted, when a connection is trusted, and how messages are received."""

import asyncio
import re
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from time import monotonic
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from imgsvc.jobs import scripts
from imgsvc.jobs.scripts import Argument, Caller
from imgsvc.runtime.environment import PREFIX
from imgsvc.runtime.settings import Settings

_MAX_CONNECTIONS = 64
QUIET_S = 5.0
"""Seconds without a message after which a subscription is tested with an echo."""

IDLE_S = 30.0
"""Seconds after which an unused connection is replaced: a NAT or a load balancer may have dropped it."""

OLD_S = 60.0
"""Seconds after which a connection is replaced in any case, and the new one checked: rights and settings change."""

# seconds of silence until the kernel asks whether the peer is there, between two questions, and how many go unanswered
_KEEP_ALIVE = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}

# Redis's errors while it takes no writes: the first word of an error, or a word within that of a script
_REFUSALS = {
    "READONLY": f"this Redis is a replica: {PREFIX}REDIS_URL must lead to the primary",
    "UNBLOCKED": "this Redis has become a replica",
    "MASTERDOWN": "this Redis is a replica that has lost its primary",
    "CLUSTERDOWN": "this Redis is a node of a cluster that is down",
    "LOADING": "Redis is still loading its data",
    "NOREPLICAS": "Redis has fewer replicas than its min-replicas-to-write, and takes no writes",
    "MISCONF": "Redis cannot save its data to disk, and takes no writes",
    "OOM": "Redis has no memory left (maxmemory), and takes no writes",
}
_WORD = re.compile(rf"\b({'|'.join(_REFUSALS)})\b")
_DENIED = re.compile("ACL failure|The user executing the script")  # within a script: from 7.2 on, and before it
_WORDS = {"ReadOnlyError": "READONLY", "BusyLoadingError": "LOADING", "OutOfMemoryError": "OOM"}  # redis-py drops these
_ELSEWHERE = {"READONLY", "UNBLOCKED", "MASTERDOWN", "CLUSTERDOWN", "LOADING", "NOREPLICAS"}
"""With these errors, another server may be the primary by now."""


class UnfitError(RedisError):
    """This Redis, or its user, is not fit for jobs. The message is for an operator."""


class Trust:
    """Which of a pool's connections are trusted: none that existed when one of them failed."""

    def __init__(self) -> None:
        self._failed_at = -1.0

    def lose(self) -> None:
        self._failed_at = monotonic()

    def covers(self, connected_at: float) -> bool:
        return connected_at > self._failed_at


class Pool(BlockingConnectionPool):
    trust: Trust

    @classmethod
    def open(cls, settings: Settings) -> "Pool":
        timeout_s = settings.redis_timeout_s
        pool = cls.from_url(
            settings.redis_url,
            max_connections=_MAX_CONNECTIONS,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            redis_connect_func=_checks(settings),
            lib_name=None,
            lib_version=None,
            **_keep_alive(settings.redis_url),
        )
        pool.trust = Trust()
        kind = {"trust": pool.trust}
        pool.connection_class = type("Connection", (_Connection, pool.connection_class), kind)
        return pool


def word_of(error: BaseException) -> str | None:
    """The word of _REFUSALS in this error, or None."""
    error = _said(error)
    found = _WORD.search(str(error))
    return _WORDS.get(type(error).__name__) or (found[1] if found and isinstance(error, RedisError) else None)


def is_elsewhere(error: BaseException) -> bool:
    """Whether another server should be asked. This one has not executed the command."""
    return word_of(error) in _ELSEWHERE


def is_lost(error: BaseException) -> bool:
    """Whether the connection is lost, or silent. The command may have been executed, or not."""
    if isinstance(error, RedisConnectionError) and str(error) == "No connection available.":
        return False  # all are in use: a new one is not to be had either
    return isinstance(error, RedisConnectionError | RedisTimeoutError | OSError)


def reason_of(error: BaseException) -> str | None:
    """The reason for an operator to act on, or None."""
    error = _said(error)
    if isinstance(error, UnfitError):
        return str(error)
    if isinstance(error, AuthenticationError):
        return f"Redis refuses the user or password of {PREFIX}REDIS_URL"
    if isinstance(error, NoPermissionError) or _DENIED.search(str(error)):
        return "this Redis user lacks a right: `imgsvc doctor` says which"
    word = word_of(error)
    return _REFUSALS[word] if word else None


def _said(error: BaseException) -> BaseException:
    """What Redis said: redis-py wraps that where it comes while a connection by a Unix socket is made."""
    cause = error.__cause__
    return cause if type(error) is RedisConnectionError and isinstance(cause, RedisError) else error


Tried = Callable[[str], Awaitable[None]]
"""Publishes a word on the channel of echoes, or raises the reason why it cannot."""


async def subscribe(
    redis: Redis, settings: Settings, echo_as: str, say: Tried, *names: str
) -> AsyncGenerator[str | None]:
    """What is published from now on, None where that is empty. None first, once Redis has confirmed all channels.

    Where nothing comes for long, it has something said as `echo_as`, by another connection: so it notices too where
    others speak to another server by now.

    Raises:
        RedisError: the connection is lost or not trusted any more, or the echo does not come.
    """
    echo = f"{settings.redis_prefix}:echo"
    async with redis.pubsub() as pubsub:
        await pubsub.subscribe(*names, echo)
        missing, is_tried = len(names) + 1, True
        while True:
            message: Any = await pubsub.get_message(timeout=settings.redis_timeout_s if is_tried else QUIET_S)
            if not cast("_Connection", pubsub.connection).is_trusted:
                raise RedisConnectionError("its server may no longer be the primary")
            if message is None:
                if is_tried:
                    raise RedisConnectionError("a subscription fell silent")
                is_tried = True
                await say(echo_as)
            elif message["type"] == "subscribe":
                missing -= 1
                if not missing:
                    is_tried = False
                    yield None
            elif message["channel"].decode() == echo:
                is_tried = is_tried and message["data"].decode() != echo_as
            else:
                is_tried = False
                if message["data"] != scripts.NOBODY:
                    yield message["data"].decode(errors="replace") or None


class _Connection(AbstractConnection):
    """One that is replaced, when it is taken from the pool, where it may lead nowhere or to the wrong server."""

    trust: Trust
    _connected_at = 0.0
    _used_at = 0.0

    @property
    def is_trusted(self) -> bool:
        return self.trust.covers(self._connected_at)

    async def connect(self) -> None:
        if self.is_connected:
            now = monotonic()
            if self.is_trusted and now - self._used_at < IDLE_S and now - self._connected_at < OLD_S:
                return
            await self.disconnect(nowait=True)
        self._connected_at = monotonic()
        await super().connect()

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        self._used_at = monotonic()
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        cancelled = task.cancelling()
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:  # uvloop's, where asyncio's own transports let it pass: its peer has closed it
            raise RedisConnectionError("closed by its peer") from error
        if task.cancelling() > cancelled:  # before Python 3.12, wait_for drops what comes as its awaitable ends
            await self.disconnect(nowait=True)  # or else the answer would be taken for that to the next command
            raise asyncio.CancelledError


def _keep_alive(url: str) -> dict[str, Any]:
    if url.startswith("unix:"):
        return {}
    options = {getattr(socket, name): value for name, value in _KEEP_ALIVE.items() if hasattr(socket, name)}
    return {"socket_keepalive": True, "socket_keepalive_options": options}


def _checks(settings: Settings) -> Callable[[AbstractConnection], Awaitable[None]]:
    async def connect(connection: AbstractConnection) -> None:
        """Takes no Redis that may throw a job away, or stop a script half way."""
        await connection.on_connect()
        await check(connection, settings)

    return connect


async def check(connection: AbstractConnection, settings: Settings) -> None:
    """Raises UnfitError if this Redis is not fit for jobs, or its user lacks a right.

    The policy comes from INFO, since managed servers forbid CONFIG.
    """

    call = _caller(connection)
    role = _field(await call("INFO", "replication"), "role")
    if role == "slave":
        raise UnfitError(_REFUSALS["READONLY"])
    policy = _field(await call("INFO", "memory"), "maxmemory_policy")
    if policy != "noeviction":
        raise UnfitError(f"with maxmemory-policy {policy}, Redis may throw jobs away: set it to noeviction")
    await check_rights(connection, settings)


async def check_rights(connection: AbstractConnection, settings: Settings) -> None:
    """Tries whatever the service does. Raises UnfitError, which names the right that its user lacks."""
    call = _caller(connection)
    await call("INFO", "memory")
    await call("EVAL", "return 0", 0)  # it is not needed until Redis forgets a script, and then in the midst of things
    if lacking := await scripts.denied(call, settings):
        raise UnfitError(lacking)
    await _check_channels(connection, settings)


def _caller(connection: AbstractConnection) -> Caller:
    async def call(*command: Argument) -> Any:
        await connection.send_command(*command)
        try:
            return await connection.read_response()
        except NoPermissionError as error:
            name = str(command[0])
            raise UnfitError(scripts.lacks(name, f"+{name.lower()}")) from error

    return call


def _field(info: bytes, name: str) -> str:
    return info.partition(f"{name}:".encode())[2].partition(b"\r\n")[0].decode()


async def _check_channels(connection: AbstractConnection, settings: Settings) -> None:
    names = scripts.channels(settings)
    try:
        await connection.send_command("SUBSCRIBE", *names)
        await connection.read_response()
        await connection.send_command("UNSUBSCRIBE", *names)
        while (answer := cast("list[Any]", await connection.read_response()))[0] != b"unsubscribe" or answer[2]:
            pass  # a message may arrive in between
    except (NoPermissionError, ResponseError) as error:
        right = f"&{settings.redis_prefix}:*" if "channel" in str(error) else "+subscribe and +unsubscribe"
        raise UnfitError(scripts.lacks("SUBSCRIBE", right)) from error
