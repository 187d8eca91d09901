"""The arguments of the command line, its help and its exit codes."""

import argparse
import textwrap
from pathlib import Path
from typing import Any

from imgsvc.cli.options import add_options
from imgsvc.domain.options import EXCLUSIVE, OPTIONS
from imgsvc.domain.tokens import VALID_S
from imgsvc.runtime.version import VERSION

# exit codes
SUCCEEDED = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
INTERRUPTED = 130

SHELLS = ("bash", "zsh", "fish")

_EXITS = "Exit codes: 0 all succeeded, 1 some failed, 2 wrong usage, 3 server not reached, 130 interrupted."


def parser(*, files: object = None, folders: object = None) -> argparse.ArgumentParser:
    """Returns the parser of all commands. `files` and `folders` are how a shell completes names of them (shtab)."""
    top = _parser(
        argparse.ArgumentParser,
        prog="imgsvc",
        description="""
            Takes image uploads over HTTP and makes resized, compressed and thumbnail versions of them.
            Without a command, everything runs on this machine: Valkey, an S3 server, the API and a worker.""",
        examples="""
            imgsvc                                        run everything here
            imgsvc upload photo.jpg --save thumbnails     upload, wait, download the variants
            imgsvc doctor                                 check the installation""",
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
        "print the status of an upload",
        "imgsvc status 3f0c4f1e-8a57-4c0f-9d43-0b1c5f1c2a77 --wait",
        "Exit codes: 0 status printed, 1 no such upload, 2 wrong usage, 3 server not reached, 130 interrupted.",
    )
    _add_show(
        commands,
        "result",
        "print the result of an upload",
        "imgsvc result 3f0c4f1e-8a57-4c0f-9d43-0b1c5f1c2a77 --json | jq -r '.result.thumbnail'",
        "Exit codes: 0 job succeeded, 1 it failed or goes on, 2 wrong usage, 3 server not reached, 130 interrupted.",
    )
    _add_derive(commands)
    _add_deliveries(commands)
    _add_webhook_secret(commands)
    _add_token(commands)
    _add_health(commands)
    _add_doctor(commands)
    _add_completion(commands)
    return top


def _add_upload(commands: Any, files: object, folders: object) -> None:
    upload = _parser(
        commands.add_parser,
        "upload",
        help="upload images, and download their variants",
        description="Uploads images, four at a time. Prints status URLs, or the variants with --wait.",
        examples="""
            imgsvc upload holiday/*.jpg --preset shop --wait
            imgsvc upload https://example.com/photo.jpg --metadata order=1234 --metadata sku=A-7
            imgsvc upload photo.jpg --save out --variants '{"card": {"width": 640, "format": "webp"}}'
            convert photo.psd png:- | imgsvc upload - --filename photo.png --wait --json | jq .result""",
        notes=_EXITS,
    )
    sources = upload.add_argument(
        "sources",
        nargs="+",
        metavar="FILE|URL",
        help="image to upload: a file, a URL that the service fetches, or - for stdin",
    )
    _complete(sources, files)
    add_options(upload)
    upload.add_argument("--wait", action="store_true", help="wait until each job has ended")
    saving = upload.add_argument("--save", type=Path, metavar="DIR", help="wait, and download the variants to DIR")
    _complete(saving, folders)
    upload.add_argument("--force", action="store_true", help="let --save replace existing files")
    upload.add_argument("--json", action="store_true", help="print one JSON object per file, and nothing else")
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
    show.add_argument("--json", action="store_true", help="print the JSON document of the service")
    _add_server(show)


def _add_derive(commands: Any) -> None:
    derive = _parser(
        commands.add_parser,
        "derive",
        help="make variants of an earlier upload, or change its focus",
        description="""
            Has variants made anew, or for the first time, of the stored original of an upload. Those of the same names
            are replaced when all are there. --focus makes anew what is cut by it.""",
        examples="""
            imgsvc derive 3f0c4f1e-8a57-4c0f-9d43-0b1c5f1c2a77 --preset shop --only card --wait
            imgsvc derive 3f0c4f1e-8a57-4c0f-9d43-0b1c5f1c2a77 --focus '{"x": 0.31, "y": 0.4}'""",
        notes="Exit codes: 0 it is queued or made, 1 it is refused or fails, 2 wrong usage, 3 server not reached, 130 "
        "interrupted.",
    )
    derive.add_argument("id", metavar="ID", help="the upload's id")
    names = (*EXCLUSIVE, "focus")
    add_options(derive, names, names)
    derive.add_argument("--only", action="append", metavar="VARIANT", help="make this one of them; may be repeated")
    derive.add_argument("--wait", action="store_true", help="wait until they are made")
    derive.add_argument("--json", action="store_true", help="print the status document of the service")
    _add_server(derive)


