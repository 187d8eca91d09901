"""`python -m tests.bench [what]`: how fast, side by side with others where there are others."""

import argparse
import sys

from tests.bench import attention, owners, pixels, quality, queue, sandbox, service, sets, versus

DEFAULT = "service"
BENCHES = {
    "service": service,
    "peers": versus,
    "pixels": pixels,
    "quality": quality,
    "sets": sets,
    "attention": attention,
    "sandbox": sandbox,
    "queue": queue,
    "owners": owners,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure on this machine; everything that is started is stopped again.",
        epilog=f"Without a command it is `{DEFAULT}`, whose options may then follow directly.",
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    for name, bench in BENCHES.items():
        summary = (bench.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(
            name,
            help=summary.rstrip("."),
            description=bench.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        bench.configure(command)
        command.set_defaults(run=bench.run)
    arguments = sys.argv[1:]
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in {"-h", "--help"}):
        arguments.insert(0, DEFAULT)
    parsed = parser.parse_args(arguments)
    parsed.run(parsed)


if __name__ == "__main__":
    main()
