"""What owners who share the senders of webhooks are promised: nobody waits behind another's silent receivers."""

from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from typing import Any
from unittest.mock import patch

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from imgsvc.jobs import deliveries
from imgsvc.jobs.queue import Queue
from imgsvc.jobs.types import Admission, Delivery, Reply
from tests.support.service import Servers, settings_of, until
from tests.support.submissions import ended

SLOTS = 16  # of the worker

OK, AWAY = Reply(204, event="upload.cancelled"), Reply(error="no answer", is_away=True, event="upload.cancelled")


class Owners:
    """Owners whose uploads end, and a worker that delivers their webhooks."""

    def __init__(self, queue: Queue, redis: Any) -> None:
        self.queue = queue
        self.redis = redis
        self.under_way: list[Delivery] = []

    async def end(self, owner: str, *hosts: str) -> list[str]:
        """One upload of an owner ends for each of these hosts."""
        return [await ended(self.queue, owner, f"http://{host}/hook") for host in hosts]

    async def claim(self, most: int = SLOTS) -> list[Delivery]:
        """What a worker gets that is already at what it got before."""
        found = await self.queue.deliveries.claim(min(most, SLOTS - len(self.under_way)), self.under_way)
        self.under_way += found
        return found

    async def one(self) -> Delivery:
        (delivery,) = await self.claim(1)
        return delivery

    async def ack(self, delivery: Delivery, reply: Reply = OK, *, delay_s: float = 0) -> bool:
        self.under_way.remove(delivery)
        state = "delivered" if reply.status else "pending"
        return await self.queue.deliveries.ack(delivery, state, reply, delay_s)

    async def keys(self) -> set[bytes]:
        return set(await self.redis.keys("imgsvc:deliveries*"))

    async def attempts(self, upload_id: str) -> int:
        return int(await self.redis.hget(f"imgsvc:upload:{upload_id}", "webhook_attempts") or 0)


@pytest_asyncio.fixture
async def owners(servers: Servers) -> AsyncGenerator[Owners]:
    settings = settings_of(servers.environment())
    async with Queue.open(settings) as queue, Redis.from_url(settings.redis_url) as redis:
        yield Owners(queue, redis)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "FIRST_PAUSE_S", 0.1)


def by_owner(found: Iterable[Delivery]) -> Counter[str]:
    return Counter(delivery.owner for delivery in found)


def numbered(count: int) -> list[str]:
    return [f"host{number}" for number in range(count)]


async def test_w1_an_owner_alone_has_most_slots_and_the_next_one_to_come_finds_some(owners: Owners) -> None:
    await owners.end("heap", *numbered(20))
    assert len(await owners.claim()) == SLOTS * 3 // 4
    (single,) = await owners.end("guest", "host0")
    assert [delivery.id for delivery in await owners.claim()] == [single]


async def test_w1_a_host_alone_has_half_of_the_slots_whoever_its_owners_are(owners: Owners) -> None:
    for number in range(12):
        await owners.end(f"owner{number}", "hub")
    assert len(await owners.claim()) == SLOTS // 2
    (single,) = await owners.end("guest", "elsewhere")
    assert [delivery.id for delivery in await owners.claim()] == [single]


async def test_w1_owners_take_turns_and_so_do_the_hosts_of_each(owners: Owners) -> None:
    await owners.end("heap", *["one"] * 8, "two", "three")
    await owners.end("some", *numbered(4))
    await owners.end("guest", "one")
    found = (await owners.claim())[:7]
    assert by_owner(found) == {"heap": 3, "some": 3, "guest": 1}
    assert {delivery.host for delivery in found if delivery.owner == "heap"} == {"one", "two", "three"}


async def test_w1_a_crowd_at_one_busy_host_does_not_hide_who_waits_for_another(owners: Owners) -> None:
    for number in range(120):
        await owners.end(f"owner{number}", "hub")
    await owners.claim()
    (single,) = await owners.end("guest", "elsewhere")
    found = [delivery for _ in range(3) for delivery in await owners.claim()]
    assert [delivery.id for delivery in found] == [single]


async def test_w1_hundreds_that_become_due_at_once_hide_no_other(owners: Owners) -> None:
    (upload_id,) = await owners.end("guest", "one")
    # 500 of another owner, whose records have expired, are due for longer
    await owners.ack(await owners.one(), Reply(error="no such host", event="upload.cancelled"))
    await owners.redis.zadd("imgsvc:deliveries", {str(number): number for number in range(500)})
    assert [delivery.id for delivery in await owners.claim()] == [upload_id]


async def test_w2_a_silent_host_is_left_alone_and_what_waits_for_it_loses_no_attempt(owners: Owners) -> None:
    first, *others = await owners.end("shop", "silent", "silent", "silent")
    delivery = await owners.one()
    assert delivery.id == first
    with patch.object(deliveries, "FIRST_PAUSE_S", 60):
        await owners.ack(delivery, AWAY)
    await owners.end("shop", "silent", "lively")
    assert [delivery.host for delivery in await owners.claim()] == ["lively"]
    assert [await owners.attempts(upload_id) for upload_id in others] == [0, 0]


