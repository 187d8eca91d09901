"""How the Lua scripts are put together."""

import re
from importlib import resources
from pathlib import Path

import pytest

from imgsvc.jobs import scripts

LUA = Path(str(resources.files("imgsvc.jobs"))) / "lua"
DEFINED = re.compile(r"^local (?:function )?([\w, ]+)", re.MULTILINE)


@pytest.mark.parametrize("name", [*scripts.NAMES, "probe"])
def test_a_script_has_each_shared_definition_that_it_uses(name: str) -> None:
    text, _ = scripts.script(name)
    defined = {each.strip() for names in DEFINED.findall(text) for each in names.split(",")}
    shared = "\n".join((LUA / f"{part}.lua").read_text() for part in scripts.SHARED)
    known = {each.strip() for names in DEFINED.findall(shared) for each in names.split(",")}
    called = set(re.findall(r"(?<![.:\w])([a-z_]\w+)\(", re.sub(r"--.*|'[^'\n]*'", "", text)))
    assert called & known <= defined
    assert {"SETTLE_MS", "PREFIX"} <= defined, "they are taken off the arguments"


def test_a_script_has_little_that_it_does_not_need() -> None:
    """Each definition costs every call, and the more there are, the more does each."""
    progress, _ = scripts.script("progress")
    assert "function set_source" not in progress
    assert len(DEFINED.findall(progress)) < len(DEFINED.findall(scripts.script("finish")[0])) / 2


@pytest.mark.parametrize("name", scripts.SHARED)
def test_what_scripts_share_are_local_definitions_alone(name: str) -> None:
    lines = (LUA / f"{name}.lua").read_text().splitlines()
    assert {line for line in lines if re.match(r"[^\s\-})]", line) and not re.match(r"local |end$", line)} == set()
