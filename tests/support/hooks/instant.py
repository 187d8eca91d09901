"""`python -m tests.support.hooks.instant SLOTS`: our worker around a job of no work.

Says on its standard output which job it enters, and at which nanosecond of the monotonic clock.
"""

import asyncio
import signal
import sys

import uvloop

from imgsvc.jobs.files import File
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Outcome, Success
from imgsvc.jobs.types import Claim
from imgsvc.runtime import startup
from imgsvc.runtime.loading import load
from imgsvc.runtime.metrics import WorkerMetrics
from imgsvc.runtime.settings import Settings
from imgsvc.worker.lease import LeasedWorker
from tests.support.hooks.watched import say_entered

DONE = Success(4, 3, 1, (File("thumbnail", 4, 3, 9, "ab", "jpeg"),))


async def perform(claim: Claim) -> Outcome:
    say_entered(claim.id)
    return DONE


async def nothing_lacks() -> bool:
    return True


async def work(settings: Settings, slots: int) -> None:
    async with Queue.open(settings) as queue:
        worker = LeasedWorker(
            queue, perform, nothing_lacks, slots=slots, sandbox="off", settings=settings, metrics=WorkerMetrics()
        )
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
        await worker.main()


if __name__ == "__main__":
    settings = load(Settings)
    startup.set_up(settings)
    uvloop.run(work(settings, int(sys.argv[1])))
