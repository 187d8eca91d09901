"""The servers of the one-machine mode: a real Valkey and a real S3 server from wheels, all data in one folder.

Example:
    async with Embedded(data_dir) as embedded:
        api = await Child.start("api", argv, os.environ | embedded.services.environment())
        await embedded.watch()
"""

import asyncio
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from imgsvc.local.folder import DataFolder
from imgsvc.local.process import EmbeddedError
from imgsvc.local.servers import Seaweed, Server, Valkey


@dataclass(frozen=True, slots=True)
class ServerAddresses:
    """Where the servers are and what they let one in with, named as in `Settings`."""

    redis_url: str
    s3_endpoint_url: str
    s3_access_key_id: str
    s3_secret_access_key: str

    def environment(self) -> dict[str, str]:
        """Return the variables that an API or worker process finds them by."""
        return {f"IMGSVC_{name.upper()}": value for name, value in self.settings().items()}

    def settings(self) -> dict[str, str]:
        return asdict(self)


class Embedded:
    """Both servers over one data folder."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.absolute()
        self._folder: DataFolder | None = None
        self.servers: tuple[Server, ...] = ()
        self.services: ServerAddresses
        self.signing_secret: str

    async def start(self) -> None:
        """Lock the folder, start both servers and return once both do their work.

        Raises:
            EmbeddedError: the folder is in use, a wheel is missing, or a server did not start.
        """
        self._folder = folder = await DataFolder.open(self.data_dir)
        try:
            await self._start_servers(folder)
        except BaseException:
            await self.stop()
            raise

    async def watch(self) -> NoReturn:
        """Wait for as long as both servers run.

        Raises:
            EmbeddedError: when one has ended; says which, how, and its last lines.
        """
        tasks = [asyncio.create_task(server.wait()) for server in self.servers]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            raise done.pop().result()
        finally:
            for task in tasks:
                task.cancel()

    async def stop(self) -> None:
        """Stop both servers at once, within 5 s, and give the folder back."""
        try:
            await asyncio.gather(*(server.stop() for server in self.servers))
        finally:
            if self._folder is not None:
                self._folder.close()
            self._folder = None

    async def _start_servers(self, folder: DataFolder) -> None:
        credentials, ports = folder.credentials(), folder.ports()
        valkey = Valkey(
            folder.valkey,
            port=ports.valkey,
            password=credentials.redis_password,
            log_file=folder.logs / "valkey.log",
            keep_fds=(folder.lock_fd,),
        )
        seaweed = Seaweed(
            folder.s3,
            ports=ports.seaweed,
            access_key_id=credentials.s3_access_key_id,
            secret_access_key=credentials.s3_secret_access_key,
            log_file=folder.logs / "s3.log",
            keep_fds=(folder.lock_fd,),
        )
        self.signing_secret = credentials.signing_secret
        self.servers = (valkey, seaweed)
        await _start_together(self.servers)
        folder.note_pids(valkey.pid, seaweed.pid)
        self.services = ServerAddresses(valkey.url, seaweed.url, seaweed.access_key_id, seaweed.secret_access_key)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


async def _start_together(servers: tuple[Server, ...]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            for server in servers:
                group.create_task(server.start())
    except ExceptionGroup as failures:
        ours, others = failures.split(EmbeddedError)
        if ours is None or others is not None:
            raise
        raise EmbeddedError("\n".join(str(error) for error in ours.exceptions)) from failures
