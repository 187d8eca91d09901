"""`python -m tests.support.hooks.mishap KIND`: our worker, to which one of these happens."""

import asyncio
import os
import signal
import sys
import time
from unittest.mock import patch

from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Failure, Outcome, Success
from imgsvc.jobs.types import Claim
from imgsvc.worker.__main__ import main
from imgsvc.worker.tasks import Processor

KILLER = "killer.jpg"
BLOCKED_S = 6.0
LONG_S = 2.0

perform = Processor.__call__
finish = Queue.finish


class _Fatal(BaseException):
    pass


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def dies_before_finish(queue: Queue, claim: Claim, outcome: Success | Failure) -> bool:
    """All its files are stored, and nobody knows."""
    die()
    return await finish(queue, claim, outcome)


async def raises_once(queue: Queue, claim: Claim, outcome: Success | Failure) -> bool:
    patch.stopall()
    raise RuntimeError("the hook's own error")


async def dies_on_killers(processor: Processor, claim: Claim) -> Outcome:
    """Other jobs go on for a moment, and with luck are finished first."""
    record = await processor.queue.get(claim.id)
    assert record is not None
    if record.options.filename == KILLER:
        die()
    return await perform(processor, claim)


async def blocks_its_loop(processor: Processor, claim: Claim) -> Outcome:
    patch.stopall()
    outcome = await perform(processor, claim)
    time.sleep(BLOCKED_S)  # noqa: ASYNC251 (no task of this process gets to run: that is the mishap)
    return outcome


async def raises_what_nobody_expects(processor: Processor, claim: Claim) -> Outcome:
    patch.stopall()
    raise _Fatal


async def takes_long(processor: Processor, claim: Claim) -> Outcome:
    await asyncio.sleep(LONG_S)
    return await perform(processor, claim)


MISHAPS = {
    Queue: ("finish", [dies_before_finish, raises_once]),
    Processor: (
        "__call__",
        [dies_on_killers, blocks_its_loop, raises_what_nobody_expects, takes_long],
    ),
}

if __name__ == "__main__":
    for owner, (name, mishaps) in MISHAPS.items():
        for mishap in mishaps:
            if mishap.__name__ == sys.argv[1]:
                patch.object(owner, name, mishap).start()
    main()
