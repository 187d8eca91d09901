"""`GET /upload/{id}/events`: an upload's status as it changes, as Server-Sent Events."""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Self

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from imgsvc.api.http.context import services_of
from imgsvc.api.uploads.show import find
from imgsvc.api.uploads.wait import while_connected
from imgsvc.jobs.events import Changes, Events
from imgsvc.jobs.record import Record

RETRY_MS = 2000
"""After how long a client is asked to come again whose stream has broken off."""

_HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-transform",  # whoever packs a stream holds it back
    "x-accel-buffering": "no",  # nginx would hold events back
}
_COMMENT = b":\n\n"


@dataclass(frozen=True, slots=True)
class Event:
    """A status document; `id` stands for just this state of it."""

    id: str
    data: bytes

    @classmethod
    def of(cls, record: Record) -> Self:
        data = orjson.dumps(record.status_document())
        return cls(hashlib.blake2b(data, digest_size=8).hexdigest(), data)

    def __bytes__(self) -> bytes:
        return b"id: %b\nevent: status\ndata: %b\n\n" % (self.id.encode(), self.data)


async def events(request: Request) -> Response:
    """204 tells an EventSource that comes again after the end to leave it at that; it would come for ever."""
    found = await find(request)
    if found.done and request.headers.get("last-event-id") == Event.of(found).id:
        return Response(status_code=204)
    services = services_of(request)
    return EventStream(found, services.events, services.settings.events_comment_s)


class EventStream(Response):
    """The status as it stands, then each one that follows, until the job has ended or the upload is gone.

    A reader that is slower than its job misses what lies between. Behind a comment there is no news: it shows both
    ends that the connection stands, also while Redis is away and nobody knows of any.
    """

    def __init__(self, record: Record, events: Events, comment_s: float) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(_HEADERS)
        self._record = record
        self._events = events
        self._comment_s = comment_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            async with while_connected(receive):
                with self._events.follow(self._record.id) as changes:
                    await self._tell(changes, send)
        await send(_piece(b"", more=False))

    async def _tell(self, changes: Changes, send: Send) -> None:
        record, told = self._record, ""
        await send(_piece(b"retry: %d\n\n" % RETRY_MS))
        while record is not None:
            event = Event.of(record)
            if event.id != told:
                await send(_piece(bytes(event)))
                told = event.id
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
