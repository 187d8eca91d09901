"""The memory of other processes."""

import re
from pathlib import Path


def memory_peak(pid: int) -> int:
    """The most memory that a process ever had resident, in bytes (Linux: VmHWM). One that has ended has none."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found, f"process {pid} has ended"
    return int(found[1]) * 1024
