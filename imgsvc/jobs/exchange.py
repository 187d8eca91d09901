"""Exchanges with Redis: how a script or a command is called, tried again, and what becomes of its errors."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from secrets import token_hex
from typing import Any, Self, TypeVar, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from imgsvc.domain.problems import CodedError
from imgsvc.jobs import scripts
from imgsvc.jobs.connections import Pool, is_elsewhere, is_lost, reason_of, subscribe
from imgsvc.runtime.metrics import Dependency, Metrics
from imgsvc.runtime.owners import OwnersTable
from imgsvc.runtime.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

_LISTEN_AGAIN_S = 0.5
_DEADLINE = 1.5
"""How long a call may take, its second try too, in deadlines of one exchange."""

_REPEATED = {
    *("reserve", "extend", "submit", "abort", "delete"),
    *("resumable_begin", "resumable_take", "resumable_commit"),
    *("know_owners", "renew", "progress", "set_source", "ack_sweep", "ack_obsolete"),
    *("deliveries_of", "list", "stats", "echo"),
    *("admin_stats", "admin_scan", "admin_forget", "admin_begin", "admin_stop", "admin_bulks"),
}
"""Scripts that are repeated once if the answer is lost: the first call may or may not have worked."""


class QueueUnavailableError(CodedError):
    """Redis is away, too slow, or refuses to write. The same call may succeed later.

    `reason` is set where an operator must do something about it.
    """

    def __init__(self, reason: str | None = None) -> None:
        super().__init__("queue_unavailable", "The job queue is not available at the moment. Try again shortly.")
        self.reason = reason


class Exchange:
    """A process's connections to one Redis. Open it once in the life of a process with `Exchange.open`.

    `owners` says what each owner may do, as of now.
    """

    def __init__(self, pool: Pool, settings: Settings, health: Dependency, owners: OwnersTable) -> None:
        self.settings = settings
        self.owners = owners
        self._pool = pool
        self._redis = Redis(connection_pool=pool)
        self._health = health
        self._outage = ""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: Settings, health: Dependency | None = None, owners: OwnersTable | None = None
    ) -> AsyncGenerator[Self]:
        """Connects on first use, so that a process can start before its Redis."""
        pool = Pool.open(settings)
        try:
            yield cls(pool, settings, health or Metrics().queue, owners or OwnersTable(settings))
        finally:
            await pool.aclose()

    def name(self, rest: str) -> str:
        """The name of a key or channel of this service."""
        return f"{self.settings.redis_prefix}:{rest}"

    def limits_of(self, owner: str) -> tuple[int, int]:
        """An owner's uploads a minute and bytes a day, 0 for any number: its own, or else those of the settings."""
        terms, settings = self.owners.current.of(owner), self.settings
        return (
            settings.rate_limit if terms.rate_limit is None else terms.rate_limit,
            settings.quota_bytes if terms.quota_bytes is None else terms.quota_bytes,
        )

    async def listen(self, *channels: str) -> AsyncGenerator[str | None]:
        """Yields what is published on the channels. Never ends; yields None after each connect, for what was missed."""

        async def echo(word: str) -> None:
            await self.run("echo", word)

        names = [self.name(channel) for channel in channels]
        while True:
            try:
                messages = subscribe(self._redis, self.settings, token_hex(8), echo, *names)
                async with self._outages(), aclosing(messages):
                    async for message in messages:
                        yield message
            except QueueUnavailableError:
                await asyncio.sleep(_LISTEN_AGAIN_S)

    async def run(self, script: str, *args: scripts.Argument) -> Any:
        """Runs one of the Lua scripts (scripts.NAMES).

        Raises:
            QueueUnavailableError: Redis did not answer, or refused.
        """

        def call(redis: Redis) -> Awaitable[Any]:
            return scripts.run(cast("scripts.Caller", redis.execute_command), self.settings, script, args)

        return await self.ask(call, script in _REPEATED)

    async def ask(self, call: Callable[[Redis], Awaitable[T]], is_repeatable: bool = True) -> T:
        """One exchange with Redis, tried twice where the first try did nothing, or may be made again.

        It is made on another connection then, since those that were there are not trusted any more.
        """
        with self._health.call(QueueUnavailableError):
            async with self._outages(), asyncio.timeout(_DEADLINE * self.settings.redis_timeout_s):
                try:
                    return await call(self._redis)
                except (RedisError, OSError) as error:
                    if not is_elsewhere(error) and not (is_repeatable and is_lost(error)):
                        raise
                    self._pool.trust.lose()
                return await call(self._redis)

    @asynccontextmanager
    async def _outages(self) -> AsyncGenerator[None]:
        """Turns Redis's errors into QueueUnavailableError, and logs an outage once, not once per call."""
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            reason = reason_of(error)
            if is_elsewhere(error) or is_lost(error) or reason:
                self._pool.trust.lose()
            if not self._outage or (reason and reason != self._outage):
                self._outage = reason or repr(error)
                log.warning("the queue is not available: %s", self._outage)
            raise QueueUnavailableError(reason) from error
        if self._outage:
            log.info("the queue is available again")
        self._outage = ""
