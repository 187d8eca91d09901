"""A service whose S3 a test can break, and what it then says and keeps."""

import random
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from redis import Redis

from imgsvc.local.servers import Seaweed
from imgsvc.storage import PART_BYTES
from tests.support import images
from tests.support.fault_proxy import Proxy
from tests.support.ledger import Entry, Ledger
from tests.support.service import Servers, Service, until

PHOTO = images.photo()
BIG = PHOTO + random.Random(0).randbytes(4 * PART_BYTES)  # five parts; a decoder stops where the picture ends
UNAVAILABLE = 503, "storage_unavailable"
JPEG = {"content-type": "image/jpeg"}
SWEEP_S = 0.2
SAID_S = 8.0
"""By when an upload must have been answered, whatever S3 does: the default deadline of 4 s, and as much again."""


@asynccontextmanager
async def behind_proxy(servers: Servers, workers: int = 1, **settings: object) -> AsyncGenerator[tuple[Ledger, Proxy]]:
    """A service of its own, and the proxy in front of its S3."""
    environment = servers.environment()
    async with Proxy.to("127.0.0.1", servers.seaweed.ports.s3) as s3:
        environment["IMGSVC_S3_ENDPOINT_URL"] = s3.url(servers.seaweed.url)
        async with Service.start(environment, workers=workers, **{"sweep_interval_s": SWEEP_S} | settings) as service:
            yield Ledger(service), s3


def said(entry: Entry) -> tuple[int | None, str | None]:
    return entry.status, entry.code


def seconds(entries: Iterable[Entry]) -> str:
    return ", ".join(f"{entry.seconds:.2f} s" for entry in entries)


async def until_postponed(ledger: Ledger, entry: Entry) -> None:
    """Until a job that cannot be done is given back, without a delivery spent."""

    async def postponed() -> bool:
        with closing(Redis.from_url(ledger.service.environment["IMGSVC_REDIS_URL"])) as redis:
            record: Any = redis.hgetall(f"imgsvc:upload:{entry.id}")
        return record[b"status"] == b"PROGRESS" and b"lease" not in record and record[b"deliveries"] == b"0"

    await until(postponed)


@asynccontextmanager
async def own_seaweed(servers: Servers, folder: Path) -> AsyncGenerator[tuple[Seaweed, dict[str, str]]]:
    """An S3 server that may be harmed, and settings for a service on it."""
    shared = servers.seaweed
    seaweed = Seaweed(
        folder / "s3",
        access_key_id=shared.access_key_id,
        secret_access_key=shared.secret_access_key,
        log_file=folder.parent / "s3.log",
    )
    try:
        await seaweed.start()
        yield seaweed, servers.environment() | {"IMGSVC_S3_ENDPOINT_URL": seaweed.url}
    finally:
        await seaweed.stop()
