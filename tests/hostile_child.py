"""A decoder child that does what its image says: the code of whoever takes a decoder over.

Run as the command of a DecoderPool. It starts, locks down and talks as the real one does; an image that begins with
the name of an act makes it commit that act instead, and every other one is rendered.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from imgsvc.decoder import child
from imgsvc.imaging.render import Admit, OnStep, render
from imgsvc.model import Limits, Original, Placeholder, Rendered, Rendition, Variant

REPLIES_FD = 4  # where the child has moved its stdout to, see child.Channel
MIB = 1024 * 1024
ROOM_HELD_S = 1.0


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


def say(message: object) -> None:
    raw = json.dumps(message).encode()
    os.write(REPLIES_FD, len(raw).to_bytes(4, "big") + raw)


def lie_about_a_length() -> None:
    original = {"width": 1, "height": 1, "format": "jpeg", "frames": 1}
    results = [{"width": 10, "height": 10, "format": "jpeg", "size_bytes": 10_000_000_000}]
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
    )
}


def hostile_render(
    source: bytes, variants: Sequence[Variant], limits: Limits, on_step: OnStep, admit: Admit
) -> Rendered:
    if source == b"escape":
        return answer([Rendition(variants[0].name, 1, 1, "jpeg", escape())])
    if source == b"fill_the_room":
        admit(1024 * MIB)
        time.sleep(ROOM_HELD_S)
        return answer([Rendition(v.name, 1, 1, "jpeg", b"x") for v in variants])
    if source in ACTS:
        on_step("decode", 0, len(variants) + 1)
        ACTS[source]()
        return answer([Rendition(v.name, 1, 1, "jpeg", b"x") for v in variants])
    return render(source, variants, limits, on_step, admit)


def answer(renditions: Sequence[Rendition]) -> Rendered:
    return Rendered(Original(1, 1, "jpeg", 1), tuple(renditions), Placeholder("AAAAAAAA", "#000000"))


if __name__ == "__main__":
    if sys.argv[1:] == ["stillborn"]:
        sys.exit("no such codec")
    child.main(hostile_render)
