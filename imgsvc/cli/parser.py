"""The command line's grammar, its help and its exit codes."""

import argparse
import textwrap
from pathlib import Path
from typing import Any

import orjson

from imgsvc.runtime.version import VERSION

# exit codes
SUCCEEDED = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
INTERRUPTED = 130

SHELLS = ("bash", "zsh", "fish")

_EXITS = "Exit codes: 0 all succeeded, 1 some failed, 2 wrong usage, 3 no server reached, 130 interrupted."


def parser(*, files: object = None, folders: object = None) -> argparse.ArgumentParser:
    """The parser of all commands. `files` and `folders` are how a shell completes their names."""
    top = _parser(
        argparse.ArgumentParser,
        prog="imgsvc",
        description="""
            Takes image uploads over HTTP and makes resized, compressed and thumbnail versions of them.
            Without a command, everything runs on this machine: Valkey, an S3 server, the API and a worker.""",
        examples="""
            imgsvc                                        run everything here
            imgsvc upload photo.jpg --save thumbnails     upload, wait, fetch what came of it
            imgsvc doctor                                 what is missing, and what to do about it""",
        notes="Settings are environment variables named IMGSVC_*; .github/OPERATING.md lists them.",
    )
    top.add_argument("--version", action="version", version=f"imgsvc {VERSION}")
    commands = top.add_subparsers(dest="command", metavar="command")
    commands.add_parser("api", help="run the API alone, against IMGSVC_REDIS_URL and IMGSVC_S3_*")
    commands.add_parser("worker", help="run a worker alone, the same as python -m imgsvc.worker")
    _add_upload(commands, files, folders)
    _add_show(
        commands,
        "status",
        "say how far an upload's job is",
        "imgsvc status 3f0c4f1e-8a57-4c0f-9d43-0b1c5f1c2a77 --wait",
        "Exit codes: 0 it was said, 1 there is no such upload, 2 wrong usage, 3 no server reached, 130 interrupted.",
    )
    _add_show(
        commands,
        "result",
        "say what came of an upload",
        "imgsvc result 3f0c4f1e-8a57-4c0f-9d43-0b1c5f1c2a77 --json | jq -r '.result.thumbnail'",
        "Exit codes: 0 it succeeded, 1 it did not (yet), 2 wrong usage, 3 no server reached, 130 interrupted.",
    )
    _add_health(commands)
    _add_doctor(commands)
    _add_completion(commands)
    return top


def _add_upload(commands: Any, files: object, folders: object) -> None:
    upload = _parser(
        commands.add_parser,
        "upload",
        help="upload images, and fetch what came of them",
        description="Uploads images, four at a time, and says where each can be followed, or what came of it.",
        examples="""
            imgsvc upload photo.jpg
            imgsvc upload holiday/*.jpg --preset shop --wait
            imgsvc upload photo.jpg --save out --variants '{"card": {"width": 640, "format": "webp"}}'
            curl -s https://example.com/photo.jpg | imgsvc upload - --json --wait | jq .result""",
        notes=_EXITS,
    )
    _complete(upload.add_argument("files", nargs="+", metavar="FILE", help="image to upload; - reads stdin"), files)
    wanted = upload.add_mutually_exclusive_group()
    wanted.add_argument("--preset", metavar="NAME", help="make what this preset of the service says")
    wanted.add_argument(
        "--variants", type=_variants, metavar="JSON", help="make these instead; @FILE reads them from a file"
    )
    upload.add_argument("--expires-in", type=_seconds, metavar="S", help="have the upload removed after S seconds")
    upload.add_argument("--wait", action="store_true", help="wait until each job has ended")
    saving = upload.add_argument("--save", type=Path, metavar="DIR", help="wait, and save what was made in DIR")
    _complete(saving, folders)
    upload.add_argument("--force", action="store_true", help="let --save replace files that are there")
    upload.add_argument("--json", action="store_true", help="write one JSON object per file, and nothing else")
    _add_server(upload)


