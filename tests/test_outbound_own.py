"""What leads back to this machine is as private as loopback, whatever its number (rows O1 and O2)."""

import errno
import os
import shutil
import socket
import subprocess
import sys
from contextlib import nullcontext
from unittest.mock import patch

import pytest

from imgsvc.outbound import Outbound, UnreachableError, UrlNotAllowedError
from tests.support.service import settings_of

# Runs in a network of its own, which nothing leaves. Its addresses are of ranges that are kept for documentation, and
# count as public here: whether numbers are is another test's.
INSIDE = """
import asyncio
import sys
from unittest.mock import patch
from imgsvc.outbound import Outbound, Timeouts, UnreachableError, UrlNotAllowedError
from tests.support.peers import OK, Listener
from tests.support.service import settings_of

async def main(allow, hosts):
    settings = settings_of({"IMGSVC_REDIS_URL": "redis://localhost", "IMGSVC_OUTBOUND_ALLOW": allow})
    async with Listener.start(OK, host="0.0.0.0") as here, Outbound.open(settings) as out:
        for host in hosts:
            try:
                async with out.request("GET", f"http://{host}:{here.port}/", Timeouts(5, 5)) as answer:
                    print(host, answer.status, here.connections)
            except UrlNotAllowedError:
                print(host, "refused", here.connections)
            except UnreachableError:
                print(host, "unreachable", here.connections)

with patch("imgsvc.domain.addresses.is_public", lambda _: True):
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
"""
NETWORK = "ip link set lo up && ip addr add 203.0.113.6/31 dev lo && ip addr add 203.0.113.7/31 dev lo"
in_a_network_of_ones_own = pytest.mark.skipif(
    not (shutil.which("unshare") and shutil.which("ip") and os.geteuid() == 0),
    reason="there is no unshare, no ip, or no root to make a network with",
)


def answers(network: str, allow: str, *hosts: str) -> list[str]:
    """What a client that names `hosts` is answered, and how many connections their server has had by then."""
    script = f'{network} && exec "$@"'
    command = ["unshare", "--net", "sh", "-c", script, "sh", sys.executable, "-c", INSIDE, allow, *hosts]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [line.removeprefix(f"{host} ") for host, line in zip(hosts, done.stdout.splitlines(), strict=True)]


@in_a_network_of_ones_own
def test_o1_a_public_address_of_this_machine_is_not_reached() -> None:
    """Neither the first of a subnet nor a further one, whose packets leave by the first, nor one within IPv6."""
    own = ("203.0.113.6", "203.0.113.7", "[::ffff:203.0.113.7]", "[64:ff9b::203.0.113.7]", "[2001:db8::7]")
    network = f"{NETWORK} && ip addr add 2001:db8::7/128 dev lo"
    assert answers(network, "", *own) == ["refused 0"] * len(own)
    foreign = ("203.0.113.8", "[2001:db8::8]")
    assert answers(network, "", *foreign) == ["unreachable 0"] * 2, "what is not ours is tried"
    assert answers(network, "203.0.113.7", "203.0.113.7", "203.0.113.6") == ["200 1", "refused 1"]


@in_a_network_of_ones_own
def test_o1_where_any_address_can_be_bound_not_all_count_as_our_own() -> None:
    network = f"{NETWORK} && echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind"
    assert answers(network, "", "203.0.113.6", "203.0.113.8") == ["refused 0", "unreachable 0"]


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.EAFNOSUPPORT, None), (errno.EMFILE, UnreachableError)], ids=["no-ipv6", "no-files"]
)
async def test_o1_a_system_that_cannot_be_asked_is_no_fault_of_the_service(
    number: int, expected: type[Exception] | None
) -> None:
    settings = settings_of({"IMGSVC_REDIS_URL": "redis://x"})
    refused = OSError(number, os.strerror(number))

    def look_up(*_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int, int, int]]]:
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2606:4700::1111", 80, 0, 0))]

    async with Outbound.open(settings) as out:
        with (
            patch.object(socket, "getaddrinfo", look_up),
            patch.object(socket, "socket", side_effect=refused),
            pytest.raises(expected) if expected else nullcontext(),
        ):
            await out.check("http://name.test/")


@pytest.mark.parametrize("denied", ["1.1.1.1", "1.1.0.0/16", "64:ff9b::/96", "1.1.1.1:80", "[64:ff9b::101:101]:80"])
async def test_o2_what_is_denied_is_denied_in_the_form_it_came_in_and_in_the_one_within(denied: str) -> None:
    settings = settings_of({"IMGSVC_REDIS_URL": "redis://x", "IMGSVC_OUTBOUND_DENY": denied})
    async with Outbound.open(settings) as out:
        with pytest.raises(UrlNotAllowedError):
            await out.check("http://[64:ff9b::1.1.1.1]/")
        await out.check("http://1.0.0.1/")


@pytest.mark.parametrize("denied", ["203.0.113.9", "198.51.100.0/24", "images.example.com:8080"])
async def test_o2_what_is_denied_is_not_reached_though_it_is_allowed(denied: str) -> None:
    settings = settings_of(
        {
            "IMGSVC_REDIS_URL": "redis://x",
            "IMGSVC_OUTBOUND_ALLOW": f"{denied}, 127.0.0.1",
            "IMGSVC_OUTBOUND_DENY": denied,
        }
    )
    url = {"198.51.100.0/24": "http://198.51.100.7/"}.get(denied, f"http://{denied}/")
    async with Outbound.open(settings) as out:
        with pytest.raises(UrlNotAllowedError):
            await out.check(url)
        await out.check("http://127.0.0.1:1/")
