"""`imgsvc doctor`, as a process of its own, and what it found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.command import Ended, imgsvc


async def examined(cwd: Path, environment: Mapping[str, str]) -> tuple[Ended, dict[str, dict[str, Any]]]:
    """How it ended, and what it found, by what that is about."""
    ended = await imgsvc("doctor", "--json", cwd=cwd, env=environment)
    assert ended.err == ""
    (document,) = ended.objects
    assert document["ok"] is (ended.code == 0)
    return ended, {finding["about"]: finding for finding in document["checks"]}
