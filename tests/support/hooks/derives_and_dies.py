"""`python -m tests.support.hooks.derives_and_dies STEP`: our worker, which dies at this step of a derivation."""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

from imgsvc.domain.model import Rendered
from imgsvc.jobs.files import revision_of
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.record import Derived, Failure, Record, Success
from imgsvc.jobs.types import Claim
from imgsvc.storage import Storage
from imgsvc.worker.__main__ import main
from imgsvc.worker.tasks import Processor, Report

perform, put, finish = Processor.__call__, Storage.put, Queue.finish
render, store = Processor._render, Processor._store  # pyright: ignore[reportPrivateUsage]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def dies_claiming(processor: Processor, claim: Claim) -> Any:
    if claim.revision:
        die()
    return await perform(processor, claim)


async def dies_rendering(
    processor: Processor, source: bytes, overlays: Mapping[str, bytes], record: Record, report: Report
) -> Any:
    if record.derivation:
        die()
    return await render(processor, source, overlays, record, report)


async def dies_storing(processor: Processor, record: Record, rendered: Rendered, claim: Claim) -> Any:
    if record.derivation:
        die()
    return await store(processor, record, rendered, claim)


async def dies_having_stored_one(storage: Storage, key: str, *arguments: Any, **options: Any) -> None:
    await put(storage, key, *arguments, **options)
    if revision_of(key) > 1:
        die()


async def dies_before_finish(queue: Queue, claim: Claim, outcome: Success | Derived | Failure) -> bool:
    if claim.revision:
        die()
    return await finish(queue, claim, outcome)


async def dies_after_finish(queue: Queue, claim: Claim, outcome: Success | Derived | Failure) -> bool:
    done = await finish(queue, claim, outcome)
    if claim.revision:
        die()
    return done


MISHAPS: dict[str, tuple[type, str, Callable[..., Any]]] = {
    "claimed": (Processor, "__call__", dies_claiming),
    "read": (Processor, "_render", dies_rendering),
    "rendered": (Processor, "_store", dies_storing),
    "first_stored": (Storage, "put", dies_having_stored_one),
    "last_stored": (Queue, "finish", dies_before_finish),
    "finished": (Queue, "finish", dies_after_finish),
}

if __name__ == "__main__":
    owner, name, mishap = MISHAPS[sys.argv[1]]
    patch.object(owner, name, mishap).start()
    main()
