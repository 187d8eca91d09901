"""Standard input, output and error as a process may rely on them, whatever it was started with."""

import codecs
import io
import json
import os
import sys
from contextlib import suppress
from typing import IO, Any

_ESCAPED = "imgsvc.escaped"


def make_usable() -> None:
    """Opens what is closed, and lets no write fail whose failure could not be reported anywhere.

    A descriptor 0, 1 or 2 that is closed is the next socket's or file's, which then gets what is printed.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:  # the lowest free number is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    codecs.register_error(_ESCAPED, _escape)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_ESCAPED)
    encoding = sys.stderr.encoding if sys.stderr else "utf-8"
    sys.stderr = io.TextIOWrapper(_Lossy(2, "w", closefd=False), encoding, _ESCAPED, line_buffering=True)


def give_up(stream: IO[str]) -> None:
    """Has nothing written to a stream any more: whoever read it has left, or its disk is full."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


class _Lossy(io.FileIO):
    """Drops what cannot be written: there is nowhere left to report it."""

    def write(self, data: Any, /) -> int:
        with suppress(OSError):
            super().write(data)
        return memoryview(data).nbytes


def _escape(error: UnicodeError) -> tuple[str, int]:
    """What an encoding lacks, as JSON would write it, so that JSON stays JSON in ASCII too."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end
