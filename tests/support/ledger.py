"""The books of a test: what was sent, what was answered, and whether the service stands by it at the end."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from time import monotonic
from typing import Any

import aiohttp
import psutil

from imgsvc.domain.presets import DEFAULT, PRESETS
from imgsvc.imaging.render import render
from tests.support.images import LIMITS, photo
from tests.support.service import DECODER_FDS, Service, leftovers, suspend_decoders, until, until_at_the_decoder

SPARE = 5
"""Descriptors and child processes that a process may have more than at the start."""

_RECORD = "imgsvc:upload:"
# an Idempotency-Key outlives its upload's job; ended ones are listed, for their owners and for operators
_REMEMBERED = ("imgsvc:key:", "imgsvc:list:", "imgsvc:all")


@dataclass(frozen=True, slots=True)
class Entry:
    """One upload: what was sent, and what came back. `status` is None where nothing did."""

    sent: bytes = field(repr=False)
    status: int | None
    answer: dict[str, Any]
    seconds: float

    @property
    def code(self) -> str | None:
        return self.answer.get("code")

    @property
    def id(self) -> str:
        assert self.status == 202, self
        return self.answer["id"]


class Ledger:
    """Open it when the service is ready: it notes what the processes hold."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.entries: list[Entry] = []
        processes = [psutil.Process(child.pid) for child in (service.api, *service.workers)]
        self._held = {process: _held(process) for process in processes}

    @property
    def accepted(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.status == 202]

    async def post(self, data: bytes, filename: str = "sample.jpg") -> Entry:
        """Uploads on a connection of its own, whatever comes of it."""
        form = aiohttp.FormData()
        form.add_field("file", BytesIO(data), filename=filename)
        begin = monotonic()
        try:
            # hears an answer that comes before all of the body is sent, as httpx does not
            async with aiohttp.request("POST", f"{self.service.url}/upload", data=form) as answer:
                status, document = answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, OSError) as error:
            status, document = None, {"error": repr(error)}
        entry = Entry(data, status, document, monotonic() - begin)
        self.entries.append(entry)
        return entry

    async def rendering(self) -> Entry:
        """An upload whose job waits for its worker's decoders, which stand still until they are resumed."""
        suspend_decoders(self.service.workers[0])
        entry = await self.post(photo())
        await until_at_the_decoder(self.service, entry.id)
        return entry

    async def settle(self, failed: Mapping[str, str] | None = None) -> None:
        """Waits until all is done, then holds it against what was answered.

        Every upload answered 202 has ended once: in SUCCESS with the right files, or with the code that `failed` has
        for its id. Nothing is left of the others, but that one without an answer may have become a job, and ended.
        """
        ended = {entry.id: await self.service.ended(entry.id) for entry in self.accepted}
        codes = {upload_id: (status["error"] or {}).get("code") for upload_id, status in ended.items()}
        assert {upload_id: code for upload_id, code in codes.items() if code} == (failed or {})
        for entry in self.accepted:
            if not codes[entry.id]:
                await self._check_files(entry)
        await self._until_clean()
        for upload_id, status in ended.items():
            assert await self.service.status(upload_id) == status, "a job ends once"
        for process, before in self._held.items():
            if process.is_running():
                now = _held(process)
                assert all(now[kind] <= before[kind] + SPARE for kind in now), f"held at first {before}, now {now}"

    async def _check_files(self, entry: Entry) -> None:
        result = await self.service.result(entry.id)
        assert result["original"]["sha256"] == sha256(entry.sent)
        assert {name: facts["sha256"] for name, facts in result["variants"].items()} == variants_of(entry.sent)
        for name, facts in result["variants"].items():
            assert sha256(await self.service.file(entry.id, name)) == facts["sha256"]

    async def _until_clean(self) -> None:
        strays: list[str] = []

        async def clean() -> bool:
            nonlocal strays
            strays = await asyncio.to_thread(self._strays)
            return not strays

        try:
            await until(clean)
        except AssertionError as error:
            raise AssertionError(f"left behind: {strays}") from error

    def _strays(self) -> list[str]:
        """Jobs, reservations and multipart uploads, and records and objects that belong to nobody."""
        left = leftovers(self.service.environment)
        known = {entry.id for entry in self.accepted}
        unanswered = sum(entry.status is None for entry in self.entries)
        found = {key.removeprefix(_RECORD) for key in left["keys"] if key.startswith(_RECORD)}
        if len(found - known) <= unanswered:  # their clients were never told these ids
            known |= found
        return [
            *(
                key
                for key in left["keys"]
                if key.removeprefix(_RECORD) not in known and not key.startswith(_REMEMBERED)
            ),
            *(key for key in left["objects"] if key.split("/")[1] not in known),
            *left["uploads"],
        ]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@cache
def variants_of(source: bytes) -> dict[str, str]:
    """SHA-256 of each variant, rendered here by the same steps."""
    rendered = render(source, PRESETS[DEFAULT], LIMITS, lambda _step, _done, _total: None, lambda _bytes: None)
    return {rendition.variant: sha256(rendition.data) for rendition in rendered.renditions}


def _held(process: psutil.Process) -> dict[str, int]:
    """What is kept for later is not counted: open connections, but for those that the peer has left, and decoders."""
    kept = sum(connection.status == psutil.CONN_ESTABLISHED for connection in process.net_connections("tcp"))
    kept += DECODER_FDS * sum(len(child.children()) for child in process.children())
    return {"descriptors": process.num_fds() - kept, "children": len(process.children())}
