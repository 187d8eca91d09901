"""`python -m tests.support.hooks.derives_and_dies STEP`: our worker, which dies at this step of a derivation."""

import os
import signal
import sys
from typing import Any
from unittest.mock import patch

from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import revision_of
from imgsvc.jobs.types import Claim
from imgsvc.storage import Storage
from imgsvc.worker.__main__ import main
from imgsvc.worker.tasks import Processor

original = {"call": Processor.__call__, "store": Processor._store, "put": Storage.put, "finish": Queue.finish}  # pyright: ignore[reportPrivateUsage]
STEPS = ("claimed", "read", "rendered", "first_stored", "last_stored", "finished")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def call(processor: Processor, claim: Claim) -> Any:
    if claim.revision:
        die()
    return await original["call"](processor, claim)


async def render(processor: Processor, source: bytes, record: Any, report: Any) -> Any:
    if record.derivation:
        die()
    return await rendered(processor, source, record, report)


async def store(processor: Processor, record: Any, *arguments: Any) -> Any:
    if record.derivation:
        die()
    return await original["store"](processor, record, *arguments)


async def put(storage: Storage, key: str, *arguments: Any, **options: Any) -> None:
    await original["put"](storage, key, *arguments, **options)
    if revision_of(key) > 1:
        die()


async def finish_before(queue: Queue, claim: Claim, outcome: Any) -> bool:
    if claim.revision:
        die()
    return await original["finish"](queue, claim, outcome)


async def finish_after(queue: Queue, claim: Claim, outcome: Any) -> bool:
    done = await original["finish"](queue, claim, outcome)
    if claim.revision:
        die()
    return done


rendered = Processor._render  # pyright: ignore[reportPrivateUsage]
PATCHES = dict(
    zip(
        STEPS,
        [
            (Processor, "__call__", call),
            (Processor, "_render", render),
            (Processor, "_store", store),
            (Storage, "put", put),
            (Queue, "finish", finish_before),
            (Queue, "finish", finish_after),
        ],
        strict=True,
    )
)

if __name__ == "__main__":
    owner, name, mishap = PATCHES[sys.argv[1]]
    patch.object(owner, name, mishap).start()
    main()
