"""A request names one host, however its target is written; and nobody keeps all of the reserve (rows H35, H36)."""

from contextlib import AsyncExitStack

import pytest

from tests.support.service import Servers, Service
from tests.support.wire import Connection, exchange, request

HOST = "localhost:8000"


@pytest.mark.parametrize(
    "target",
    [f"http://{HOST}/healthz", f"HTTP://{HOST.upper()}/healthz", f"http://{HOST}/healthz?a=http://other/", "/healthz"],
)
async def test_h35_a_target_of_the_same_host_is_served(service: Service, target: str) -> None:
    async with Connection.to(service.port) as connection:
        for _ in range(2):
            await connection.send(request(f"GET {target} HTTP/1.1", host=HOST))
            assert (await connection.answer()).status == 200


async def test_h35_the_port_that_a_scheme_implies_need_not_be_written(service: Service) -> None:
    async with Connection.to(service.port) as connection:
        await connection.send(request("GET http://localhost:80/healthz HTTP/1.1", host="localhost"))
        assert (await connection.answer()).status == 200


@pytest.mark.parametrize(
    "target",
    [
        "http://other:8000/healthz",
        "http://localhost:8001/healthz",
        f"http://other@{HOST}/healthz",
        f"http://{HOST}.other/healthz",
        "ftp://other/healthz",
        "http://other",
    ],
)
async def test_h35_a_target_of_another_host_than_the_header_is_refused(service: Service, target: str) -> None:
    answer, rest = await exchange(service.port, request(f"GET {target} HTTP/1.1", host=HOST))
    answer.assert_problem(400, "malformed_request")
    assert rest == b""


@pytest.mark.parametrize("host", [HOST, f"{HOST} ", f"\t{HOST} \t", f"  {HOST}\t"])
async def test_h35_blanks_around_a_host_are_none_of_it(service: Service, host: str) -> None:
    head = f"GET /presets HTTP/1.1\r\nHost:{host}\r\nConnection: close\r\n\r\n"
    answer, _ = await exchange(service.port, head.encode())
    assert answer.status == 200


@pytest.mark.parametrize("version", ["2.0", "0.9"])
async def test_h35_what_says_to_be_of_another_version_is_refused(service: Service, version: str) -> None:
    answer, rest = await exchange(service.port, request(f"GET /healthz HTTP/{version}", host=HOST))
    answer.assert_problem(400, "malformed_request")
    assert rest == b""


async def test_h36_one_client_beyond_its_share_leaves_others_the_reserve_for_health(servers: Servers) -> None:
    """80 silent connections of the same address: 3 are its share, 8 are in the reserve, the others are refused."""
    async with (
        Service.start(servers.environment(), workers=0, max_connections=4) as service,
        AsyncExitStack() as stack,
    ):
        silent = [await stack.enter_async_context(Connection.to(service.port)) for _ in range(80)]
        (await silent[-1].answer()).assert_problem(503, "overloaded")
        others = [await stack.enter_async_context(Connection.to(service.port, "127.0.0.3")) for _ in range(4)]
        for other in others:
            await other.send(request("GET /healthz HTTP/1.1"))
            assert (await other.answer()).status == 200