async def test_w2_a_silent_host_is_left_alone_however_its_name_is_written(owners: Owners) -> None:
    await owners.end("shop", "Silent.example:8080", "SILENT.example:8080", "silent.example", "silent.example:8080?")
    with patch.object(deliveries, "FIRST_PAUSE_S", 60):
        await owners.ack(await owners.one(), AWAY)
    assert [delivery.host for delivery in await owners.claim()] == ["silent.example"]


async def test_w2_a_host_that_is_silent_to_one_owner_still_gets_the_webhooks_of_others(owners: Owners) -> None:
    await owners.end("heap", "hub", "hub")
    with patch.object(deliveries, "FIRST_PAUSE_S", 60):
        await owners.ack(await owners.one(), AWAY)
    await owners.end("guest", "hub", "hub")
    assert by_owner(await owners.claim()) == {"guest": 2}


async def test_w2_one_probe_at_a_time_of_all_workers_finds_out_whether_a_host_answers_again(owners: Owners) -> None:
    await owners.end("shop", *["silent"] * 6)
    await owners.ack(await owners.one(), AWAY, delay_s=60)
    probes: list[Delivery] = []

    async def probed() -> bool:
        probes.extend(await owners.claim())
        return bool(probes)

    await until(probed)
    assert len(probes) == 1
    assert await owners.queue.deliveries.claim(SLOTS) == [], "another worker sends nothing meanwhile"
    await owners.ack(probes.pop(), OK)
    assert len(await owners.claim()) == 4, "all that have waited"


async def test_w2_pauses_grow_with_each_probe_that_fails_and_end_with_any_answer(owners: Owners) -> None:
    await owners.end("shop", *["silent"] * 5)
    pauses: list[float] = []

    async def paused_s() -> float:
        (until_ms,) = [
            score for _, score in await owners.redis.zrange("imgsvc:deliveries:paused", 0, -1, withscores=True)
        ]
        seconds, micros = await owners.redis.time()
        return until_ms / 1000 - seconds - micros / 1e6

    for _ in range(3):
        await until(lambda: _claimed(owners))
        await owners.ack(owners.under_way[0], AWAY, delay_s=60)
        pauses.append(await paused_s())
    assert pauses[0] <= 0.1 < pauses[1] <= 0.2 < pauses[2] <= 0.4
    await until(lambda: _claimed(owners))
    await owners.ack(owners.under_way[0], Reply(500, event="upload.cancelled"))
    assert await owners.redis.keys("imgsvc:deliveries:pause*") == []
    assert len(await owners.claim()) == 1


async def test_w2_what_began_before_the_pause_makes_it_no_longer(owners: Owners) -> None:
    await owners.end("shop", *["silent"] * 8)
    began = await owners.claim()
    for delivery in began:
        await owners.ack(delivery, AWAY, delay_s=60)
    assert await owners.redis.hget("imgsvc:deliveries:pause:shop silent", "failures") == b"1"
    assert 0 < await owners.redis.pttl("imgsvc:deliveries:pause:shop silent") <= 3_600_000


async def test_w3_a_probe_that_dies_with_its_worker_is_followed_by_another(owners: Owners) -> None:
    await owners.end("shop", *["silent"] * 4)
    await owners.ack(await owners.one(), AWAY, delay_s=60)
    with patch.object(deliveries, "WEBHOOK_CLAIM_S", 0.2):
        await until(lambda: _claimed(owners))
    lost = owners.under_way.pop()
    await until(lambda: _claimed(owners))
    probe = owners.under_way[0]
    await owners.queue.deliveries.ack(lost, "pending", AWAY, 60)
    failures = await owners.redis.hget("imgsvc:deliveries:pause:shop silent", "failures")
    assert failures == b"1", "what a dead worker says late is not the probe's answer"
    await owners.ack(probe, OK)
    assert len(await owners.claim()) >= 1


async def test_w3_a_host_that_never_answers_is_given_up_on_in_the_end(owners: Owners) -> None:
    _, *waiting = await owners.end("shop", *["silent"] * 3)
    await owners.ack(await owners.one(), AWAY, delay_s=60)

    async def given_up() -> bool:
        assert await owners.claim() == []
        return await owners.keys() == {b"imgsvc:deliveries", b"imgsvc:deliveries:pause:shop silent"}

    with patch.object(deliveries, "PATIENCE_S", 0.05):
        await until(given_up)
    for upload_id in waiting:
        record = await owners.queue.get(upload_id)
        assert record
        assert record.webhook
        assert (record.webhook.state, record.webhook.attempts, record.webhook.next_at) == ("gave_up", 0, None)


