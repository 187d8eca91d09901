"""Jobs by the thousand that wait, submitted by the real scripts, many in one exchange."""

from collections.abc import Awaitable
from typing import NoReturn
from uuid import uuid4

from redis.asyncio import Redis

from imgsvc.domain.options import Options
from imgsvc.jobs import scripts
from imgsvc.jobs.exchange import Exchange
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Source, Submission

BATCH = 500
OPTIONS = Options(filename="photo.jpg")
SOURCE = Source(900_000, "a" * 64, "jpeg")


class Asked(Exception):  # noqa: N818 (nothing went wrong)
    """What a queue asks its exchange to run."""

    def __init__(self, script: str, *args: scripts.Argument) -> None:
        super().__init__(script)
        self.script = script
        self.args_of_script = args


class _Curious(Exchange):
    """Like another exchange, but that it runs nothing: to learn what a queue would ask it."""

    def __init__(self, other: Exchange) -> None:
        vars(self).update(vars(other))

    async def run(self, script: str, *args: scripts.Argument) -> NoReturn:
        raise Asked(script, *args)


async def _asked(call: Awaitable[object]) -> tuple[str, tuple[scripts.Argument, ...]]:
    try:
        await call
    except Asked as found:
        return found.script, found.args_of_script
    raise AssertionError("it asks once")


async def submit(queue: Queue, redis: Redis, owners: list[str]) -> list[str]:
    """A job for each of `owners`, who may be named any number of times. Returns their ids."""
    settings, curious = queue.exchange.settings, Queue(_Curious(queue.exchange))
    calls = [
        await _asked(curious.reserve("ID", owner="OWNER")),
        await _asked(curious.submit(Submission("ID", OPTIONS, SOURCE))),
    ]
    common = f"{settings.redis_prefix}:", scripts.settle_ms(settings)
    for script, _ in calls:
        await redis.script_load(scripts.script(script)[0])
    ids = [str(uuid4()) for _ in owners]
    named = [{"ID": upload_id, "OWNER": owner} for upload_id, owner in zip(ids, owners, strict=True)]
    for begin in range(0, len(named), BATCH):
        async with redis.pipeline(transaction=False) as pipe:
            for names in named[begin : begin + BATCH]:
                for script, args in calls:
                    own = [names.get(arg, arg) if isinstance(arg, str) else arg for arg in args]
                    pipe.execute_command("EVALSHA", scripts.script(script)[1], 0, *own, *common)
            await pipe.execute()
    return ids
