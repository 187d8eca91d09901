"""A decoder child that does what its image says: the code of whoever takes a decoder over.

Run as the command of a DecoderPool. It starts, locks down and talks as the real one does; an image that begins with
the name of an act makes it commit that act instead, and every other one is rendered.
"""

import ctypes
import errno
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from imgsvc.decoder import child, lockdown, seccomp
from imgsvc.domain.model import Limits, Original, Placeholder, Rendered, Rendition, Variant
from imgsvc.imaging.render import Admit, OnStep, render

REQUESTS_FD, REPLIES_FD = 3, 4  # where the child has moved stdin and stdout to, see child.Channel
MIB = 1024 * 1024
ROOM_HELD_S = 1.0
WORK_CPU_S = 0.4
EXECUTABLE = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
"""A page for machine code, made before there is a lock that could forbid it."""

taken_over = False
kept: list[str] = []


def hang() -> None:
    while True:
        pass


def segfault() -> None:
    ctypes.string_at(0)


def leave() -> None:
    os._exit(0)


def allocate() -> None:
    hoard = [bytearray(64 * MIB) for _ in range(64)]
    assert hoard


def hog_cpu() -> None:
    os.kill(os.getpid(), signal.SIGXCPU)


def chatter() -> None:
    print("a stray line of a library", flush=True)
    os.write(1, b"and another")


def garbage() -> None:
    os.write(REPLIES_FD, b"\x00\x00\x00\x05nojsn")


def long_header() -> None:
    os.write(REPLIES_FD, b"\xff\xff\xff\xff")


def framed(message: object) -> bytes:
    raw = json.dumps(message).encode()
    return len(raw).to_bytes(4, "big") + raw


def say(message: object) -> None:
    os.write(REPLIES_FD, framed(message))


def lie_about_a_length() -> None:
    original = {"width": 1, "height": 1, "format": "jpeg", "frames": 1, "facts": {"palette": []}}
    results = [{"variant": "small", "width": 10, "height": 10, "format": "jpeg", "size_bytes": 10_000_000_000}]
    placeholder = {"thumbhash": "AAAAAAAA", "color": "#000000"}
    say({"Done": {"original": original, "results": results, "placeholder": placeholder}})


def report_steps_for_ever() -> None:
    while True:
        say({"Step": {"step": "decode", "done": 0, "total": 2}})


def foreign_code() -> None:
    say({"Failed": {"code": "source_missing"}})


def ask_for_room_twice() -> None:
    for _ in range(2):
        say({"Need": {"size_bytes": 2**40}})
    hang()


def hang_up() -> None:
    os.close(REPLIES_FD)
    hang()


def sleep() -> None:
    time.sleep(1000)


def stop_itself() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hang()


def work() -> None:
    begin = time.process_time()
    while time.process_time() - begin < WORK_CPU_S:
        pass


def send_half_a_frame() -> None:
    os.write(REPLIES_FD, (1000).to_bytes(4, "big") + b'{"Step": ')
    os._exit(0)


def drip() -> None:
    os.write(REPLIES_FD, (60_000).to_bytes(4, "big"))
    while True:
        os.write(REPLIES_FD, b" ")
        time.sleep(0.05)


def close_stderr() -> None:
    os.close(1)
    os.close(2)
    hang()


def flood_stderr() -> None:
    while True:
        os.write(2, b"!" * 65536)


def a_result() -> bytes:
    original = {"width": 1, "height": 1, "format": "jpeg", "frames": 1, "facts": {"palette": []}}
    results = [{"variant": "small", "width": 1, "height": 1, "format": "jpeg", "size_bytes": 1}]
    placeholder = {"thumbhash": "AAAAAAAA", "color": "#000000"}
    return framed({"Done": {"original": original, "results": results, "placeholder": placeholder}}) + b"x"


def send_its_result_twice() -> None:
    os.write(REPLIES_FD, 2 * a_result())  # at once: what comes only with the next image nobody can tell from its answer
    sleep()


def answer_and_stop_reading() -> None:
    os.write(REPLIES_FD, a_result())
    sleep()


def take_over() -> None:
    global taken_over
    taken_over = True


def call_by_the_32_bit_gate() -> None:
    EXECUTABLE.write(bytes.fromhex("b814000000 cd80 c3"))  # mov eax, getpid; int 0x80; ret
    address = ctypes.addressof(ctypes.c_char.from_buffer(EXECUTABLE))
    ctypes.CFUNCTYPE(ctypes.c_int)(address)()


def speak_its_last() -> None:
    raise RuntimeError("out of ideas" + "!" * 100_000)


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return type(error).__name__
    return "done"


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def ptrace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, os.getppid(), None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def in_a_thread() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


