"""What listeners that hear nothing cost."""

import resource

from imgsvc.jobs.queue import Queue
from tests.bench.events import idle
from tests.support.service import Servers, Service, settings_of


async def test_2000_idle_listeners_cost_less_than_150_mb_and_next_to_no_cpu(servers: Servers) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, before[1]))  # of this process, and of what it starts
    try:
        environment = servers.environment() | {"IMGSVC_LEASE_S": "3600"}
        async with Service.start(environment, workers=0) as service, Queue.open(settings_of(environment)) as queue:
            cost, listeners = await idle(service, queue, 2000, seconds=30)
            for listener in listeners:
                listener.writer.transport.abort()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    print(cost)
    assert cost.memory < 150e6
    assert cost.cpu < 0.05, "of one core: their comments, every 15 s"
