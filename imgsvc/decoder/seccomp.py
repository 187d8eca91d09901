"""A seccomp filter: the system calls that decoding needs, and no other.

A list of what is allowed, not of what is denied: after warm-up the child only computes, allocates and talks on pipes
that it has already, so the list is short, and a system call that the next kernel brings is denied unheard of.
What is denied fails with EPERM instead of killing: libraries probe for calls, and go on without.
"""

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass

# include/uapi/linux/{prctl,seccomp,filter,bpf_common}.h
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_RET_KILL_PROCESS = 0x8000_0000
_RET_ERRNO = 0x0005_0000
_RET_ALLOW = 0x7FFF_0000
_LOAD_WORD = 0x20
_JUMP_EQUAL = 0x15
_RETURN = 0x06

# struct seccomp_data: int nr; u32 arch; u64 instruction_pointer; u64 args[6] (little-endian on both machines below)
_NR, _ARCH, _ARG0 = 0, 4, 16

# VM | FS | FILES | SIGHAND | THREAD | SYSVSEM | SETTLS | PARENT_SETTID | CHILD_CLEARTID (include/uapi/linux/sched.h):
# what the C libraries start a thread with, and nothing else. musl adds a flag that means nothing, DETACHED.
_THREAD_FLAGS = (0x003D_0F00, 0x007D_0F00)


@dataclass(frozen=True, slots=True)
class _Machine:
    audit_arch: int
    clone: int
    clone3: int
    allowed: dict[str, int]


_NAMES = (
    # the pipes to the parent
    *("read", "write", "readv", "writev", "close", "fstat", "lseek"),
    # memory
    *("brk", "mmap", "munmap", "mremap", "mprotect", "madvise"),
    # threads: libwebp decodes large images in two
    *("futex", "set_robust_list", "rseq", "sched_yield", "sched_getaffinity", "membarrier", "gettid", "getpid"),
    # signals to itself, clocks, chance, and the end
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall"),
    *("clock_gettime", "clock_getres", "clock_nanosleep", "gettimeofday", "getrusage", "getrandom"),
    *("exit", "exit_group"),
)


def _numbers(*numbers: int) -> dict[str, int]:
    return dict(zip(_NAMES, numbers, strict=True))


# In the order of _NAMES. x86_64: arch/x86/entry/syscalls/syscall_64.tbl; aarch64: include/uapi/asm-generic/unistd.h
_MACHINES = {
    "x86_64": _Machine(
        audit_arch=0xC000_003E,
        clone=56,
        clone3=435,
        allowed=_numbers(
            *(0, 1, 19, 20, 3, 5, 8),
            *(12, 9, 11, 25, 10, 28),
            *(202, 273, 334, 24, 204, 324, 186, 39),
            *(13, 14, 15, 131, 219),
            *(228, 229, 230, 96, 98, 318),
            *(60, 231),
        ),
    ),
    "aarch64": _Machine(
        audit_arch=0xC000_00B7,
        clone=220,
        clone3=435,
        allowed=_numbers(
            *(63, 64, 65, 66, 57, 80, 62),
            *(214, 222, 215, 216, 226, 233),
            *(98, 99, 293, 124, 123, 283, 178, 172),
            *(134, 135, 139, 132, 128),
            *(113, 114, 115, 169, 165, 278),
            *(93, 94),
        ),
    ),
}


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install() -> None:
    """Filter this process's system calls for good. Needs no_new_privs.

    Raises:
        OSError: the kernel has no seccomp, or this machine's calls are not known here.
    """
    machine = _MACHINES.get(os.uname().machine)
    # a 32-bit Python on a 64-bit kernel makes calls of another architecture, which the filter answers with a kill
    if sys.platform != "linux" or machine is None or sys.maxsize < 2**32:
        raise OSError(errno.ENOSYS, "no system call list for this machine")
    code = b"".join(_instructions(machine))
    program = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(program)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _instructions(machine: _Machine) -> Iterator[bytes]:
    yield _instruction(_LOAD_WORD, _ARCH)
    yield _instruction(_JUMP_EQUAL, machine.audit_arch, if_true=1)
    yield _instruction(_RETURN, _RET_KILL_PROCESS)  # a foreign architecture numbers its calls otherwise
    yield _instruction(_LOAD_WORD, _NR)
    for number in machine.allowed.values():
        yield _instruction(_JUMP_EQUAL, number, if_false=1)
        yield _instruction(_RETURN, _RET_ALLOW)
    # clone3 keeps its flags where a filter cannot see them; on ENOSYS the C library falls back to clone
    yield _instruction(_JUMP_EQUAL, machine.clone3, if_false=1)
    yield _instruction(_RETURN, _RET_ERRNO | errno.ENOSYS)
    yield _instruction(_JUMP_EQUAL, machine.clone, if_false=1 + 2 * len(_THREAD_FLAGS))
    yield _instruction(_LOAD_WORD, _ARG0)  # the kernel looks at no more than this word of the flags either
    for flags in _THREAD_FLAGS:
        yield _instruction(_JUMP_EQUAL, flags, if_false=1)
        yield _instruction(_RETURN, _RET_ALLOW)
    yield _instruction(_RETURN, _RET_ERRNO | errno.EPERM)


def _instruction(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    """struct sock_filter"""
    return struct.pack("=HBBI", code, if_true, if_false, value)
