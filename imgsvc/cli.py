"""The command line: `imgsvc`, or `python -m imgsvc`."""

import argparse
import asyncio
import sys
from importlib.metadata import version

from imgsvc.settings import LocalSettings, Settings, SettingsError, load


def main() -> None:
    command = _parser().parse_args().command
    try:
        _COMMANDS[command]()
    except SettingsError as error:
        sys.exit(f"imgsvc cannot start:\n{error}")


def _everything() -> None:
    # imported here, as below: each command loads only what it runs
    from imgsvc import local, process
    from imgsvc.embedded import EmbeddedError

    settings = load(LocalSettings)
    process.set_up(settings)
    try:
        asyncio.run(local.run(settings))
    except EmbeddedError as error:
        sys.exit(f"imgsvc: {error}")
    except asyncio.CancelledError:
        sys.exit("imgsvc: stopped at once; what was under way runs again at the next start")


def _api() -> None:
    from imgsvc import process
    from imgsvc.api.server import serve

    settings = load(Settings)
    process.set_up(settings)
    serve(settings)


def _worker() -> None:
    from imgsvc.worker.__main__ import main as work

    work()


_COMMANDS = {None: _everything, "api": _api, "worker": _worker}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="imgsvc",
        description="Takes image uploads over HTTP and makes resized, compressed and thumbnail versions of them. "
        "Without a command, everything runs on this machine: Valkey, an S3 server, the API and a worker.",
        epilog="Settings are environment variables named IMGSVC_*; the README lists them.",
    )
    parser.add_argument("--version", action="version", version=f"imgsvc {version('imgsvc')}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("api", help="run the API alone, against IMGSVC_REDIS_URL and IMGSVC_S3_*")
    commands.add_parser("worker", help="run a worker alone, the same as python -m imgsvc.worker")
    return parser
