"""`python -m tests.support.hooks.skewed SECONDS`: our worker on a machine whose clock is wrong by so much.

Only `time.time` is wrong: an S3 server refuses what is signed by a wrong clock, before any lease could matter.
"""

import sys
import time
from collections.abc import Callable
from importlib import import_module


def shift(seconds: float) -> None:
    right: Callable[[], float] = time.time
    time.time = lambda: right() + seconds


if __name__ == "__main__":
    shift(float(sys.argv[1]))
    import_module("imgsvc.worker.__main__").main()  # only now, since modules take the clock when they are imported
