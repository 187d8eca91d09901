"""`python -m tests.hooks.stock MAX_JOBS`: arq's own worker, as it comes, in the database of `IMGSVC_REDIS_URL`.

Says on its standard output which job it enters, and at which nanosecond of the monotonic clock.
"""

import os
import sys
from typing import Any

from arq.connections import RedisSettings
from arq.worker import Worker

from tests.hooks.watched import say_entered


async def nothing(ctx: dict[Any, Any]) -> None:
    say_entered(ctx["job_id"])


def main() -> None:
    redis = RedisSettings.from_dsn(os.environ["IMGSVC_REDIS_URL"])
    Worker([nothing], redis_settings=redis, max_jobs=int(sys.argv[1])).run()


if __name__ == "__main__":
    main()
