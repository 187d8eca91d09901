"""All checks that apply here, side by side, each with a deadline."""

import asyncio
from collections.abc import Awaitable, Callable

from imgsvc.doctor.decoder import check_decoder
from imgsvc.doctor.finding import Finding, fail, ok, warn
from imgsvc.doctor.machine import check_folder, check_port, check_programs
from imgsvc.doctor.redis import check_redis
from imgsvc.doctor.s3 import check_s3
from imgsvc.runtime import environment, startup
from imgsvc.runtime.loading import load
from imgsvc.runtime.local_settings import SettingsError
from imgsvc.runtime.owners import Owners, read_owners
from imgsvc.runtime.settings import Settings

DEADLINE_S = 45.0
"""Of each check; those that ask a server have shorter ones of their own for each question."""

Check = Callable[[Settings], Awaitable[list[Finding]]]

_APART: tuple[Check, ...] = (check_redis, check_s3)
_LOCAL: tuple[Check, ...] = (check_programs, check_folder, check_port)
_OF_ITS_OWN = {"redis_url": "redis://127.0.0.1"}  # the one-machine mode sets it later, to where its Valkey is


async def checkup() -> list[Finding]:
    """What IMGSVC_* name; or this machine, where they name no Redis. Where they are wrong, that alone."""
    apart = environment.is_set("redis_url")
    try:
        settings = load(Settings) if apart else load(Settings, **_OF_ITS_OWN)
        catalogue = startup.load_presets(settings)
        owners = read_owners(settings, catalogue.presets)
    except SettingsError as error:
        return [
            fail("settings", line, "Correct it; .github/OPERATING.md lists all settings.")
            for line in str(error).split("\n")
        ]
    mode = "API and worker apart" if apart else "everything on this machine"
    first = [ok("settings", f"for {mode}; presets: {', '.join(catalogue.presets)}"), *_owners(settings, owners)]
    checks = {check.__name__.removeprefix("check_"): check(settings) for check in (_APART if apart else _LOCAL)}
    checks["decoder"] = check_decoder(settings, catalogue.overlays)
    found = await asyncio.gather(*(_within_deadline(about, check) for about, check in checks.items()))
    return [*first, *(finding for findings in found for finding in findings)]


def _owners(settings: Settings, owners: Owners) -> list[Finding]:
    if settings.owners_file is None:
        return []
    detail = f"{settings.owners_file} has {len(owners.known)}; keys in all: {len(owners.keys.callers)}"
    risks = [warn("owners", warning, "Or write key_sha256 instead of keys.") for warning in owners.warnings]
    return risks or [ok("owners", detail)]


async def _within_deadline(about: str, check: Awaitable[list[Finding]]) -> list[Finding]:
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await check
    except TimeoutError:
        return [
            fail(about, f"not answered within {DEADLINE_S:g} s", "See whether the machine or the network is stuck.")
        ]
