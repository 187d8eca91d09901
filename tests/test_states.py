"""The states of a job are those of imgsvc.domain.states in every language that knows them."""

import re
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import get_args

import orjson
from redis import Redis

from imgsvc.domain.states import RETRYABLE, TERMINAL, Status
from imgsvc.domain.webhook_documents import DERIVATION_EVENTS, END_EVENTS, EndEvent
from tests.support.service import Servers

PACKAGE = Path(str(resources.files("imgsvc")))
LUA = PACKAGE / "jobs/lua"
PAGE = PACKAGE / "api/static/page"
JAVASCRIPT = PAGE / "job-states.js"


def javascript_set(name: str) -> set[str]:
    match = re.search(rf"export const {name} = new Set\(\[(.+?)\]\)", JAVASCRIPT.read_text())
    assert match, f"{JAVASCRIPT.name} exports {name}"
    return set(re.findall(r"Status\.(\w+)", match[1]))


def lua_sets(servers: Servers, *names: str) -> list[set[str]]:
    """The keys of tables of common.lua, as a server that loads it has them."""
    tables = ", ".join(f"cjson.encode({name})" for name in names)
    with closing(Redis.from_url(servers.valkey.url)) as redis:
        encoded = redis.eval(f"{(LUA / 'common.lua').read_text()}\nreturn {{{tables}}}", 0, "unused:", "0")
    assert isinstance(encoded, list)
    return [set(orjson.loads(table)) for table in encoded]


def test_the_page_knows_the_states_of_a_job() -> None:
    states = dict(re.findall(r'^  (\w+): "(\w+)",$', JAVASCRIPT.read_text(), re.MULTILINE))
    assert states == {status.name: status.value for status in Status}
    assert javascript_set("TERMINAL") == TERMINAL
    assert javascript_set("RETRYABLE") == RETRYABLE


def test_the_page_names_states_in_one_file_alone_and_shows_each_end() -> None:
    word = re.compile(rf"(?<!Status\.)\b(?:{'|'.join(Status)})\b")
    for path in PAGE.parent.rglob("*.js"):
        if path != JAVASCRIPT:
            assert not word.search(path.read_text()), path.name
    shown = set(re.findall(r"Status\.(\w+)", (PAGE / "upload.js").read_text()))
    assert shown >= TERMINAL


def test_redis_scripts_know_the_states_of_a_job(servers: Servers) -> None:
    terminal, retryable, hidden = lua_sets(servers, "TERMINAL", "RETRYABLE", "HIDDEN")
    assert terminal == TERMINAL
    assert retryable == RETRYABLE
    assert hidden.isdisjoint(Status)
    uses = re.compile(r"\b(?:move|finish)\(\w+, '(\w+)'|status(?:_of\(\w+\))? [~=]= '(\w+)'|'status', '([A-Z]+)'")
    used = {"".join(match) for path in LUA.glob("*.lua") for match in uses.findall(path.read_text())}
    assert used >= hidden | {Status.PENDING, Status.PROGRESS}, "the pattern finds what scripts set"
    assert used <= hidden | set(Status)


def test_webhooks_have_a_name_for_each_end_of_a_job() -> None:
    assert END_EVENTS.keys() == TERMINAL
    assert DERIVATION_EVENTS.keys() == TERMINAL - {Status.CANCELLED}
    assert {*END_EVENTS.values(), *DERIVATION_EVENTS.values()} == set(get_args(EndEvent))
