"""Facts about a Redis that decide whether it is fit for jobs."""

import asyncio
from dataclasses import dataclass
from time import time
from typing import Any, cast

from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from imgsvc.jobs import scripts
from imgsvc.jobs.connections import UnfitError, check_rights
from imgsvc.jobs.exchange import QueueUnavailableError
from imgsvc.runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """`version` is the Redis version that it is compatible with. None stands for what it does not report (managed ones
    forbid CONFIG). `skew_s` is how far its clock is ahead of ours; `refusal` why it runs no script that writes, and
    `lacking` which right its user lacks.
    """

    name: str
    version: str
    policy: str
    appendonly: bool
    appendfsync: str | None
    cluster: bool
    skew_s: float
    refusal: str | None
    lacking: str | None = None


async def redis_facts(settings: Settings) -> RedisFacts:
    """Asks the Redis of `settings`, and tries there whatever the service does; nothing is left of it.

    Raises:
        QueueUnavailableError: from what went wrong, which an operator may read; its `reason` is set where the user
            lacks a right.
    """
    timeout_s = settings.redis_timeout_s
    redis = Redis.from_url(settings.redis_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
    try:
        return await _facts(redis, settings)
    except (UnfitError, NoPermissionError) as error:  # of the second kind is SELECT
        raise QueueUnavailableError(str(error)) from error
    except (RedisError, OSError, TimeoutError) as error:
        raise QueueUnavailableError from error
    finally:
        await asyncio.shield(redis.aclose())


async def _facts(redis: Redis, settings: Settings) -> RedisFacts:
    lacking = await _lacking(redis, settings)
    if lacking and "+info" in lacking:
        raise UnfitError(lacking)
    begin = time()
    info: dict[str, Any] = await redis.info()
    skew_s = info["server_time_usec"] / 1e6 - (begin + time()) / 2
    own = info.get("valkey_version")
    return RedisFacts(
        name=f"Valkey {own}" if own else f"Redis {info['redis_version']}",
        version=str(info["redis_version"]),
        policy=info["maxmemory_policy"],
        appendonly=bool(info["aof_enabled"]),
        appendfsync=await _config(redis, "appendfsync"),
        cluster=bool(info.get("cluster_enabled")),
        skew_s=skew_s,
        refusal=None if lacking else await _refusal(redis, settings),
        lacking=lacking,
    )


async def _config(redis: Redis, name: str) -> str | None:
    try:
        answer: dict[str, str] = await redis.config_get(name)  # decoded, unlike most of its answers
    except ResponseError:
        return None
    return answer.get(name)


async def _lacking(redis: Redis, settings: Settings) -> str | None:
    pool = cast("ConnectionPool", redis.connection_pool)  # its type is that of the other client, which awaits nothing
    connection = await pool.get_connection()
    try:
        await check_rights(connection, settings)
    except UnfitError as error:
        return str(error)
    finally:
        await pool.release(connection)
    return None


async def _refusal(redis: Redis, settings: Settings) -> str | None:
    try:
        await scripts.run(cast("scripts.Caller", redis.execute_command), settings, "echo", ["doctor"])
    except RedisError as error:
        return str(error)
    return None
