"""`python -m tests.support.hooks.stores_late`: our worker, which stops itself before it stores its first file.

When it goes on it stores what it has made, told to stop or not, as S3 does with what it has received already. What it
makes differs from what others make of the same image. Once a file is there, so is one under `late/`, which says so.
"""

import asyncio
import os
import signal
from typing import Any
from unittest.mock import patch

from imgsvc.storage import Storage
from imgsvc.worker.__main__ import main

put = Storage.put
has_stopped = False


async def puts_late(storage: Storage, key: str, data: bytes, *arguments: Any, **options: Any) -> None:
    global has_stopped
    if not has_stopped:
        has_stopped = True
        os.kill(os.getpid(), signal.SIGSTOP)

    async def store() -> None:
        await put(storage, key, data + b"\n", *arguments, **options)
        await put(storage, f"late/{key}", b"stored", "text/plain")

    await asyncio.shield(asyncio.create_task(store()))


if __name__ == "__main__":
    patch.object(Storage, "put", puts_late).start()
    main()
