"""Answers that wait for a job to end: for how long, and that they stop when the client disconnects."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

import anyio
from starlette.requests import Request
from starlette.types import Receive

from imgsvc.api.http.access import caller_of
from imgsvc.api.http.context import services_of
from imgsvc.api.http.errors import ProblemError

MAX_WAIT_S = 60

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9}")
_PREFERENCE = re.compile(r'\s*wait\s*=\s*"?([0-9]{1,9})"?\s*(;.*)?', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class WaitPreference:
    """How long a client wants to wait for its job; `headers` say which preference was applied."""

    seconds: float = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def of(cls, request: Request) -> Self:
        """Reads `?wait=SECONDS`, or else `Prefer: wait=SECONDS` (RFC 7240); an invalid preference is ignored.

        Raises:
            ProblemError: `?wait=` is not a number of seconds up to MAX_WAIT_S.
        """
        text = request.query_params.get("wait")
        if text is not None:
            if not _SECONDS.fullmatch(text) or float(text) > MAX_WAIT_S:
                raise ProblemError("invalid_field", f"'wait' must be a number of seconds, 0 to {MAX_WAIT_S}.")
            return cls(float(text))
        for preference in ",".join(request.headers.getlist("prefer")).split(","):
            if match := _PREFERENCE.fullmatch(preference):
                seconds = min(int(match[1]), MAX_WAIT_S)
                return cls(seconds, {"preference-applied": f"wait={seconds}"})
        return cls()


async def until_done(request: Request, upload_id: str, seconds: float) -> None:
    """Returns when the job has ended, the upload is deleted, the time is over, or this process stops."""
    with services_of(request).events.follow(upload_id, caller_of(request)) as changes:
        async with while_connected(request.receive):
            with anyio.move_on_after(seconds):
                while (record := await changes.next()) and not record.done:
                    pass


@asynccontextmanager
async def while_connected(receive: Receive) -> AsyncGenerator[None]:
    """Cancels its body, and continues after it, when the client disconnects."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_when_gone, receive, tasks.cancel_scope)
        yield
        tasks.cancel_scope.cancel()


async def _cancel_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
