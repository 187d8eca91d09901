"""The long ones: everything goes wrong for ten minutes, and nothing does for twenty."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import monotonic

import psutil

from imgsvc.local.process import Child
from imgsvc.runtime.settings import MIB
from tests.support import images
from tests.support.fault_proxy import NONE, Fault, Proxy
from tests.support.ledger import Ledger
from tests.support.service import DECODER_FDS, Servers, Service, decoders, freeze, leftovers, thaw, until

SEED = 20261125
NEMESIS_S = 600.0
QUIET_S = 60.0
SOAK_S = 1200.0
SETTLED_S = 180.0
"""How long a soak runs before its memory is called the base."""

PHOTO = images.photo(800, 600)
SMALL = images.photo(64, 48)
POISON = PHOTO[: len(PHOTO) // 2]


@dataclass
class Nemesis:
    """Does harm at random, one thing after the other, and undoes it."""

    service: Service
    servers: Servers
    proxies: tuple[Proxy, ...]
    random: random.Random
    done: Counter[str] = field(default_factory=Counter[str])

    async def rage(self, seconds: float) -> None:
        harms: list[Callable[[], Awaitable[None]]] = [
            self.kill_a_worker,
            self.kill_a_worker,
            self.kill_the_api,
            self.kill_valkey,
            self.restart_s3,
            self.freeze_someone,
            self.cut,
            self.slow_down,
        ]
        begin = monotonic()
        while monotonic() - begin < seconds:
            await asyncio.sleep(self.random.uniform(0.5, 3))
            harm = self.random.choice(harms)
            self.done[harm.__name__] += 1
            await harm()

    async def kill_a_worker(self) -> None:
        doomed = self.service.workers.pop(self.random.randrange(len(self.service.workers)))
        await doomed.kill()
        await self.service.start_worker()

    async def kill_the_api(self) -> None:
        await self.service.api.kill()
        await self.service.start_api()

    async def kill_valkey(self) -> None:
        await self.servers.valkey.kill()
        await asyncio.sleep(self.random.uniform(0, 2))
        await self.servers.valkey.start()

    async def restart_s3(self) -> None:
        await self.servers.seaweed.restart()

    async def freeze_someone(self) -> None:
        child: Child = self.random.choice([self.service.api, *self.service.workers])
        freeze(child)
        await asyncio.sleep(self.random.uniform(0.5, 8))
        thaw(child)

    async def cut(self) -> None:
        self.random.choice(self.proxies).reset()

    async def slow_down(self) -> None:
        proxy = self.random.choice(self.proxies)
        proxy.fault = Fault(latency_s=self.random.uniform(0.01, 0.2))
        await asyncio.sleep(self.random.uniform(1, 4))
        proxy.fault = NONE


@asynccontextmanager
async def behind_proxies(servers: Servers) -> AsyncGenerator[tuple[dict[str, str], tuple[Proxy, ...]]]:
    environment = servers.environment()
    async with (
        Proxy.to("127.0.0.1", servers.valkey.port) as valkey,
        Proxy.to("127.0.0.1", servers.seaweed.ports.s3) as s3,
    ):
        ways = {"IMGSVC_REDIS_URL": valkey, "IMGSVC_S3_ENDPOINT_URL": s3}
        yield environment | {name: proxy.url(environment[name]) for name, proxy in ways.items()}, (valkey, s3)


async def test_c1_nothing_is_lost_or_ends_twice_or_sticks_while_everything_fails(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    print(f"seed {SEED}")
    async with (
        Servers.start(tmp_path) as servers,
        behind_proxies(servers) as (environment, proxies),
        Service.start(environment, workers=2, decoders=1) as service,
    ):
        ledger = Ledger(service)
        over = asyncio.Event()

        async def client() -> None:
            while not over.is_set():
                entry = await ledger.post(POISON if dice.random() < 0.05 else PHOTO)
                await asyncio.sleep(0.15 if entry.status == 202 else 0.5)

        nemesis = Nemesis(service, servers, proxies, dice)
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(client())
            await nemesis.rage(NEMESIS_S)
            over.set()
        begin = monotonic()
        await service.until_ready(2)
        failed = {entry.id: "decode_failed" for entry in ledger.accepted if entry.sent is POISON}
        for entry in ledger.accepted:
            await service.ended(entry.id)
        quiet_s = monotonic() - begin
        await ledger.settle(failed)
        answers = Counter(str(entry.code or entry.status) for entry in ledger.entries)
        attempts = Counter([(await service.status(entry.id))["attempt"] for entry in ledger.accepted])
        print(f"{sum(nemesis.done.values())} harms: {dict(nemesis.done)}")
        print(f"{len(ledger.entries)} uploads, answered {dict(answers)}; attempts {dict(sorted(attempts.items()))}")
        print(f"all {len(ledger.accepted)} accepted ones ended {quiet_s:.1f} s after the last harm; lost 0, twice 0")
        assert quiet_s <= QUIET_S


def held(service: Service) -> dict[str, float]:
    """Resident MiB of each kind of process, and their descriptors but those of open connections and of decoders."""
    api, worker = psutil.Process(service.api.pid), psutil.Process(service.workers[0].pid)
    connections = api.net_connections("tcp") + worker.net_connections("tcp")
    kept = sum(connection.status == psutil.CONN_ESTABLISHED for connection in connections)
    kept += DECODER_FDS * len(decoders(service.workers[0]))
    return {
        "api": api.memory_info().rss / MIB,
        "worker": worker.memory_info().rss / MIB,
        "decoders": sum(child.memory_full_info().pss for child in worker.children(recursive=True)) / MIB,
        "descriptors": api.num_fds() + worker.num_fds() - kept,
    }


async def test_c2_memory_and_descriptors_stay_flat_under_load_for_twenty_minutes(servers: Servers) -> None:
    environment = servers.environment()
    async with Service.start(environment) as service:
        done = 0

        async def one() -> None:
            nonlocal done
            upload_id = await service.upload(PHOTO)
            assert (await service.ended(upload_id))["status"] == "SUCCESS"
            await service.client.delete(f"/upload/{upload_id}")
            done += 1

        async def saturate(until_s: float) -> None:
            while monotonic() < until_s:
                await one()

        begin = monotonic()
        await asyncio.gather(*(saturate(begin + 20) for _ in range(6)))
        rate = 0.7 * done / 20
        samples: list[tuple[float, dict[str, float]]] = []
        begin, done = monotonic(), 0
        async with asyncio.TaskGroup() as group:
            while (now := monotonic() - begin) < SOAK_S:
                group.create_task(one())
                if len(samples) < now:
                    samples.append((now, held(service)))
                await asyncio.sleep(1 / rate)

        def typical(kind: str, first: float, last: float) -> float:
            return median(sample[kind] for at, sample in samples if first <= at < last)

        base = {kind: typical(kind, SETTLED_S - 60, SETTLED_S) for kind in samples[0][1]}
        end = {kind: typical(kind, SOAK_S - 60, SOAK_S) for kind in base}
        print(f"{done} uploads at {rate:.1f}/s; after {SETTLED_S:g} s {base}; at the end {end}")
        total = [sum(sizes[kind] for kind in ("api", "worker", "decoders")) for sizes in (base, end)]
        assert total[1] <= 1.05 * total[0]
        assert end["descriptors"] <= base["descriptors"] + 5
        assert leftovers(environment)["objects"] == []


async def test_q18_two_thousand_jobs_survive_workers_that_are_killed_at_random(servers: Servers) -> None:
    dice = random.Random(SEED)
    print(f"seed {SEED}")
    async with Service.start(servers.environment(), workers=3, decoders=1, sweep_interval_s=1) as service:
        ledger = Ledger(service)
        left = iter(range(2000))
        killed_at: list[float] = []

        async def client() -> None:
            for _ in left:
                await ledger.post(SMALL)

        async def all_ended() -> bool:
            document = (await service.client.get("/readyz")).json()
            return document["checks"]["workers"]["queued"] == 0 and len(ledger.entries) == 2000

        async def kill() -> None:
            while True:
                await asyncio.sleep(0.5)
                doomed = service.workers.pop(dice.randrange(len(service.workers)))
                await doomed.kill()
                killed_at.append(monotonic())
                await service.start_worker()

        begin = monotonic()
        killing = asyncio.create_task(kill())
        await asyncio.gather(*(client() for _ in range(4)))
        await until(all_ended, 300)
        killing.cancel()
        print(f"2000 jobs and {len(killed_at)} kills in {monotonic() - begin:.0f} s")
        assert len(ledger.accepted) == 2000
        await ledger.settle()
        attempts = Counter([(await service.status(entry.id))["attempt"] for entry in ledger.accepted])
        print(f"attempts {dict(sorted(attempts.items()))}; lost 0, twice 0")
