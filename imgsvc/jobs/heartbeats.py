"""Which workers are alive, for a health check: a process that asks once, and pays for each import."""

from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from imgsvc.jobs.connections import reason_of
from imgsvc.runtime.settings import Settings


async def heartbeats(settings: Settings) -> set[str]:
    """The processes (process_name) of the workers that renewed their leases lately, by the clock of Redis.

    It asks for no right that a worker does not need, and writes nothing: a full Redis makes no worker unhealthy.

    Raises:
        ConnectionError: with what is wrong, for an operator.
    """
    timeout_s = settings.redis_timeout_s
    redis = Redis.from_url(
        settings.redis_url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        lib_name=None,
        lib_version=None,
    )
    try:
        async with redis:
            seconds, microseconds = cast("tuple[int, int]", await redis.time())
            now_ms = seconds * 1000 + microseconds // 1000
            beats: list[bytes] = await cast("Any", redis).zrangebyscore(
                f"{settings.redis_prefix}:workers", now_ms, "+inf"
            )
    except (RedisError, OSError, TimeoutError) as error:
        raise ConnectionError(reason_of(error) or str(error) or repr(error)) from error
    return {beat.decode().partition("-")[0] for beat in beats}