async def test_w4_owners_without_deliveries_leave_nothing_behind(owners: Owners) -> None:
    for number in range(20):
        await owners.end(f"owner{number}", "one", "two")
    deleted = await owners.end("deleted", "one")
    assert await owners.queue.delete(deleted[0], "deleted")
    while await owners.claim():
        for delivery in list(owners.under_way):
            await owners.ack(delivery)
    assert await owners.keys() == set()


async def test_w4_an_upload_that_is_deleted_while_its_host_is_paused_is_forgotten(owners: Owners) -> None:
    first, second = await owners.end("shop", "silent", "silent")
    await owners.ack(await owners.one(), AWAY, delay_s=60)
    for upload_id in (first, second):
        assert await owners.queue.delete(upload_id, "shop")

    async def forgotten() -> bool:
        assert await owners.claim() == []
        return await owners.keys() == {b"imgsvc:deliveries:pause:shop silent"}

    await until(forgotten)
    assert await owners.redis.keys("imgsvc:attempts:*") == []


@pytest.mark.parametrize("queued_in", ["webhooks", "derivation-webhooks"])
async def test_w5_what_an_earlier_version_has_queued_is_delivered_once(owners: Owners, queued_in: str) -> None:
    (upload_id,) = await owners.end("shop", "one")
    key = f"imgsvc:upload:{upload_id}"
    if queued_in == "derivation-webhooks":
        await owners.redis.hset(key, mapping={"derivation_webhook_state": "pending", "derivation_finished_at": "7"})
    await owners.redis.zadd(f"imgsvc:{queued_in}", {upload_id: 1})
    found = await owners.claim()
    assert len(found) == (1 if queued_in == "webhooks" else 2)
    assert await owners.claim() == []
    assert not await owners.redis.exists(f"imgsvc:{queued_in}")
    assert (await owners.queue.stats()).webhooks == len(found)


async def test_w6_an_event_is_sent_again_at_once_with_all_its_attempts(owners: Owners) -> None:
    (upload_id,) = await owners.end("shop", "one")
    delivery = await owners.one()
    assert await replayed(owners, upload_id) is Admission.CONFLICT, "an attempt is under way"
    await owners.ack(delivery, Reply(error="no such host", event="upload.cancelled"), delay_s=3600)
    assert await owners.claim() == []
    for attempt_of in (AWAY, OK):  # before its time, and after it was delivered
        assert await replayed(owners, upload_id) is Admission.RESERVED
        again = await owners.one()
        assert (again.end, again.attempt) == (delivery.end, 1)
        await owners.ack(again, attempt_of, delay_s=3600)
    record = await owners.queue.get(upload_id)
    assert record
    assert len((await owners.queue.deliveries.log_of(record)).tried) == 3


async def test_w6_a_replay_is_the_next_probe_of_a_paused_host(owners: Owners) -> None:
    first, _ = await owners.end("shop", "silent", "silent")
    with patch.object(deliveries, "FIRST_PAUSE_S", 60):
        await owners.ack(await owners.one(), AWAY, delay_s=60)
    assert await owners.claim() == []
    assert await replayed(owners, first) is Admission.RESERVED
    (probe,) = await owners.claim()
    assert await replayed(owners, first) is not None
    assert await owners.claim() == [], "one at a time"
    await owners.ack(probe, OK)
    assert len(await owners.claim()) == 1


async def test_w6_what_is_kept_of_attempts_is_bounded_and_expires(owners: Owners) -> None:
    (upload_id,) = await owners.end("shop", "one")
    for _ in range(25):
        await owners.ack(await owners.one())
        await replayed(owners, upload_id)
    assert await owners.redis.llen(f"imgsvc:attempts:{upload_id}") == 20
    assert 0 < await owners.redis.ttl(f"imgsvc:attempts:{upload_id}") <= owners.queue.exchange.settings.record_ttl_s
    assert await owners.queue.delete(upload_id, "shop")
    assert not await owners.redis.exists(f"imgsvc:attempts:{upload_id}")


async def test_w6_replays_count_in_the_rate_of_their_owner(servers: Servers) -> None:
    settings = settings_of(servers.environment() | {"IMGSVC_RATE_LIMIT": "2"})
    async with Queue.open(settings) as queue, Redis.from_url(settings.redis_url) as redis:
        owners = Owners(queue, redis)
        (upload_id,) = await owners.end("shop", "one")
        await owners.ack(await owners.one())
        assert await replayed(owners, upload_id) is Admission.RESERVED
        await owners.ack(await owners.one())
        answer = await queue.deliveries.replay(upload_id, "shop", 1)
        assert answer
        assert answer.admission is Admission.RATE_LIMITED
        assert 0 < answer.wait_s <= 60
        assert await owners.claim() == []
        assert await queue.deliveries.replay(upload_id, "blog", 1) is None


async def _claimed(owners: Owners) -> bool:
    return bool(await owners.claim(1))


async def replayed(owners: Owners, upload_id: str, owner: str = "shop") -> Admission | None:
    answer = await owners.queue.deliveries.replay(upload_id, owner, 1)
    return answer and answer.admission
