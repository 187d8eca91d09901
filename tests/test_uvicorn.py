"""uvicorn is still what our protocol and server were written against: what they override, call, read and set of it."""

import ast
import asyncio
import inspect
from collections.abc import Generator
from types import FunctionType
from typing import Any

import httptools
import pytest
import pytest_asyncio
from starlette.types import Receive, Scope, Send
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from imgsvc.api import server
from imgsvc.api.http import framing, protocol

UPGRADE = "uvicorn has moved it: mend what uses it before this version is taken"
TAKEN = "uvicorn has a name of its own by now that we use for ours"
OVERRIDDEN: list[tuple[type, type, set[str]]] = [
    (
        protocol.Protocol,
        HttpToolsProtocol,
        {
            *("__init__", "connection_made", "connection_lost", "data_received", "pause_writing", "resume_writing"),
            *("on_message_begin", "on_url", "on_header", "on_headers_complete", "on_body", "on_message_complete"),
            "on_response_complete",
        },
    ),
    (vars(server)["_Server"], Server, {"__init__", "capture_signals", "shutdown"}),
]


def uses(source: object, *owners: str) -> set[str]:
    """The names that code takes of what it calls by one of these expressions, such as `self.cycle`."""
    tree = ast.parse(inspect.getsource(source))  # pyright: ignore[reportArgumentType]
    attributes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.attr for node in attributes if ast.unparse(node.value) in owners}


def own(kind: type, base: type) -> Generator[str]:
    """The names that a class of ours adds: its methods, and the private attributes that they set."""
    yield from (name for name in vars(kind) if not name.startswith("__") and not hasattr(base, name))
    attributes = (node for node in ast.walk(ast.parse(inspect.getsource(kind))) if isinstance(node, ast.Attribute))
    for node in attributes:
        if isinstance(node.ctx, ast.Store) and ast.unparse(node).startswith("self._"):
            yield node.attr


@pytest.mark.parametrize(("ours", "theirs", "names"), OVERRIDDEN, ids=["protocol", "server"])
def test_what_we_override_is_called_as_ever(ours: type, theirs: type, names: set[str]) -> None:
    for name in names:
        method: Any = getattr(theirs, name, None)
        assert method is not None, f"{theirs.__name__}.{name}: {UPGRADE}"
        if (ours, name) != (vars(server)["_Server"], "__init__"):  # which we call ourselves
            expected = list(inspect.signature(getattr(ours, name)).parameters)
            assert list(inspect.signature(method).parameters) == expected, f"{theirs.__name__}.{name}: {UPGRADE}"
    assert {name for name, value in vars(ours).items() if isinstance(value, FunctionType)} & set(dir(theirs)) == names


@pytest_asyncio.fixture
async def stock() -> HttpToolsProtocol:
    """uvicorn's own protocol, as it is when a request's handler runs."""
    made: list[HttpToolsProtocol] = []
    found: asyncio.Future[HttpToolsProtocol] = asyncio.get_running_loop().create_future()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        found.set_result(made[0])
        await send({"type": "http.response.start", "status": 204, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body"})

    def connected() -> HttpToolsProtocol:
        made.append(HttpToolsProtocol(Config(app, log_config=None, ws="none"), ServerState(), {}))
        return made[0]

    async with await asyncio.get_running_loop().create_server(connected, "127.0.0.1", 0) as listener:
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(10):
            await reader.read()
            writer.close()
            await writer.wait_closed()
    return await found


async def test_what_we_read_and_set_of_a_connection_is_there(stock: HttpToolsProtocol) -> None:
    ours = {*own(protocol.Protocol, HttpToolsProtocol)}
    foreign = uses(protocol.Protocol, "self", "super()") - ours
    assert {"transport", "_unset_keepalive_if_required"} <= foreign, "it is found at all"
    assert not {name for name in foreign if not hasattr(stock, name)}, UPGRADE
    assert not {name for name in ours if hasattr(stock, name)}, TAKEN
    assert not uses(protocol.Protocol, "self.config") - set(dir(stock.config)), UPGRADE
    assert not uses(protocol.Protocol, "self.server_state") - set(dir(stock.server_state)), UPGRADE


async def test_what_we_read_and_set_of_a_request_is_there(stock: HttpToolsProtocol) -> None:
    used = uses(protocol.Protocol, "cycle", "self.cycle", "self._latest") | uses(framing, "cycle")
    assert {"more_body", "response_complete", "message_event", "expected_content_length", "send"} <= used
    assert not {name for name in used if not hasattr(stock.cycle, name)}, UPGRADE


def test_what_we_call_of_the_parser_is_there() -> None:
    used = uses(protocol.Protocol, "self.parser")
    assert "feed_data" in used
    assert not used - set(dir(httptools.HttpRequestParser)), "httptools has moved it"


def test_what_we_call_of_the_server_is_there() -> None:
    ours = {*own(vars(server)["_Server"], Server)}
    foreign = uses(vars(server)["_Server"], "self", "super()") - ours
    assert "handle_exit" in foreign
    assert not foreign - set(dir(Server)), UPGRADE
    assert not ours & uses(Server, "self"), TAKEN
