"""What an operator wants to know of a Redis before jobs are entrusted to it."""

import asyncio
from dataclasses import dataclass
from time import time
from typing import Any, cast
from uuid import uuid4

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from imgsvc.jobs.queue import QueueUnavailableError
from imgsvc.settings import Settings

_PROBE = "redis.call('SET', KEYS[1], '1', 'PX', 10000) return redis.call('DEL', KEYS[1])"


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """`version` is that of Redis which it is compatible with. None stands for what it does not tell (a managed Redis
    forbids CONFIG). `skew_s` is how far its clock is ahead of ours; `refusal` why it runs no script that writes.
    """

    name: str
    version: str
    policy: str
    appendonly: bool
    appendfsync: str | None
    cluster: bool
    skew_s: float
    refusal: str | None


async def redis_facts(settings: Settings) -> RedisFacts:
    """Asks the Redis of `settings`; writes one key, and removes it.

    Raises:
        QueueUnavailableError: from what went wrong, which an operator may read.
    """
    timeout_s = settings.redis_timeout_s
    redis = Redis.from_url(settings.redis_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
    try:
        return await _facts(redis)
    except (RedisError, OSError, TimeoutError) as error:
        raise QueueUnavailableError from error
    finally:
        await asyncio.shield(redis.aclose())


async def _facts(redis: Redis) -> RedisFacts:
    info: dict[str, Any] = await redis.info()
    begin = time()
    seconds, micros = cast("tuple[int, int]", await redis.time())
    skew_s = seconds + micros / 1e6 - (begin + time()) / 2
    own = info.get("valkey_version")
    return RedisFacts(
        name=f"Valkey {own}" if own else f"Redis {info['redis_version']}",
        version=str(info["redis_version"]),
        policy=info["maxmemory_policy"],
        appendonly=bool(info["aof_enabled"]),
        appendfsync=await _config(redis, "appendfsync"),
        cluster=bool(info.get("cluster_enabled")),
        skew_s=skew_s,
        refusal=await _refusal(redis),
    )


async def _config(redis: Redis, name: str) -> str | None:
    try:
        answer: dict[str, str] = await redis.config_get(name)  # decoded, unlike most of its answers
    except ResponseError:
        return None
    return answer.get(name)


async def _refusal(redis: Redis) -> str | None:
    try:
        await cast("Any", redis).eval(_PROBE, 1, f"imgsvc:probe:{uuid4()}")
    except ResponseError as error:
        return str(error)
    return None
