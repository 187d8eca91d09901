"""Slow clients against the deadlines as they are set (rows H4 and H5)."""

from tests.support.service import Servers, Service
from tests.support.slow_clients import beside_five_hundred, seconds_of_a_trickle

SLACK = 2


async def test_h4_five_hundred_slow_clients_are_freed_within_the_deadlines_as_they_are_set(servers: Servers) -> None:
    async with Service.start(servers.environment(), workers=0) as service:
        freed = await beside_five_hundred(service, 8)
    assert max(freed["silent"], freed["slow head"]) < 10
    assert freed["stalled body"] < SLACK * 20


async def test_h5_a_byte_a_second_is_answered_408_within_a_minute(service: Service) -> None:
    assert await seconds_of_a_trickle(service, 1) < 60
