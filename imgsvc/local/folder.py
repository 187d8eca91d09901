"""The folder that holds everything of the one-machine mode, for one imgsvc at a time.

- lock: pids of who uses it, imgsvc itself first, then its servers
- credentials.json: passwords and keys of the servers, made once
- ports.json: where the servers listened last
- valkey/, s3/: their data
- logs/: their output
"""

import asyncio
import fcntl
import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from imgsvc.local.ports import free_ports, is_free
from imgsvc.local.private import write_private
from imgsvc.local.process import EmbeddedError
from imgsvc.local.servers import SeaweedPorts, valkey_url

LOCK_WAIT_S = 1.0  # servers of a killed parent are killed too, and gone within milliseconds
LOCK_INTERVAL_S = 0.02


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the servers let us in with, and what the API signs with unless the operator has set something else."""

    redis_password: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    s3_access_key_id: str = field(default_factory=lambda: secrets.token_hex(10))
    s3_secret_access_key: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    signing_secret: str = field(default_factory=lambda: secrets.token_hex(32))


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the servers listen; kept from start to start, since SeaweedFS names a folder after one."""

    valkey: int
    seaweed: SeaweedPorts

    @classmethod
    def free(cls) -> Self:
        valkey, *seaweed = free_ports(6)  # drawn together: drawn apart, two of them may be the same
        return cls(valkey, SeaweedPorts(*seaweed))

    @property
    def are_free(self) -> bool:
        return is_free(self.valkey) and self.seaweed.are_free


class DataFolder:
    """A data folder that is ours until `close`."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self.lock_fd = lock_fd
        self.valkey = path / "valkey"
        self.s3 = path / "s3"
        self.logs = path / "logs"

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Make the folder if need be, and lock it.

        Raises:
            EmbeddedError: another imgsvc or a server of its uses the folder, or it cannot be written.
        """
        try:
            lock_fd = _open_lock(path)
        except OSError as error:
            raise EmbeddedError(
                f"cannot keep data in {path}: {error.strerror}; set IMGSVC_DATA_DIR to a folder of yours"
            ) from error
        try:
            await _lock(lock_fd, path)
        except BaseException:
            os.close(lock_fd)
            raise
        folder = cls(path, lock_fd)
        folder.note_pids()
        return folder

    def close(self) -> None:
        os.close(self.lock_fd)

    def note_pids(self, *servers: int) -> None:
        """Write into the lock who holds it, for the one who is refused."""
        os.ftruncate(self.lock_fd, 0)
        os.pwrite(self.lock_fd, " ".join(map(str, (os.getpid(), *servers))).encode(), 0)

    def credentials(self) -> Credentials:
        """Return those of the last start, and write down what that version had not."""
        file = self.path / "credentials.json"
        kept = json.loads(file.read_text("utf-8")) if file.exists() else {}
        credentials = Credentials(**kept)
        if asdict(credentials) != kept:
            write_private(file, json.dumps(asdict(credentials)))
        return credentials

    def ports(self) -> Ports:
        """Return the ports of the last start, or others where somebody has taken one since."""
        file = self.path / "ports.json"
        if file.exists():
            kept = json.loads(file.read_text("utf-8"))
            ports = Ports(kept["valkey"], SeaweedPorts(**kept["seaweed"]))
            if ports.are_free:
                return ports
        ports = Ports.free()
        write_private(file, json.dumps(asdict(ports)))
        return ports


def owner(path: Path) -> int | None:
    """The pid of the imgsvc that uses the folder now, or None."""
    try:
        fd = os.open(path / "lock", os.O_RDONLY)
    except OSError:
        return None
    try:
        return None if _try_lock(fd) else _pids(fd)[0] or None
    finally:
        os.close(fd)


def redis_url(path: Path) -> str | None:
    """The address of the Valkey of the imgsvc that uses the folder now, None if there is none."""
    if owner(path) is None:
        return None
    try:
        credentials = Credentials(**json.loads((path / "credentials.json").read_text("utf-8")))
        port = int(json.loads((path / "ports.json").read_text("utf-8"))["valkey"])
    except FileNotFoundError:  # it has just started for the first time
        return None
    return valkey_url(credentials.redis_password, port)


def _open_lock(path: Path) -> int:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not any(path.iterdir()):  # a folder with somebody else's files keeps its mode; those inside are closed anyway
        path.chmod(0o700)
    (path / "logs").mkdir(mode=0o700, exist_ok=True)
    return os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)


async def _lock(fd: int, path: Path) -> None:
    """Lock `fd`. The servers inherit it, so that the lock holds for as long as anybody uses the data."""
    try:
        async with asyncio.timeout(LOCK_WAIT_S):
            while not _try_lock(fd):  # noqa: ASYNC110 (a lock of the kernel has no event)
                await asyncio.sleep(LOCK_INTERVAL_S)
    except TimeoutError as error:
        raise _in_use(fd, path) from error


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _in_use(fd: int, path: Path) -> EmbeddedError:
    first, *servers = _pids(fd)
    if _is_alive(first):
        return EmbeddedError(
            f"another imgsvc (pid {first}) is using {path}: stop it, or set IMGSVC_DATA_DIR to another folder"
        )
    left = " ".join(str(pid) for pid in servers if _is_alive(pid))
    return EmbeddedError(f"servers of an imgsvc that was killed still use {path}: end them with `kill {left}`")


def _pids(fd: int) -> list[int]:
    """Whom the lock names; 0 in the instant before its holder has written."""
    return [int(pid) for pid in os.pread(fd, 1024, 0).split()] or [0]


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
