"""`GET /upload/{id}/events`: an upload's status as it changes, as Server-Sent Events."""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Self

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from imgsvc.api.http.access import caller_of
from imgsvc.api.http.context import services_of
from imgsvc.api.uploads.show import find
from imgsvc.api.uploads.wait import while_connected
from imgsvc.jobs.events import Changes, Events
from imgsvc.jobs.record import Record
from imgsvc.runtime.api_keys import Caller

RETRY_MS = 2000
"""The time after which a client is to reconnect when its stream was interrupted."""

_HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-transform",  # compression would delay events
    "x-accel-buffering": "no",  # nginx would buffer events
}
_COMMENT = b":\n\n"


@dataclass(frozen=True, slots=True)
class Event:
    """A status document; `id` identifies its content."""

    id: str
    data: bytes

    @classmethod
    def of(cls, record: Record) -> Self:
        data = orjson.dumps(record.status_document())
        return cls(hashlib.blake2b(data, digest_size=8).hexdigest(), data)

    def __bytes__(self) -> bytes:
        return b"id: %b\nevent: status\ndata: %b\n\n" % (self.id.encode(), self.data)


async def events(request: Request) -> Response:
    """Streams the status. Answers 204 to an EventSource that reconnects after the end, which stops it."""
    found = await find(request)
    if found.done and request.headers.get("last-event-id") == Event.of(found).id:
        return Response(status_code=204)
    services = services_of(request)
    return EventStream(found, services.events, caller_of(request), services.settings.events_comment_s)


class EventStream(Response):
    """Sends the current status, then each new one, until the job has ended, the upload is deleted, or its caller's key
    is no longer valid.

    A client slower than its job misses states in between. Comments between events keep the connection alive, also
    while Redis is away.
    """

    def __init__(self, record: Record, events: Events, caller: Caller, comment_s: float) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(_HEADERS)
        self._record = record
        self._events = events
        self._caller = caller
        self._comment_s = comment_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            async with while_connected(receive):
                with self._events.follow(self._record.id, self._caller) as changes:
                    await self._send(changes, send)
        await send(_piece(b"", more=False))

    async def _send(self, changes: Changes, send: Send) -> None:
        record, sent = self._record, ""
        await send(_piece(b"retry: %d\n\n" % RETRY_MS))
        while record is not None:
            event = Event.of(record)
            if event.id != sent:
                await send(_piece(bytes(event)))
                sent = event.id
            record = None if record.done else await self._next(changes, send)

    async def _next(self, changes: Changes, send: Send) -> Record | None:
        while True:
            try:
                async with asyncio.timeout(self._comment_s):
                    return await changes.next()
            except TimeoutError:
                await send(_piece(_COMMENT))


def _piece(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
