"""`python -m tests.support.hooks.slow_names`: our worker, to which no name server answers about `*.slow.example`."""

import socket
import time
from unittest.mock import patch

from aiohttp.abc import ResolveResult

from imgsvc.outbound.hosts import look_up
from imgsvc.worker.__main__ import main

GIVES_UP_S = 20.0
"""After which the system's resolver gives up; it cannot be interrupted before."""


def slowly(host: str, port: int) -> list[ResolveResult]:
    if host.endswith(".slow.example"):
        time.sleep(GIVES_UP_S)
        raise OSError(socket.EAI_AGAIN, "no answer")
    return look_up(host, port)


if __name__ == "__main__":
    patch("imgsvc.outbound.client.look_up", slowly).start()
    main()
