"""What leads back to this machine is as private as loopback, whatever its number (rows O1 and O2)."""

import os
import shutil
import subprocess
import sys

import pytest

from imgsvc.outbound import Outbound, UrlNotAllowedError
from tests.service import settings_of

# Runs in a network of its own, which nothing leaves. Its address is of a range that is kept for documentation, and
# counts as public here: whether numbers are is another test's.
INSIDE = """
import asyncio
from unittest.mock import patch
from imgsvc.outbound import Outbound, Patience, UrlNotAllowedError
from tests.peers import OK, Listener
from tests.service import settings_of

async def main(allow):
    settings = settings_of({"IMGSVC_REDIS_URL": "redis://localhost", "IMGSVC_OUTBOUND_ALLOW": allow})
    async with Listener.start(OK, host="203.0.113.7") as here, Outbound.open(settings) as out:
        try:
            async with out.request("GET", f"http://203.0.113.7:{here.port}/", Patience(5, 5)) as answer:
                return answer.status, here.connections
        except UrlNotAllowedError:
            return "refused", here.connections

with patch("imgsvc.addresses.is_public", lambda _: True):
    print(asyncio.run(main("")), asyncio.run(main("203.0.113.7")))
"""


@pytest.mark.skipif(
    not (shutil.which("unshare") and shutil.which("ip") and os.geteuid() == 0),
    reason="there is no unshare, no ip, or no root to make a network with",
)
def test_o1_a_public_address_of_this_machine_is_not_reached() -> None:
    network = 'ip link set lo up && ip addr add 203.0.113.7/32 dev lo && exec "$0" -c "$1"'
    command = ["unshare", "--net", "sh", "-c", network, sys.executable, INSIDE]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert found.stdout == "('refused', 0) (200, 1)\n", found.stderr


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
