"""Connections to Redis: which Redis is worked with, and how its messages are heard."""

from collections.abc import AsyncGenerator
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from imgsvc.settings import Settings

_MAX_CONNECTIONS = 64
QUIET_S = 5.0
"""Seconds of silence after which a subscription is asked whether it still stands."""


class EvictsError(RedisError):
    """This Redis may throw jobs away when its memory is full."""


def connection_pool(settings: Settings) -> ConnectionPool:
    pool = BlockingConnectionPool.from_url(
        settings.redis_url,
        max_connections=_MAX_CONNECTIONS,
        timeout=settings.redis_timeout_s,
        socket_timeout=settings.redis_timeout_s,
        socket_connect_timeout=settings.redis_timeout_s,
        redis_connect_func=_connect,
    )
    pool.connection_class = type("Connection", (_SaysWhenItIsClosed, pool.connection_class), {})
    return pool


async def subscribe(redis: Redis, settings: Settings, *channels: bytes) -> AsyncGenerator[str | None]:
    """What is published from now on, None where that is empty. None first, once Redis has confirmed all channels.

    Raises:
        RedisError: the connection is lost, or nothing comes back when Redis is asked whether it stands.
    """
    async with redis.pubsub() as pubsub:
        await pubsub.subscribe(*channels)
        missing, is_asked = len(channels), True
        while True:
            patience = settings.redis_timeout_s if is_asked else QUIET_S
            message: Any = await pubsub.get_message(timeout=patience)
            if message is None:
                if is_asked:
                    raise RedisConnectionError("a subscription fell silent")
                await pubsub.ping()
                is_asked = True
                continue
            is_asked = False
            if message["type"] == "message":
                yield message["data"].decode(errors="replace") or None
            elif message["type"] == "subscribe":
                missing -= 1
                if not missing:
                    yield None


class _SaysWhenItIsClosed(AbstractConnection):
    """A connection that its peer has closed raises what it should, also under uvloop."""

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:  # uvloop's, where asyncio's own transports let it pass
            raise RedisConnectionError("closed by its peer") from error


async def _connect(connection: AbstractConnection) -> None:
    """Takes no Redis that may throw a job away. INFO tells: managed ones forbid CONFIG."""
    await connection.on_connect()
    await connection.send_command("INFO", "memory")
    info = cast("bytes", await connection.read_response())
    policy = info.partition(b"maxmemory_policy:")[2].partition(b"\r\n")[0].decode()
    if policy != "noeviction":
        raise EvictsError(f"with maxmemory-policy {policy}, Redis may throw jobs away: set it to noeviction")
