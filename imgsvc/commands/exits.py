"""What the client commands end with, for scripts."""

SUCCEEDED = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
INTERRUPTED = 130
