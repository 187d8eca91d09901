"""The sockets that a process listens on: TCP, on each address that its host has, or a Unix socket."""

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

from imgsvc.runtime.environment import PREFIX
from imgsvc.runtime.local_settings import LocalSettings, SettingsError
from imgsvc.runtime.settings import Settings

_BACKLOG = 1024
_UNSENT_BYTES = 64 * 1024
"""What the kernel takes of an answer beyond what is on its way: with megabytes of it, nobody sees how a reader does."""

_LOOPBACK = ("127.0.0.1", "::1")
_UNIX_UMASK = 0o117  # 0660: for its user and its group, so that a proxy of that group reaches it
_FOLDER_LOCK_WAIT_S = 2.0


@contextmanager
def listening(settings: LocalSettings) -> Generator[list[socket.socket]]:
    """The API's listening sockets, which are gone when this is left.

    Raises:
        SettingsError: with one line that names what to set, when the address is not available.
    """
    if settings.unix_socket is None:
        listeners = _listen(settings.host, settings.port, "PORT")
    else:
        listeners = [_listen_unix(settings.unix_socket)]
    try:
        yield listeners
    finally:
        if settings.unix_socket is not None:
            _remove(settings.unix_socket, listeners[0])
        for listener in listeners:
            listener.close()


def listen_for_metrics(settings: Settings) -> socket.socket | None:
    """The socket of a worker's /metrics, where it is to have one.

    Raises:
        SettingsError: as above.
    """
    if not settings.metrics_port:
        return None
    first, *others = _listen(settings.metrics_host, settings.metrics_port, "METRICS_PORT")
    for other in others:
        other.close()
    return first


def _listen(host: str, port: int, setting: str) -> list[socket.socket]:
    """One socket an address; for `::` a single one, which takes IPv4 too."""
    listeners: list[socket.socket] = []
    failures: list[OSError] = []
    try:
        for family, address in _addresses(host, port):
            try:
                listeners.append(_bind(family, address, dual_stack=host == "::"))
            except OSError as error:
                failures.append(error)
                if error.errno != errno.EADDRNOTAVAIL and error.errno != errno.EAFNOSUPPORT:
                    break
    except OSError as error:
        failures.append(error)
    missing = [error for error in failures if error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}]
    if listeners and missing == failures:  # such as a localhost whose ::1 this machine has not switched on
        return listeners
    for listener in listeners:
        listener.close()
    raise _refused(host, port, setting, failures[0]) from failures[0]


def _addresses(host: str, port: int) -> Sequence[tuple[int, tuple[str, int] | tuple[str, int, int, int]]]:
    if host == "localhost":  # whatever a resolver answers: it is what makes an API without keys safe
        return [(socket.AF_INET6 if ":" in address else socket.AF_INET, (address, port)) for address in _LOOPBACK]
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))  # pyright: ignore[reportReturnType] (no AF_PACKET)


def _bind(family: int, address: tuple[str, int] | tuple[str, int, int, int], *, dual_stack: bool) -> socket.socket:
    listener = socket.create_server(address, family=family, backlog=_BACKLOG, dualstack_ipv6=dual_stack)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # connections inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
    return listener


def _refused(host: str, port: int, setting: str, error: OSError) -> SettingsError:
    if error.errno in {errno.EADDRINUSE, errno.EACCES}:
        remedy = f"stop the program that uses it, or set {PREFIX}{setting} to a free one"
    else:
        remedy = f"set {PREFIX}{setting.replace('PORT', 'HOST')} to an address of this machine"
    # a resolver's numbers are its own
    reason = "no such name" if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
    return SettingsError(f"cannot listen on {host} port {port} ({reason}): {remedy}")


def _listen_unix(path: Path) -> socket.socket:
    """A socket that replaces one that a dead process left, and nothing else."""
    try:
        with _locked(path.parent):
            _make_way(path)
            listener = socket.socket(socket.AF_UNIX)
            mask = os.umask(_UNIX_UMASK)
            try:
                listener.bind(os.fspath(path))
                listener.listen(_BACKLOG)
            except BaseException:
                listener.close()
                raise
            finally:
                os.umask(mask)
    except OSError as error:
        remedy = f"set {PREFIX}UNIX_SOCKET to a path in a folder that this user may write to"
        raise SettingsError(f"cannot listen on {path} ({error.strerror or error}): {remedy}") from error
    return listener


def _make_way(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SettingsError(f"cannot listen on {path}: it is no socket; set {PREFIX}UNIX_SOCKET to another path")
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:  # nobody listens any more
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:  # somebody does, and is busy
            pass
    raise SettingsError(
        f"cannot listen on {path}: a running process listens there; stop it, or set {PREFIX}UNIX_SOCKET to another path"
    )


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Of two processes that find a dead socket at once, the second must see what the first put in its place."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        end = monotonic() + _FOLDER_LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if monotonic() > end:  # whoever holds it is not one of us: ours take a millisecond
                    break
                sleep(0.01)
        yield
    finally:
        os.close(fd)


def _remove(path: Path, listener: socket.socket) -> None:
    """Take the socket's file away, unless another process has put its own there meanwhile."""
    with suppress(FileNotFoundError, PermissionError), closing(socket.socket(socket.AF_UNIX)) as probe:
        listener.close()
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
