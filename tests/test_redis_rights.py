"""The rule that a Redis user of ours is given, and the words of one who lacks a right (rows R15 and R16)."""

import re
import shlex
import subprocess
from importlib import resources

import pytest
from redis.exceptions import ResponseError

from imgsvc.jobs import scripts
from imgsvc.jobs.connections import reason_of
from imgsvc.runtime.loading import load
from imgsvc.runtime.local_settings import SettingsError
from imgsvc.runtime.settings import Settings
from tests.support.service import Servers, settings_of

LUA = [*(resources.files("imgsvc.jobs") / "lua").iterdir()]


def test_r15_the_probe_tries_every_command_that_a_script_calls() -> None:
    called = {name for path in LUA for name in re.findall(r"redis\.p?call\('([A-Z]+)'", path.read_text())}
    probe = (resources.files("imgsvc.jobs") / "lua" / "probe.lua").read_text()
    assert set(re.findall(r"\{'([A-Z]+)'", probe)) == called
    assert called <= scripts.commands()


# as Redis 6.2 to 7.0 has it, and Valkey after it
@pytest.mark.parametrize(
    "said",
    [
        "The user executing the script can't run this command or subcommand script: d3c6a8, on @user_script:332.",
        "The user executing the script can't access at least one of the keys mentioned in the command arguments",
        "The user executing the script can't publish to the channel mentioned in the command",
        "ACL failure in script: User app has no permissions to run the 'publish' command",
    ],
)
def test_r16_a_right_that_is_taken_from_a_script_is_known_by_the_words_of_each_redis(said: str) -> None:
    """Or else its connections are trusted for a minute more, and /readyz says ready while uploads get 503."""
    assert "lacks a right" in (reason_of(ResponseError(said)) or "")


def test_r16_the_documented_rule_may_be_pasted_into_a_shell(servers: Servers) -> None:
    rule = scripts.acl_rule(settings_of(servers.environment()))
    ran = subprocess.run(["sh", "-c", f"printf '%s\\n' {rule}"], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == shlex.split(rule)
    assert {">password", "~imgsvc:*", "&imgsvc:*"} < set(shlex.split(rule))


@pytest.mark.parametrize("prefix", ["a b", "a*", "[a]", "ä", "a" * 65, "a?"])
def test_r15_a_prefix_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    monkeypatch.setenv("IMGSVC_REDIS_PREFIX", prefix)
    with pytest.raises(SettingsError, match="IMGSVC_REDIS_PREFIX"):
        load(Settings, redis_url="redis://localhost")
