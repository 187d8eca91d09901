"""Free ports on loopback."""

import random
import socket
from itertools import islice

GRPC_OFFSET = 10_000  # SeaweedFS listens for gRPC at each HTTP port + 10 000

# Below the ports that Linux (32768 up) and macOS (49152 up) hand to outgoing connections, so that a port kept for the
# next start is not some connection's by then; and no port + 10 000 is another port of the range.
FIRST, LAST = 10_240, 20_239


def is_free(port: int) -> bool:
    """Whether `port` and `port + 10 000` can be listened on now."""
    return _can_bind(port) and _can_bind(port + GRPC_OFFSET)


def free_port() -> int:
    """Find a port that is free, with `port + 10 000` free too."""
    return free_ports(1)[0]


def free_ports(count: int) -> tuple[int, ...]:
    """Find `count` different ports that are free, each with `port + 10 000` free too."""
    candidates = (port for port in random.sample(range(FIRST, LAST + 1), LAST + 1 - FIRST) if is_free(port))
    return tuple(islice(candidates, count))


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections do not count
        try:
            probe.bind(("", port))  # any address: SeaweedFS refuses a port that is taken on another one
        except OSError:
            return False
    return True
