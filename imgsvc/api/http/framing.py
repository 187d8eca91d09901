"""Framing of answers, where uvicorn alone gets it wrong."""

from typing import Any, cast

from starlette.types import Message, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


def frame_answers(cycle: RequestResponseCycle, version: str, keep_alive_s: int) -> None:
    """Has the answer of `cycle` say whether its connection stays open, and for how long it may then be idle.

    An answer that comes before its request's body ends the connection: its client must not send another on it. And
    what was before HTTP/1.1 knows no chunks: without a Content-Length, the body ends where the connection does.
    """
    send: Send = cast("Any", cycle.send)
    until_close = False

    async def send_framed(message: Message) -> None:
        nonlocal until_close
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if cycle.more_body:
                headers.append((b"connection", b"close"))
            elif cycle.keep_alive:
                headers += (b"connection", b"keep-alive"), (b"keep-alive", b"timeout=%d" % keep_alive_s)
            message["headers"] = headers
            if version != "1.1" and not any(name.lower() == b"content-length" for name, _ in headers):
                until_close, cycle.chunked_encoding = True, False
        elif until_close:  # uvicorn counts a body against its announced length: here each piece announces itself
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    cast("Any", cycle).send = send_framed
