"""What a decoder's child gives up before it looks into an image; all of it lasts until it dies.

Limits on memory and CPU time always hold. The sandbox proper needs Linux: no new privileges, no file system and no
TCP (Landlock), and a short list of system calls (seccomp.py).
"""

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from ctypes import c_int, c_long, c_uint64, c_ulong
from functools import partial
from pathlib import Path

from imgsvc.decoder import seccomp

LINUX = sys.platform == "linux"

# include/uapi/linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38

# The same on every architecture (include/uapi/linux/landlock.h)
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_CREATE_RULESET_VERSION = 1

_MAX_OPEN_FILES = 16
_DEFAULT_PID_MAX = 32_768
_MORE_TASKS = 1024  # than there are on this machine


class LockdownError(Exception):
    """The sandbox is required, and this machine cannot have all of it."""


class _Ruleset(ctypes.Structure):
    """struct landlock_ruleset_attr"""

    _fields_ = (("handled_access_fs", c_uint64), ("handled_access_net", c_uint64), ("scoped", c_uint64))


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    if LINUX:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def check_parent(expected: int) -> None:
    """Leave when the parent died before `die_with_parent` could take hold."""
    if os.getppid() != expected:
        sys.exit(0)


def lock(sandbox: str, *, memory_bytes: int, cpu_s: int) -> str:
    """Lock this process down for good.

    Args:
        sandbox: `require`, `auto` (as much as this machine allows) or `off` (limits only).
        memory_bytes: address space that the process may use.
        cpu_s: CPU time that it may use in all its life.

    Returns:
        The sandbox status: `full`, `partial: no …` or `off`.

    Raises:
        LockdownError: `require`, and a part of the sandbox cannot be had.
    """
    if LINUX:
        _be_first_to_go()
    unlimited = _limit(memory_bytes, cpu_s)
    if sandbox == "off":
        return "off"
    missing = unlimited | _apply(_PARTS)
    if missing and sandbox == "require":
        reasons = ", ".join(f"{name} ({error})" for name, error in missing.items())
        raise LockdownError(
            f"IMGSVC_SANDBOX=require, and this machine lacks {reasons}: "
            "run on Linux 5.13 or later with Landlock enabled, or set IMGSVC_SANDBOX=auto"
        )
    return f"partial: no {', '.join(missing)}" if missing else "full"


def _limit(memory_bytes: int, cpu_s: int) -> dict[str, Exception]:
    limits: dict[str, Callable[[], None]] = {
        "memory limit": partial(_set_limit, resource.RLIMIT_AS, memory_bytes),
        # the soft limit's SIGXCPU shows the parent why; a stopped parent cannot keep the wall clock
        "cpu limit": partial(_set_limit, resource.RLIMIT_CPU, cpu_s, grace=1),
        "file size limit": partial(_set_limit, resource.RLIMIT_FSIZE, 0),
        "open files limit": partial(_set_limit, resource.RLIMIT_NOFILE, _MAX_OPEN_FILES),
        "core dump limit": partial(_set_limit, resource.RLIMIT_CORE, 0),
    }
    if LINUX:
        limits["task limit"] = _limit_tasks
    return _apply(limits)


def _limit_tasks() -> None:
    """Keep a decoder that makes threads without end from filling the machine's table of tasks.

    The limit counts all tasks of this user, wherever they are, so a fixed one would fail good images beside a busy
    neighbour; it is above what all users have now. The kernel holds root to none.
    """
    try:
        tasks = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    except OSError:  # no /proc
        tasks = _DEFAULT_PID_MAX
    _set_limit(resource.RLIMIT_NPROC, tasks + _MORE_TASKS)


def _be_first_to_go() -> None:
    """Where memory runs out, let the kernel end a decoder rather than its worker or the fork server."""
    with suppress(OSError):  # where /proc is not mounted or not ours
        Path("/proc/self/oom_score_adj").write_text("1000")


def _set_limit(which: int, soft: int, *, grace: int = 0) -> None:
    """Limit a resource, or leave it at less than that where the machine does."""
    _, hard = resource.getrlimit(which)
    most = sys.maxsize if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(which, (min(soft, most), min(soft + grace, most)))


def _apply(parts: Mapping[str, Callable[[], None]]) -> dict[str, Exception]:
    """Put each part in force; those that this machine refuses, and why."""
    missing: dict[str, Exception] = {}
    for name, part in parts.items():
        try:
            part()
        except (OSError, ValueError) as error:  # ValueError: macOS knows no limit of address space
            missing[name] = error
    return missing


def _no_new_privileges() -> None:
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _no_dump() -> None:
    # A core_pattern that pipes into a crash reporter ignores RLIMIT_CORE, and would hand on users' pixels.
    # It keeps other processes of this user from tracing this one, too.
    _prctl(_PR_SET_DUMPABLE, 0)


def _landlock() -> None:
    """Deny all that this kernel's Landlock knows: no rule is added to the ruleset."""
    abi = _syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    rights = _Ruleset(
        handled_access_fs=(1 << _fs_rights(abi)) - 1,
        handled_access_net=0b11 if abi >= 4 else 0,  # bind and connect TCP
        scoped=0b11 if abi >= 6 else 0,  # abstract sockets and signals of others
    )
    # an older kernel takes a longer struct than its own as long as the rest is zero
    ruleset = _syscall(_LANDLOCK_CREATE_RULESET, rights, ctypes.sizeof(rights))
    try:
        _syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _fs_rights(abi: int) -> int:
    """How many file system rights a Landlock of this ABI knows; 1 has 13 of them."""
    if abi >= 5:
        return 16
    return {1: 13, 2: 14}.get(abi, 15)


# seccomp last: it takes away the calls that the others need
_PARTS: dict[str, Callable[[], None]] = {
    "no_new_privs": _no_new_privileges,
    "dump protection": _no_dump,
    "landlock": _landlock,
    "seccomp": seccomp.install,
}


def _prctl(option: int, value: int) -> None:
    if not LINUX:
        raise OSError("not Linux")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(c_int(option), c_ulong(value), c_ulong(0), c_ulong(0), c_ulong(0)) != 0:
        raise _os_error()


def _syscall(number: int, first: "_Ruleset | int | None", second: int, third: int = 0) -> int:
    if not LINUX:
        raise OSError("not Linux")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = c_long
    pointer_or_fd = ctypes.byref(first) if isinstance(first, _Ruleset) else c_long(first or 0)
    result = int(libc.syscall(c_long(number), pointer_or_fd, c_ulong(second), c_ulong(third)))
    if result < 0:
        raise _os_error()
    return result


def _os_error() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))
