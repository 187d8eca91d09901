"""How a process of ours is set up before it does anything: its log, its allocator, its presets, its sockets."""

import ctypes
import errno
import os
import resource
import socket

from imgsvc import logs
from imgsvc.presets import PresetError, Presets, load
from imgsvc.settings import PREFIX, LocalSettings, Settings, SettingsError

_BACKLOG = 1024
_UNSENT_BYTES = 64 * 1024
"""What the kernel takes of an answer beyond what is on its way: with megabytes of it, nobody sees how a reader does."""

_M_MMAP_THRESHOLD = -3  # malloc.h


def set_up(settings: LocalSettings) -> None:
    logs.set_up(settings)
    _keep_big_buffers_apart()


def _keep_big_buffers_apart() -> None:
    """Makes glibc give each buffer of 1 MiB and more its own mapping, which returns to the system when freed.

    Left alone, glibc raises that threshold with each such buffer that is freed, and parts of uploads then
    fragment the heap: twenty uploads of 64 MiB left 360 MB behind, and leave 17 MB with this.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries have no such threshold
        mallopt(_M_MMAP_THRESHOLD, 1024 * 1024)


def load_presets(settings: LocalSettings) -> Presets:
    """The presets that uploads can ask for.

    Raises:
        SettingsError: with one line that says what is wrong with the file of presets, and where in it.
    """
    try:
        return load(settings.presets_file)
    except PresetError as error:
        raise SettingsError(f"{PREFIX}PRESETS_FILE is wrong: {error}") from error


def allow_files(count: int) -> None:
    """Lets this process have so many files and sockets open, as far as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def listen(settings: LocalSettings) -> socket.socket:
    """The API's listening socket.

    Raises:
        SettingsError: with one line that says what to set, when the address cannot be had.
    """
    return _listen(settings.host, settings.port, "PORT")


def listen_for_metrics(settings: Settings) -> socket.socket | None:
    """The socket at which a worker tells its metrics, where it is to have one.

    Raises:
        SettingsError: as above.
    """
    if not settings.metrics_port:
        return None
    return _listen(settings.metrics_host, settings.metrics_port, "METRICS_PORT")


def _listen(host: str, port: int, setting: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno in {errno.EADDRINUSE, errno.EACCES}:
            remedy = f"stop the program that uses it, or set {PREFIX}{setting} to a free one"
        else:
            remedy = f"set {PREFIX}{setting.replace('PORT', 'HOST')} to an address of this machine"
        # a resolver's numbers are negative, and its own
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else "no such name"
        raise SettingsError(f"cannot listen on {host} port {port} ({reason}): {remedy}") from error
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # connections inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
    return listener