ESCAPES: dict[str, Callable[[], object]] = {
    "open": lambda: Path("/etc/passwd").read_bytes(),
    "write": lambda: Path("/tmp/imgsvc-escape").write_bytes(b"x"),
    "list": lambda: os.listdir("/"),  # noqa: PTH208 (the system call itself)
    "stat": lambda: Path("/etc/passwd").stat(),
    "tcp": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "unix": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
    "pair": socket.socketpair,
    "fork": fork,
    "exec": lambda: os.execv("/bin/true", ["/bin/true"]),
    "spawn": lambda: subprocess.run(["/bin/true"], check=True),
    "kill parent": lambda: os.kill(os.getppid(), signal.SIGTERM),
    "ptrace parent": ptrace,
    "pipe": os.pipe,
    "memfd": lambda: os.memfd_create("code"),
}


MACHINE = os.uname().machine
X32 = 0x4000_0000  # x86_64's calls by the numbers of its third ABI
CLONE_NEWUSER = 0x1000_0000


def system_calls() -> bytes:
    """What becomes of every system call that the list does not name, and of threads that are none."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    machine = seccomp._MACHINES[MACHINE]  # pyright: ignore[reportPrivateUsage]
    (thread, *_) = seccomp._THREAD_FLAGS  # pyright: ignore[reportPrivateUsage]

    def errno_of(number: int, *arguments: int) -> int:
        ctypes.set_errno(0)
        libc.syscall(ctypes.c_long(number), *(ctypes.c_long(argument) for argument in arguments or (0,) * 6))
        return ctypes.get_errno()

    # the kernel asks no filter about its own uretprobe and uprobe, and ends whoever calls them elsewhere with SIGILL
    allowed = {*machine.allowed.values(), machine.clone, machine.clone3, *((335, 336) if MACHINE == "x86_64" else ())}
    found = {str(number): errno_of(number) for number in range(600) if number not in allowed}
    if MACHINE == "x86_64":
        found |= {f"x32 {number}": errno_of(X32 | number) for number in range(600)}
    clones = {"fork": signal.SIGCHLD, "namespace": thread | CLONE_NEWUSER, "parent": thread | 0x8000, "signal": 17}
    clones |= {"thread but one flag": thread & ~0x100, "vfork": 0x4100 | signal.SIGCHLD}
    found |= {f"clone {name}": errno_of(machine.clone, flags) for name, flags in clones.items()}
    return json.dumps(found | {"clone3": errno_of(machine.clone3)}).encode()


def escape() -> bytes:
    found: dict[str, object] = {name: outcome(attempt) for name, attempt in ESCAPES.items()}
    found["thread"] = outcome(in_a_thread)
    # the interpreter itself sets LC_CTYPE where it starts without a locale
    found["environment"] = sorted(set(os.environ) - {"LC_CTYPE"})
    return json.dumps(found).encode()


ACTS: dict[bytes, Callable[[], object]] = {
    act.__name__.encode(): act
    for act in (
        *(hang, segfault, leave, allocate, hog_cpu, chatter, garbage, long_header, lie_about_a_length),
        *(report_steps_for_ever, foreign_code, ask_for_room_twice, hang_up, speak_its_last),
        *(sleep, stop_itself, ignore_sigterm, work, send_half_a_frame, drip, close_stderr, flood_stderr),
        *(send_its_result_twice, answer_and_stop_reading, take_over, call_by_the_32_bit_gate),
    )
}


def hostile_render(
    source: bytes,
    variants: Sequence[Variant],
    limits: Limits,
    on_step: OnStep,
    admit: Admit,
    overlays: Mapping[str, bytes],
    keep_location: bool,
) -> Rendered:
    if source.startswith(b"secret"):
        kept.append(source.decode())
    if taken_over:
        return answer([Rendition(v.name, 1, 1, "jpeg", json.dumps(kept).encode()) for v in variants])
    if source in (b"escape", b"system_calls"):
        found = escape() if source == b"escape" else system_calls()
        return answer([Rendition(variants[0].name, 1, 1, "jpeg", found)])
    if source == b"fill_the_room":
        admit(1024 * MIB)
        time.sleep(ROOM_HELD_S)
        return answer([Rendition(v.name, 1, 1, "jpeg", b"x") for v in variants])
    if source in ACTS or source.startswith(b"secret"):
        on_step("decode", 0, len(variants) + 1)
        ACTS.get(source, int)()
        return answer([Rendition(v.name, 1, 1, "jpeg", b"x") for v in variants])
    return render(source, variants, limits, on_step, admit, overlays, keep_location)


def no_landlock() -> None:
    raise OSError(errno.EOPNOTSUPP, "disabled at boot")


def answer(renditions: Sequence[Rendition]) -> Rendered:
    return Rendered(Original(1, 1, "jpeg", 1), tuple(renditions), Placeholder("AAAAAAAA", "#000000"))


if __name__ == "__main__":
    if sys.argv[1:] == ["stillborn"]:
        sys.exit("no such codec")
    if sys.argv[1:] == ["without_landlock"]:
        lockdown._PARTS["landlock"] = no_landlock  # pyright: ignore[reportPrivateUsage]
    child.main(hostile_render)
