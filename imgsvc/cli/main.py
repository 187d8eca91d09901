"""The command line: `imgsvc`, or `python -m imgsvc`.

Each command imports what it runs when it runs, so that a server process loads no client, and help is printed at once.
"""

import asyncio
import errno
import sys
from argparse import Namespace

from imgsvc.cli.parser import FAILED, INTERRUPTED, SUCCEEDED, USAGE, parser
from imgsvc.runtime.client_settings import ClientSettings
from imgsvc.runtime.loading import load
from imgsvc.runtime.local_settings import LocalSettings, SettingsError
from imgsvc.runtime.settings import Settings
from imgsvc.runtime.streams import give_up

_UNWRITABLE = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG}


def main() -> None:
    args = parser().parse_args()
    try:
        code = _COMMANDS[args.command](args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("imgsvc: interrupted", file=sys.stderr)  # noqa: T201
        code = INTERRUPTED
    except OSError as error:
        if error.filename is not None or error.errno not in _UNWRITABLE:
            raise
        give_up(sys.stdout)  # Python would flush into it once more
        if error.errno != errno.EPIPE:  # a reader that closed the pipe knows
            print(f"imgsvc: cannot write the output: {error.strerror}", file=sys.stderr)  # noqa: T201
        code = FAILED
    sys.exit(code)


def _run_all(_: Namespace) -> int:
    from imgsvc.local import supervisor
    from imgsvc.local.process import EmbeddedError
    from imgsvc.runtime import startup

    try:
        settings = load(LocalSettings)
        startup.set_up(settings)
        asyncio.run(supervisor.run(settings))
    except SettingsError as error:
        return _cannot_start(error)
    except EmbeddedError as error:
        sys.exit(f"imgsvc: {error}")
    except asyncio.CancelledError:
        sys.exit("imgsvc: stopped immediately; unfinished jobs run again at the next start")
    return SUCCEEDED


def _api(_: Namespace) -> int:
    from imgsvc.api.server import serve
    from imgsvc.runtime import startup

    try:
        settings = load(Settings)
        startup.set_up(settings)
        serve(settings)
    except SettingsError as error:
        return _cannot_start(error)
    return SUCCEEDED


def _worker(_: Namespace) -> int:
    from imgsvc.worker.run import main as work

    work()
    return SUCCEEDED


def _upload(args: Namespace) -> int:
    from imgsvc.cli.options import options_of
    from imgsvc.cli.upload import STDIN, UploadCommand, upload

    options = options_of(args)
    if args.sources.count(STDIN) > 1:
        return _misused("stdin can be read only once: give - once")
    if "filename" in options and len(args.sources) > 1:
        return _misused("--filename names one image: give it with a single FILE or URL")
    command = UploadCommand(
        options=options,
        wait=args.wait or args.save is not None,
        save=args.save,
        force=args.force,
        json=args.json,
    )
    try:
        if args.save:
            args.save.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return _misused(f"cannot save to {args.save}: {error}")
    return upload(args.sources, command, _client_settings(args))


def _status(args: Namespace) -> int:
    from imgsvc.cli.show import status

    return status(args.id, wait=args.wait, json=args.json, settings=_client_settings(args))


def _result(args: Namespace) -> int:
    from imgsvc.cli.show import result

    return result(args.id, wait=args.wait, json=args.json, settings=_client_settings(args))


def _derive(args: Namespace) -> int:
    from imgsvc.cli.options import options_of
    from imgsvc.cli.show import derive

    asked = options_of(args)
    if not asked:
        return _misused("what is to be made? Give --preset, --variants or --focus")
    if args.only and "focus" in asked:
        return _misused("--only is for --preset and --variants: --focus makes anew what is cut by it")
    if args.only:
        asked["only"] = args.only
    return derive(args.id, asked, wait=args.wait, json=args.json, settings=_client_settings(args))


def _deliveries(args: Namespace) -> int:
    from imgsvc.cli.deliveries import deliveries

    return deliveries(args.id, replay=args.replay, json=args.json, settings=_client_settings(args))


def _webhook_secret(args: Namespace) -> int:
    from imgsvc.cli.webhook_secret import webhook_secret

    return webhook_secret(args.owner)


def _token(args: Namespace) -> int:
    from imgsvc.cli.options import options_of
    from imgsvc.cli.token import token

    limits = {
        "max_bytes": args.max_bytes,
        "content_types": args.content_type,
        "origin": args.origin,
        "valid_for": args.valid_for,
    }
    terms = options_of(args) | {name: value for name, value in limits.items() if value is not None}
    return token(terms, json=args.json, settings=_client_settings(args))


def _health(args: Namespace) -> int:
    from imgsvc.cli.health import health

    if args.live and args.part == "worker":
        return _misused("--live is for the API: a worker has one health check only")
    return health(args.part, live=args.live)


def _doctor(args: Namespace) -> int:
    from imgsvc.cli.doctor import doctor

    return doctor(json=args.json)


def _completion(args: Namespace) -> int:
    import shtab

    print(shtab.complete(parser(files=shtab.FILE, folders=shtab.DIRECTORY), args.shell))  # noqa: T201
    return SUCCEEDED


_COMMANDS = {
    None: _run_all,
    "api": _api,
    "worker": _worker,
    "upload": _upload,
    "status": _status,
    "result": _result,
    "derive": _derive,
    "deliveries": _deliveries,
    "webhook-secret": _webhook_secret,
    "token": _token,
    "health": _health,
    "doctor": _doctor,
    "completion": _completion,
}


def _client_settings(args: Namespace) -> ClientSettings:
    given = {name: value for name, value in (("server", args.server), ("key", args.key)) if value is not None}
    try:
        return load(ClientSettings, **given)
    except SettingsError as error:
        sys.exit(_misused(error))


def _cannot_start(error: SettingsError) -> int:
    sys.exit(f"imgsvc cannot start:\n{error}")


def _misused(error: object) -> int:
    print(f"imgsvc: {error}", file=sys.stderr)  # noqa: T201
    return USAGE
