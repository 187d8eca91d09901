"""Is this Redis one that jobs can be entrusted to?"""

import re
from collections.abc import Generator

from imgsvc.doctor.finding import Finding, fail, ok, root, warn
from imgsvc.jobs.exchange import QueueUnavailableError
from imgsvc.jobs.redis_facts import RedisFacts, redis_facts
from imgsvc.jobs.scripts import acl_rule
from imgsvc.runtime.settings import Settings

OLDEST = (6, 2)
MAX_SKEW_S = 2.0

_ABOUT = "redis"


async def check_redis(settings: Settings) -> list[Finding]:
    rule = f"Let its user do what is needed: {acl_rule(settings)}"
    try:
        facts = await redis_facts(settings)
    except QueueUnavailableError as error:
        if error.reason:
            return [fail(_ABOUT, error.reason, rule)]
        return [fail(_ABOUT, root(error), "Start it, or set IMGSVC_REDIS_URL to where it is, with its password.")]
    return list(judge(facts, rule))


def judge(facts: RedisFacts, rule: str = "") -> Generator[Finding]:
    """`rule` is the advice for a user who may do too little."""
    if _version(facts.version) < OLDEST:
        yield fail(_ABOUT, f"{facts.name} is too old", "Upgrade it to Redis 6.2 or later, or to Valkey.")
    else:
        yield ok(_ABOUT, facts.name)
    if facts.policy != "noeviction":
        lost = f"with maxmemory-policy {facts.policy} it throws jobs away when its memory is full"
        yield fail("redis policy", lost, "Set maxmemory-policy to noeviction; until then nothing is accepted.")
    else:
        yield ok("redis policy", "noeviction")
    if facts.cluster:
        yield fail(
            "redis cluster", "this is a node of a cluster", "Use a single primary: all keys must be in one place."
        )
    if facts.lacking:
        yield fail("redis writes", facts.lacking, rule)
    elif facts.refusal:
        yield fail("redis writes", facts.refusal, "Name the primary, and give it room on disk and in memory.")
    else:
        yield ok("redis writes", "scripts run, and write")
    yield _persistence(facts)
    yield _clock(facts)


def _persistence(facts: RedisFacts) -> Finding:
    about, advice = "redis on disk", "Set appendonly yes and appendfsync always, to keep jobs that were answered 202."
    if not facts.appendonly:
        return warn(about, "without an append-only file a crash loses acknowledged jobs", advice)
    if facts.appendfsync is None:
        return ok(about, "append-only file; its appendfsync cannot be read")
    if facts.appendfsync != "always":
        return warn(about, f"with appendfsync {facts.appendfsync} a crash can lose the last jobs", advice)
    return ok(about, "append-only file, synced always")


def _clock(facts: RedisFacts) -> Finding:
    return clock("redis clock", facts.skew_s, MAX_SKEW_S)


def clock(about: str, skew_s: float, most_s: float) -> Finding:
    if abs(skew_s) <= most_s:
        return ok(about, f"within {most_s:g} s of ours")
    direction = "ahead of" if skew_s > 0 else "behind"
    return warn(about, f"{abs(skew_s):.0f} s {direction} ours", "Keep all machines' clocks by NTP.")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])
