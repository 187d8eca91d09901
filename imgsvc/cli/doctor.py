"""`imgsvc doctor`: prints what is missing or wrong, and what to do about it."""

import asyncio
import logging
from dataclasses import asdict

import orjson

from imgsvc.cli.parser import FAILED, SUCCEEDED
from imgsvc.doctor.checkup import checkup
from imgsvc.doctor.finding import Finding, Level

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def doctor(*, json: bool) -> int:
    """Prints the finding of each check. Returns the exit code: 1 if a check failed."""
    logging.disable()  # a finding reports each problem once
    findings = asyncio.run(checkup())
    healthy = all(finding.level is not Level.FAIL for finding in findings)
    if json:
        document = {"ok": healthy, "checks": [asdict(finding) for finding in findings]}
        print(orjson.dumps(document).decode())  # noqa: T201 (output for a program)
    else:
        _show(findings)
    return SUCCEEDED if healthy else FAILED


def _show(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    width = max(len(finding.about) for finding in findings)
    for finding in findings:
        level = Text(f"{finding.level:<4}", _STYLES[finding.level])
        console.print(level, Text(f"{finding.about:<{width}}  {finding.detail}"))
        if finding.advice:
            console.print(Text(f"{'':<{width + 7}}{finding.advice}"))
