"""What the service promises when it is started before what it needs (row C4)."""

import asyncio
from pathlib import Path

import httpx
import pytest

from imgsvc.local.embedded import ServerAddresses
from imgsvc.local.servers import Seaweed, Valkey
from tests.support import images
from tests.support.ledger import Ledger
from tests.support.service import Service, until

PHOTO = images.photo()


@pytest.mark.parametrize("valkey_first", [True, False], ids=["valkey first", "s3 first"])
async def test_c4_started_before_its_servers_the_service_waits_for_them(tmp_path: Path, valkey_first: bool) -> None:
    valkey, seaweed = Valkey(tmp_path / "valkey"), Seaweed(tmp_path / "s3")
    services = ServerAddresses(valkey.url, seaweed.url, seaweed.access_key_id, seaweed.secret_access_key)
    service = Service(services.environment())
    first, last = (valkey, seaweed) if valkey_first else (seaweed, valkey)
    try:
        await service.start_api()
        await service.start_worker()

        async def alive() -> bool:
            try:
                return (await service.client.get("/healthz")).status_code == 200
            except httpx.TransportError:
                return False

        async def refused() -> None:
            assert (await service.client.get("/readyz")).status_code == 503
            answer = await service.post(PHOTO)
            assert (answer.status_code, answer.headers["retry-after"].isdecimal()) == (503, True)

        await until(alive)
        await refused()
        await first.start()
        await refused()
        await last.start()
        begin = asyncio.get_running_loop().time()
        await service.until_ready(1)
        seconds = asyncio.get_running_loop().time() - begin
        print(f"C4: ready {seconds:.2f} s after {last.name}, the last")
        assert seconds < 2 * 10
        assert all(child.running for child in (service.api, *service.workers)), "nobody gave up in between"
        ledger = Ledger(service)
        await ledger.post(PHOTO)
        await ledger.settle()
        assert ledger.accepted
    finally:
        await service.stop()
        await asyncio.gather(valkey.stop(), seaweed.stop())
