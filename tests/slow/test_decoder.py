"""The decoder over time: damaged files by the thousand, and flat memory (rows D13 and D18)."""

import asyncio
import random
import sys
from collections import Counter

import psutil
import pytest

from imgsvc.domain.formats import FORMATS
from imgsvc.runtime.settings import MIB
from tests.support import images
from tests.support.decoders import DEFAULT, FILM, decoder_pool, outcome
from tests.support.service import DECODER_FDS, Servers, Service, decoders, is_alive


async def test_d13_two_thousand_damaged_files_give_an_image_or_a_typed_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chance = random.Random(SEED)
    print(f"seed {SEED}")
    corpus = [make() for make in images.KINDS.values()]
    corpus += [images.encoded(images.scene(120, 80), name.upper()) for name in FORMATS]

    def damaged() -> bytes:
        data = bytearray(chance.choice(corpus))
        for _ in range(chance.choice([1, 2, 8, 64])):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        return bytes(data[: chance.randrange(len(data))] if chance.random() < 0.2 else data)

    async with decoder_pool(2) as pool:
        gate = asyncio.Semaphore(8)

        async def one(source: bytes) -> str:
            async with gate:
                came = await outcome(pool, source, (*DEFAULT, *FILM))
            return came if isinstance(came, str) else "ok"

        counted = Counter(await asyncio.gather(*(one(damaged()) for _ in range(2000))))
    print(f"{dict(counted)}")
    assert set(counted) <= TYPED | {"ok", "decoder_oom"}
    assert "died" not in caplog.text


async def test_d18_five_thousand_mixed_images_leave_a_worker_as_it_was(servers: Servers) -> None:
    corpus = [make() for make in images.KINDS.values()] + [images.photo(800, 600)[:9000], images.png_header_bomb()]
    async with Service.start(servers.environment()) as service:
        worker = psutil.Process(service.workers[0].pid)
        left = iter(range(5000))
        samples: list[tuple[int, float, int]] = []

        async def client() -> None:
            for number in left:
                upload_id = await service.upload(corpus[number % len(corpus)])
                await service.ended(upload_id)
                await service.client.delete(f"/upload/{upload_id}")
                if number % 250 == 0:
                    kept = len(worker.net_connections("tcp")) + DECODER_FDS * len(decoders(service.workers[0]))
                    samples.append((number, worker.memory_info().rss / MIB, worker.num_fds() - kept))

        await asyncio.gather(*(client() for _ in range(6)))
        assert not [child for child in worker.children(recursive=True) if not is_alive(child)], "none is left unreaped"
    settled = [sample for sample in samples if sample[0] >= 1000]
    slope = (settled[-1][1] - settled[0][1]) / (settled[-1][0] - settled[0][0]) * 1000
    print(f"{slope:+.2f} MiB a thousand jobs; {settled[0]} … {settled[-1]}")
    assert slope <= 1.0
    assert settled[-1][2] <= settled[0][2] + 5


SEED = 20261125
TYPED = {"decode_failed", "encode_failed", "image_too_large", "too_many_frames", "unsupported_format"}
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
