"""Decoder pools, of honest children and of hostile ones."""

import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from imgsvc.decoder.pool import IDLE_S, DecoderError, DecoderPool
from imgsvc.decoder.process import OnStep
from imgsvc.domain.model import Isolation, Limits, Rendered, Variant
from imgsvc.domain.presets import PRESETS
from imgsvc.runtime.settings import MIB
from tests.support import images
from tests.support.images import LIMITS

LINUX = sys.platform == "linux"
GIB = 1024 * MIB
VARIANTS = (Variant("small", 100, 100),)
HOSTILE = (sys.executable, "-I", "-W", "ignore", str(Path(__file__).with_name("hostile_child.py")))
needs_linux = pytest.mark.skipif(not LINUX, reason="the sandbox is Linux's")


def hostile_pool(
    *,
    processes: int = 1,
    timeout_s: float = 20.0,
    wall_s: float | None = None,
    memory: int = GIB,
    sandbox: str = "auto",
    isolation: Isolation = "owner",
    idle_s: float = IDLE_S,
    command: Sequence[str] = HOSTILE,
) -> DecoderPool:
    return DecoderPool(
        processes=processes,
        timeout_s=timeout_s,
        wall_s=wall_s,
        memory_bytes=memory,
        total_memory_bytes=GIB,
        limits=LIMITS,
        sandbox=sandbox,
        isolation=isolation,
        idle_s=idle_s,
        command=command,
    )


async def code_of(pool: DecoderPool, source: bytes, on_step: OnStep | None = None) -> str:
    with pytest.raises(DecoderError) as caught:
        await pool.render(source, VARIANTS, on_step)
    return caught.value.code


async def works(pool: DecoderPool) -> bool:
    return len((await pool.render(images.photo(), VARIANTS)).renditions) == 1


def children_of(pool: DecoderPool) -> set[int]:
    return {decoder.pid for decoder in pool._decoders}  # pyright: ignore[reportPrivateUsage]


def fork_server_of(pool: DecoderPool) -> psutil.Process:
    decoder = min(children_of(pool))
    server = psutil.Process(decoder).parent()
    assert server is not None
    return server


FILM = (Variant("film", 100, 100, format="webp", frames="all"),)
DEFAULT = PRESETS["default"]


def decoder_pool(processes: int = 1, timeout_s: float = 20.0, limits: Limits = LIMITS) -> DecoderPool:
    return DecoderPool(
        processes=processes,
        timeout_s=timeout_s,
        memory_bytes=GIB,
        total_memory_bytes=GIB,
        limits=limits,
        sandbox="require",
    )


async def outcome(pool: DecoderPool, source: bytes, variants: tuple[Variant, ...] = DEFAULT) -> Rendered | str:
    try:
        return await pool.render(source, variants)
    except DecoderError as error:
        return error.code