def _add_show(commands: Any, name: str, summary: str, example: str, notes: str) -> None:
    show = _parser(
        commands.add_parser,
        name,
        help=summary,
        description=f"{summary.capitalize()}.",
        examples=example,
        notes=notes,
    )
    show.add_argument("id", metavar="ID", help="the upload's id")
    show.add_argument("--wait", action="store_true", help="wait until its job has ended")
    show.add_argument("--json", action="store_true", help="write the service's own document")
    _add_server(show)


def _add_health(commands: Any) -> None:
    health = _parser(
        commands.add_parser,
        "health",
        help="ask the API or the worker beside it whether it is well",
        description="""
            Asks the API of these settings for /readyz, by its port or Unix socket; or, of a worker, asks Redis whether
            one on this machine has renewed its heartbeat. Says in one line how it is, within a few seconds. For health
            checks of containers, which run it inside of them.""",
        examples="""
            imgsvc health
            imgsvc health --live          where what is not well is restarted: Redis and S3 do not count
            imgsvc health worker""",
        notes="Exit codes: 0 it is well, 1 it is not, 2 wrong usage, 130 interrupted.",
    )
    health.add_argument(
        "part", nargs="?", choices=("api", "worker"), default="api", help="which of them (default: api)"
    )
    health.add_argument("--live", action="store_true", help="ask the API for /healthz: whether it answers at all")


def _add_doctor(commands: Any) -> None:
    doctor = _parser(
        commands.add_parser,
        "doctor",
        help="check what a service needs, and say what to do",
        description="""
            Checks the settings, Redis, S3, the decoders' sandbox, formats and clocks that IMGSVC_* name. Without
            IMGSVC_REDIS_URL it checks what the one-machine mode needs: its servers, data folder, port and disk.
            Leaves nothing behind.""",
        examples="""
            imgsvc doctor
            docker compose exec worker imgsvc doctor""",
        notes="Exit codes: 0 nothing failed (warnings may be there), 1 something did, 130 interrupted.",
    )
    doctor.add_argument("--json", action="store_true", help="write one JSON object")


def _add_completion(commands: Any) -> None:
    completion = _parser(
        commands.add_parser,
        "completion",
        help="write a completion script for your shell",
        description="Writes what completes these commands in a shell, for the shell to read.",
        examples="""
            bash   imgsvc completion bash > ~/.local/share/bash-completion/completions/imgsvc
            zsh    imgsvc completion zsh > "${fpath[1]}/_imgsvc"
            fish   imgsvc completion fish > ~/.config/fish/completions/imgsvc.fish""",
    )
    completion.add_argument("shell", choices=SHELLS)


def _add_server(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--server", metavar="URL", help="the service (default: IMGSVC_SERVER, or http://127.0.0.1:8000)"
    )
    command.add_argument("--key", metavar="KEY", help="API key; better in IMGSVC_KEY, where no process list shows it")


def _parser(make: Any, *args: str, description: str, examples: str, notes: str = "", **options: str) -> Any:
    shown = textwrap.indent(textwrap.dedent(examples).strip(), "  ")
    return make(
        *args,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=textwrap.fill(" ".join(description.split()), 88),
        epilog=f"examples:\n{shown}" + (f"\n\n{textwrap.fill(notes, 88)}" if notes else ""),
        allow_abbrev=False,
        **options,
    )


def _complete(action: argparse.Action, how: object) -> None:
    if how is not None:
        action.complete = how  # pyright: ignore[reportAttributeAccessIssue] (shtab reads it there)


def _variants(text: str) -> str:
    """The same JSON, compact; of the file that @FILE names."""
    try:
        read = Path(text[1:]).read_bytes() if text.startswith("@") else text
        return orjson.dumps(orjson.loads(read)).decode()
    except (OSError, orjson.JSONDecodeError) as error:
        raise argparse.ArgumentTypeError(f"no JSON: {error}") from None


def _seconds(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError("must be a whole number of seconds, 1 or more")
    return int(text)
