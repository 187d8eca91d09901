"""`python -m tests.support.hooks.stock MAX_JOBS [HOOK …]`: arq's own worker, in the database
`IMGSVC_REDIS_URL`.

The hooks that are named, such as `on_job_start`, raise. It says on its standard output which job it enters, and at
which nanosecond of the monotonic clock.
"""

import asyncio
import os
import sys
from typing import Any

from arq.connections import RedisSettings
from arq.worker import Worker

from tests.support.hooks.watched import say_entered


async def nothing(ctx: dict[Any, Any]) -> None:
    say_entered(ctx["job_id"])


async def sleep(ctx: dict[Any, Any], seconds: float) -> None:
    say_entered(ctx["job_id"])
    await asyncio.sleep(seconds)


async def fail(_: dict[Any, Any]) -> None:
    raise RuntimeError("a hook failed")


def main() -> None:
    redis = RedisSettings.from_dsn(os.environ["IMGSVC_REDIS_URL"])
    hooks: dict[str, Any] = dict.fromkeys(sys.argv[2:], fail)
    Worker([nothing, sleep], redis_settings=redis, max_jobs=int(sys.argv[1]), **hooks).run()


if __name__ == "__main__":
    main()
