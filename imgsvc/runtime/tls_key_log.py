"""`SSLKEYLOGFILE`, the file that TLS clients append their session keys to, so that a network trace can be read.

Python opens it with each TLS context, which libraries make when they are imported; and raises OSError where it cannot.
"""

import os
import sys

_VARIABLE = "SSLKEYLOGFILE"


def drop_unwritable() -> None:
    """Goes on without a key log, and warns on standard error, where the file cannot be written to."""
    path = os.environ.get(_VARIABLE)
    if not path:
        return
    try:
        # not blocking, since a FIFO may have no reader
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o666))
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        del os.environ[_VARIABLE]
        print(f"imgsvc: TLS keys are not logged: {_VARIABLE}={path}: {error}", file=sys.stderr)  # noqa: T201
