"""Decoder pools, of honest children and of hostile ones."""

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from imgsvc.decoder.pool import IDLE_S, DecoderError, DecoderPool
from imgsvc.decoder.process import Decoder, OnStep
from imgsvc.domain.model import Isolation, Limits, Rendered, Variant
from imgsvc.domain.presets import PRESETS
from imgsvc.runtime.settings import MIB
from tests.support import images
from tests.support.images import LIMITS
from tests.support.memory import memory_peak

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
    """Those that are not dead yet, among them any that the pool has just ended and that may be gone at any moment."""
    return {decoder.pid for decoder in pool._decoders}  # pyright: ignore[reportPrivateUsage]


def fork_server_of(pool: DecoderPool) -> psutil.Process:
    decoder = min(children_of(pool))
    server = psutil.Process(decoder).parent()
    assert server is not None
    return server


@dataclass(frozen=True, slots=True)
class Answer:
    """A child has answered for an image and lives. `peak_bytes` is the most memory that it has had so far."""

    pid: int
    peak_bytes: int


@contextmanager
def answers() -> Generator[list[Answer]]:
    """The answers that all pools of this process get meanwhile, refusals too.

    The memory is read before the pool has its child back: from then on it may end it.
    """
    found: list[Answer] = []
    ask = Decoder.render

    async def measured(decoder: Decoder, *arguments: Any) -> Rendered:
        try:
            return await ask(decoder, *arguments)
        finally:
            if decoder.is_usable:
                found.append(Answer(decoder.pid, memory_peak(decoder.pid)))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Decoder, "render", measured)
        yield found


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
