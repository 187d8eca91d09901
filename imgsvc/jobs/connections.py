"""Connections to Redis: which Redis is worked with."""

from typing import Any, cast

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from imgsvc.settings import Settings

_MAX_CONNECTIONS = 64


class EvictsError(RedisError):
    """This Redis may throw jobs away when its memory is full."""


def connection_pool(settings: Settings) -> BlockingConnectionPool:
    """A pool that connects when it is first used."""
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
