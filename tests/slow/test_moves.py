"""All moves at once, while S3 finishes what was given up long ago: nothing is stuck, nothing is left (Q22)."""

import asyncio
import random
from contextlib import closing, suppress
from time import time
from typing import Any

import httpx
from redis import Redis

from imgsvc.jobs.record import Record
from tests.support import images
from tests.support.chaos_s3 import behind_proxy
from tests.support.fault_proxy import NONE, Fault, Proxy
from tests.support.service import Servers, leftovers, settings_of, until

UPLOADS = 700
AT_ONCE = 24
QUIET_S = 120.0
PHOTO = images.photo(320, 240)
DAMAGED = PHOTO[: len(PHOTO) // 2]
EMPTY = {
    *("waiting", "line", "jobs", "derivations", "queue", "sweep", "settling", "obsolete", "webhooks"),
    *("derivation-webhooks", "deliveries"),
}
VARIANTS = {"thumbnail": {"width": 50}, "card": {"width": 60, "height": 40, "fit": "cover", "format": "webp"}}
ENDED = {"SUCCESS", "FAILURE", "CANCELLED"}


class Clients:
    """They do with their uploads what comes to their minds."""

    def __init__(self, client: httpx.AsyncClient, chance: random.Random) -> None:
        self._client = client
        self._chance = chance
        self.known: set[str] = set()
        self.derivations = 0

    async def run(self) -> None:
        lives = iter(range(UPLOADS))

        async def client() -> None:
            for number in lives:
                await self._life(number)

        await asyncio.gather(*(client() for _ in range(AT_ONCE)))

    async def _life(self, number: int) -> None:
        answer = await self._upload(number)
        if answer is None:
            return
        if answer.status_code != 202:
            assert answer.status_code in {409, 422, 503}, answer.text
            return
        path = f"/upload/{answer.json()['id']}"
        self.known.add(path)
        if self._chance.random() < 0.3:  # there is something to derive from
            await self._client.get(f"{path}/status", params={"wait": "20"})
        for _ in range(self._chance.randint(0, 4)):
            await asyncio.sleep(self._chance.uniform(0, 0.4))
            await self._move(path)

    async def _upload(self, number: int) -> httpx.Response | None:
        """None where the client goes away in the middle."""
        rolled = self._chance.random
        fields = {"expires_in": str(self._chance.randint(2, 6))} if rolled() < 0.1 else {}
        headers = {"idempotency-key": f"moves-{number % (UPLOADS // 2)}"} if rolled() < 0.3 else {}
        file = "photo.jpg", DAMAGED if rolled() < 0.15 else PHOTO
        goes_s = self._chance.uniform(0.001, 0.2) if rolled() < 0.1 else None
        with suppress(TimeoutError):
            async with asyncio.timeout(goes_s):
                return await self._client.post("/upload", files={"file": file}, data=fields, headers=headers)
        return None

    async def _move(self, path: str) -> None:
        move = self._chance.choice(["cancel", "cancel", "retry", "variants", "variants", "delete", "status"])
        method, called = {"delete": ("DELETE", path), "status": ("GET", f"{path}/status")}.get(
            move, ("POST", f"{path}/{move}")
        )
        body = {"variants": VARIANTS} if move == "variants" else None
        answer = await self._client.request(method, called, json=body)
        assert answer.status_code < 500 or answer.status_code == 503, (move, answer.text)
        self.derivations += move == "variants" and answer.status_code == 202


async def storms(s3: Proxy, chance: random.Random) -> None:
    """S3 is told late of what is put, whether its sender still waits for it or not."""
    while True:
        s3.fault = Fault(on=rb"^PUT ", share=0.3, latency_s=chance.uniform(0.5, 4))
        await asyncio.sleep(1)


async def test_q22_after_all_moves_at_once_nothing_is_stuck_and_nothing_is_left(servers: Servers) -> None:
    chance = random.Random(22)
    limits = {
        "rate_limit": 10**6,
        "quota_bytes": 2**40,
        "tombstone_ttl_s": 3,
        "replaced_ttl_s": 2,
        "s3_timeout_s": 2,
        "lease_s": 2,
    }
    async with behind_proxy(servers, workers=2, decoders=1, reservation_ttl_s=5, **limits) as (ledger, s3):
        clients = Clients(ledger.service.client, chance)
        storm = asyncio.create_task(storms(s3, chance))
        await clients.run()
        assert clients.derivations > 50
        storm.cancel()
        s3.fault = NONE
        wrong: list[str] = []

        async def is_right() -> bool:
            nonlocal wrong
            wrong = await asyncio.to_thread(what_is_wrong, ledger.service.environment)
            await asyncio.sleep(0.5)
            return not wrong

        try:
            seconds = await until(is_right, QUIET_S)
        except AssertionError as error:
            raise AssertionError(f"{len(wrong)}: {wrong[:10]}") from error
        print(f"{len(clients.known)} uploads, {clients.derivations} derivations, quiet after {seconds:.0f} s")


def what_is_wrong(environment: dict[str, str]) -> list[str]:
    left = leftovers(environment)
    wrong = [f"{key} is not empty" for key in left["keys"] if key.split(":")[1] in EMPTY]
    wrong += [f"unfinished {key}" for key in left["uploads"]]
    with closing(Redis.from_url(settings_of(environment).redis_url)) as redis:
        records: dict[str, Any] = {}
        for key in left["keys"]:
            kind, _, name = key.removeprefix("imgsvc:").partition(":")
            if kind == "upload":
                records[name] = redis.hgetall(key)
            elif kind in {"rate", "quota"}:
                level = float(redis.hget(key, "level") or 0)  # pyright: ignore[reportArgumentType]
                wrong += [f"{key} is {level}"] if level < 0 else []
        charged = sum(float(record.get(b"charged", 0)) for record in records.values())
        bucket = float(redis.hget("imgsvc:quota:", "level") or 0)  # pyright: ignore[reportArgumentType]
    # one that is gone since its key was listed has no fields at all
    status = {name: record.get(b"status", b"nothing").decode() for name, record in records.items() if record}
    wrong += [f"{name} is {now}" for name, now in status.items() if now not in ENDED]
    if bucket < charged * 0.9 - 2**40 / 86_400 * 600:
        wrong.append(f"the quota is at {bucket}, of {charged}")
    for key in left["objects"]:
        kind, name = key.split("/")[:2]
        if name not in status:
            wrong.append(f"{key} belongs to nobody")
        elif kind == "processed" and status[name] == "CANCELLED":
            wrong.append(f"{key} is of a cancelled upload")
    return wrong + wrong_files(records, {key for key in left["objects"] if key.startswith("processed/")})


def wrong_files(records: dict[str, Any], stored: set[str]) -> list[str]:
    """Of uploads that have succeeded: files that their records have and storage has not, or the other way round."""
    found = (Record.from_hash(name, record) for name, record in records.items() if record)
    kept = [record for record in found if record and record.success and not record.has_expired(time() * 1000)]
    named = {key for record in kept if record.success for key in record.keys(record.success.files)}
    ids = {record.id for record in kept}
    return [
        *(f"{key} is missing" for key in named - stored),
        *(f"{key} is not in its record" for key in stored - named if key.split("/")[1] in ids),
    ]
