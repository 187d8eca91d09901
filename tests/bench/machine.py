"""On what a benchmark ran, and what of it a process took."""

import os
import platform
from pathlib import Path

import psutil


def machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return f"{os.cpu_count()} cores of {model}, Python {platform.python_version()}"


def cpu_s(process: psutil.Process) -> float:
    """User and system time of a running process, all threads."""
    times = process.cpu_times()
    return times.user + times.system


def decoders_cpu_s(parent: psutil.Process) -> float:
    """That of all that a process started, and of what those have started and outlived."""
    spent = 0.0
    for process in parent.children(recursive=True):
        times = process.cpu_times()
        spent += times.user + times.system + times.children_user + times.children_system
    return spent
