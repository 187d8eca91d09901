"""Event streams as tests read them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from tests.support.service import Service

DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class Event:
    """One block of a stream: its fields, "" for a comment."""

    fields: dict[str, str]

    @property
    def is_comment(self) -> bool:
        return "" in self.fields

    @property
    def status(self) -> dict[str, Any]:
        assert self.fields["event"] == "status"
        return orjson.loads(self.fields["data"])


class Stream:
    """What an EventSource would see."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.comments = 0
        self._lines = answer.aiter_lines()

    @classmethod
    @asynccontextmanager
    async def open(cls, service: Service, upload_id: str, **headers: str) -> AsyncGenerator["Stream"]:
        async with (
            httpx.AsyncClient(base_url=service.url, timeout=DEADLINE_S) as client,
            client.stream("GET", f"/upload/{upload_id}/events", headers=headers) as answer,
        ):
            yield cls(answer)

    async def next(self) -> Event | None:
        """The next block, whatever it is; None at the end."""
        fields: dict[str, str] = {}
        async for line in self._lines:
            if not line:
                return Event(fields)
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        return None

    async def status(self) -> dict[str, Any]:
        """The next status document."""
        async with asyncio.timeout(DEADLINE_S):
            while event := await self.next():
                self.comments += event.is_comment
                if "data" in event.fields:
                    return event.status
        raise AssertionError("the stream has ended")

    async def rest(self) -> list[str]:
        """The statuses until the end."""
        async with asyncio.timeout(DEADLINE_S):
            found: list[str] = []
            while event := await self.next():
                if "data" in event.fields:
                    found.append(event.status["status"])
            return found
