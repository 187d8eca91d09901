"""`imgsvc doctor`, as a process of its own, and what it found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.command import Ended, imgsvc
from tests.support.service import UNHURRIED


def in_time(environment: Mapping[str, str]) -> dict[str, str]:
    """The same settings, by which a machine that is busy is no Redis that is away."""
    timeouts = {f"IMGSVC_{name.upper()}": str(value) for name, value in UNHURRIED.items()}
    return (timeouts if "IMGSVC_REDIS_URL" in environment else {}) | dict(environment)


async def examined(cwd: Path, environment: Mapping[str, str]) -> tuple[Ended, dict[str, dict[str, Any]]]:
    """How it ended, and what it found, by what that is about."""
    ended = await imgsvc("doctor", "--json", cwd=cwd, env=in_time(environment))
    assert ended.err == ""
    (document,) = ended.objects
    assert document["ok"] is (ended.code == 0)
    return ended, {finding["about"]: finding for finding in document["checks"]}
