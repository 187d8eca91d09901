"""Names of processes that others on the same machine can work out, so that one can ask how another does."""

from collections.abc import Generator
from hashlib import blake2b
from pathlib import Path

_PROC = Path("/proc")
_STARTED = 19  # of what follows the name in parentheses, which may hold anything: field 22 of proc_pid_stat(5)


def process_name(pid: int) -> str | None:
    """16 hexadecimal digits that no other process has, on no machine and at no time.

    None where there is no such process, or no /proc.
    """
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
        namespace = (_PROC / "self" / "ns" / "pid").readlink()  # containers count their processes from 1, each
    except OSError:
        return None
    started = stat.rpartition(b")")[2].split()[_STARTED].decode()
    return blake2b(f"{_boot_id()} {namespace} {pid} {started}".encode(), digest_size=8).hexdigest()


def process_names() -> Generator[str]:
    """Those of all processes that can be seen from here: in a container, its own."""
    for entry in _PROC.glob("[0-9]*"):
        if name := process_name(int(entry.name)):  # it may have ended meanwhile
            yield name


def _boot_id() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text()
    except OSError:  # some sandboxes of containers have none
        return ""