def _add_deliveries(commands: Any) -> None:
    deliveries = _parser(
        commands.add_parser,
        "deliveries",
        help="print what the webhook of an upload was sent, or send it again",
        description="""
            Prints each event of an upload, with the attempts to deliver it to the upload's webhook.""",
        examples="""
            imgsvc deliveries 3f0c4f1e-8a57-4c0f-9d43-0b1c5f1c2a77
            imgsvc deliveries 3f0c4f1e-8a57-4c0f-9d43-0b1c5f1c2a77 --replay 1""",
        notes="Exit codes: 0 printed or queued, 1 refused, 2 wrong usage, 3 server not reached, 130 interrupted.",
    )
    deliveries.add_argument("id", metavar="ID", help="the upload's id")
    deliveries.add_argument("--replay", type=int, metavar="N", help="send the event of this number again")
    deliveries.add_argument("--json", action="store_true", help="print the JSON document of the service")
    _add_server(deliveries)


def _add_webhook_secret(commands: Any) -> None:
    secret = _parser(
        commands.add_parser,
        "webhook-secret",
        help="print what the webhooks of an owner are verified with",
        description="""
            Prints the secrets with which the webhooks of an owner are signed, the newest first: each is derived from
            one in IMGSVC_WEBHOOK_SECRET. Give them to the owner's receivers, and nobody else. Asks no server.""",
        examples="""
            imgsvc webhook-secret shop
            IMGSVC_WEBHOOK_SECRET=whsec_… imgsvc webhook-secret shop    before that one is in use""",
        notes="Exit codes: 0 printed, 1 the settings are wrong or there is no secret, 2 wrong usage.",
    )
    secret.add_argument("owner", metavar="OWNER", help="the name of the owner's key")


def _add_token(commands: Any) -> None:
    token = _parser(
        commands.add_parser,
        "token",
        help="issue an upload token, which makes one upload without the key",
        description="""
            Prints a URL to which one image can be uploaded without the key, for a browser, a phone or another person.
            The options are those that the upload will have.""",
        examples="""
            imgsvc token --preset shop --max-bytes 20000000 --origin https://app.example.com
            curl -F file=@photo.jpg "$(imgsvc token)\"""",
        notes="Exit codes: 0 it is issued, 1 it is refused, 2 wrong usage, 3 server not reached, 130 interrupted.",
    )
    add_options(token, [name for name in OPTIONS if name != "filename"])
    token.add_argument("--max-bytes", type=int, metavar="BYTES", help="largest size of the file")
    token.add_argument(
        "--content-type", action="append", metavar="TYPE", help="media type that is allowed; may be repeated"
    )
    token.add_argument("--origin", metavar="ORIGIN", help="origin of the web page that may use the URL")
    token.add_argument("--valid-for", type=int, metavar="SECONDS", help=f"how long it is valid (default: {VALID_S})")
    token.add_argument("--json", action="store_true", help="print the JSON document of the service")
    _add_server(token)


def _add_health(commands: Any) -> None:
    health = _parser(
        commands.add_parser,
        "health",
        help="check the API or the worker of this machine",
        description="""
            Asks the API of these settings for /readyz, by its port or Unix socket; or, of a worker, asks Redis whether
            one on this machine has renewed its heartbeat. Prints the outcome in one line, within a few seconds. For the
            health checks of containers, which run it inside them.""",
        examples="""
            imgsvc health
            imgsvc health --live          for liveness probes: ignores Redis and S3
            imgsvc health worker""",
        notes="Exit codes: 0 healthy, 1 not healthy, 2 wrong usage, 130 interrupted.",
    )
    health.add_argument(
        "part", nargs="?", choices=("api", "worker"), default="api", help="which of them (default: api)"
    )
    health.add_argument("--live", action="store_true", help="ask the API for /healthz: whether it answers at all")


def _add_doctor(commands: Any) -> None:
    doctor = _parser(
        commands.add_parser,
        "doctor",
        help="check the installation, with advice",
        description="""
            Checks the settings, Redis, S3, the decoders' sandbox, formats and clocks that IMGSVC_* name. Without
            IMGSVC_REDIS_URL it checks what the one-machine mode needs: its servers, data folder, port and disk.
            Changes nothing.""",
        examples="""
            imgsvc doctor
            docker compose exec worker imgsvc doctor""",
        notes="Exit codes: 0 nothing failed (there may be warnings), 1 something failed, 130 interrupted.",
    )
    doctor.add_argument("--json", action="store_true", help="print one JSON object")


def _add_completion(commands: Any) -> None:
    completion = _parser(
        commands.add_parser,
        "completion",
        help="print a completion script for a shell",
        description="Prints the script that completes these commands in a shell.",
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
    command.add_argument("--key", metavar="KEY", help="API key; prefer IMGSVC_KEY, which process lists do not show")


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
